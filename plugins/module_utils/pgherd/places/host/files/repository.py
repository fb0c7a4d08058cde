# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Files that must be there before any package is installed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ....model import Cluster
from ....ports.hostfiles import File
from ....render.quoting import HEADER
from .facts import HostFacts

CREATECLUSTER = "/etc/postgresql-common/createcluster.d/pgherd.conf"
SOURCES = "/etc/apt/sources.list.d/pgherd.sources"
LOGIN = re.compile(r"://[^\s/@]+@")


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """The apt source asked for, and the word to postgresql-common that packages must not make a cluster ``main``
    of their own (pg_createcluster(8), include_dir of createcluster.conf)."""
    directory = os.path.dirname(CREATECLUSTER)
    wanted = [
        # The package takes them as they are, and its programs read there as postgres.
        *(File(path, kind="directory", mode="0755") for path in (os.path.dirname(directory), directory)),
        File(CREATECLUSTER, HEADER + "create_main_cluster = false\n"),
    ]
    if facts.apt_repository:
        text = HEADER + deb822({"Types": "deb", **facts.apt_repository})
        # Everybody may read apt's sources, as tools of the host do; but not a login.
        login = LOGIN.search(text)
        wanted.append(File(SOURCES, secret_content=text, mode="0600") if login else File(SOURCES, text))
    else:
        wanted.append(File(SOURCES, kind="absent"))
    return wanted


def deb822(fields: Mapping[str, object]) -> str:
    """One stanza of deb822(5); lists are joined by spaces, the lines of a key are folded as the format asks."""
    lines = []
    for key, value in fields.items():
        text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value).strip()
        first, *rest = text.splitlines() or [""]
        if rest:
            first, rest = "", [first, *rest]
        lines.append(f"{key}: {first}".rstrip())
        lines += [f" {line}" if line.strip() else " ." for line in rest]
    return "\n".join(lines) + "\n"
