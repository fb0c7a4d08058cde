# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Files that must be there before any package is installed."""

from __future__ import annotations

from collections.abc import Mapping

from ..model import Cluster
from .hostfiles import File
from .render import HEADER, HostFacts

CREATECLUSTER = "/etc/postgresql-common/createcluster.d/pgherd.conf"
SOURCES = "/etc/apt/sources.list.d/pgherd.sources"


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """The apt source asked for, and the word to postgresql-common that packages must not make a cluster ``main``
    of their own (pg_createcluster(8), include_dir of createcluster.conf)."""
    wanted = [File(CREATECLUSTER, HEADER + "create_main_cluster = false\n")]
    if facts.apt_repository:
        wanted.append(File(SOURCES, HEADER + deb822({"Types": "deb", **facts.apt_repository})))
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
