# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether PostgreSQL can take the files that it would read next, and the way back to those before where it cannot.

A file that is wrong does no harm to a running server, but that server would not come back from a crash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PgherdError
from ..layout import Layout
from ..ports.hostfiles import Disk, File
from ..ports.run import Runner
from ..ports.sql import Server
from .trial import NAMES, refusals

HBA_QUERY = "SELECT line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY line_number"


def wrong_files(layout: Layout, runner: Runner, texts: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for each thing for which the server of *layout* would not start with its files, or with
    *texts* in the place of some, by their names; empty where all are good. Raises PgherdError where that cannot be told.

    Asked of the server program itself, which runs no server for it. pg_file_settings calls a value that cannot be and one
    that needs a restart by the same words.
    """
    directory = layout.configuration
    try:
        standing = {name: _read(f"{directory}/{name}") for name in NAMES if os.path.exists(f"{directory}/{name}")}
        return refusals({**standing, **(texts or {})}, layout, runner)
    except OSError as error:
        raise PgherdError(f"try {directory}: {error.filename}: {error.strerror}.") from error


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def wrong_rules(layout: Layout, server: Server) -> list[str]:
    """One sentence per line of pg_hba.conf that the running *server* could not take."""
    path = f"{layout.configuration}/pg_hba.conf"
    return [f"{path} line {row['line']}: {row['error']}" for row in server.rows(HBA_QUERY)]


def put_back(layout: Layout, previous: Mapping[str, Mapping[str, Any]], names: Sequence[str] = NAMES) -> bool:
    """Write those of the configuration files that *names* says as they were: *previous* is host_files' ``before``. Whether
    there were any."""
    paths = [f"{layout.configuration}/{name}" for name in names]
    files = [File(path, **previous[path]) for path in paths if previous.get(path, {}).get("kind") == "file"]
    for file in files:
        Disk().write(file)
    return bool(files)
