# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether PostgreSQL can take the files that it would read next, and the way back to those before where it cannot.

A file that is wrong does no harm to a running server, but that server would not come back from a crash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..files.conf_postgres import configuration_directory
from ..files.hostfiles import Disk, File
from ..ports.run import Runner
from ..ports.sql import Server

NAMES = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
HBA_QUERY = "SELECT line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY line_number"


def wrong_settings(version: int, runner: Runner) -> list[str]:
    """One sentence per line of postgresql.conf that a server would not start with; empty where all are good.

    Asked of the server program itself, which then runs no server. pg_file_settings calls a value that cannot be and one
    that needs a restart by the same words.
    """
    path = f"{configuration_directory(version)}/postgresql.conf"
    program = f"/usr/lib/postgresql/{version}/bin/postgres"
    done = runner.run([program, f"--config-file={path}", "-c", "log_line_prefix=", "-C", "port"], user="postgres")
    if done.rc == 0:
        return []
    with open(path, encoding="utf-8") as stream:
        found = said(done.err, path, stream.read())
    return found or [done.err.strip() or f"{program} exited {done.rc}"]


def said(log: str, path: str, content: str) -> list[str]:
    """The sentences in a server's *log* about the file at *path* with *content*, each with its line."""
    lines = {match.group(1).lower(): number for number, match in _settings(content)}
    found: list[str] = []
    for kind, text in re.findall(r"^(LOG|FATAL|DETAIL|HINT):\s+(.*)$", log, re.MULTILINE):
        if kind in ("DETAIL", "HINT") and found:
            found[-1] += f" ({text.rstrip('.')})"
        elif "contains errors" not in text:
            name = re.search(r'parameter "([\w.]+)"', text)
            number = lines.get(name.group(1).lower()) if name and " line " not in text else None
            found.append(f"{path} line {number}: {text}" if number else text)
    return found


def _settings(content: str) -> list[tuple[int, re.Match[str]]]:
    matches = ((number, re.match(r"([\w.]+)\s*=", line)) for number, line in enumerate(content.splitlines(), 1))
    return [(number, match) for number, match in matches if match]


def wrong_rules(version: int, server: Server) -> list[str]:
    """One sentence per line of pg_hba.conf that the running *server* could not take."""
    path = f"{configuration_directory(version)}/pg_hba.conf"
    return [f"{path} line {row['line']}: {row['error']}" for row in server.rows(HBA_QUERY)]


def put_back(version: int, previous: Mapping[str, Mapping[str, Any]]) -> bool:
    """Write the configuration files as they were: *previous* is host_files' ``before``. Whether there were any."""
    paths = [f"{configuration_directory(version)}/{name}" for name in NAMES]
    files = [File(path, **previous[path]) for path in paths if previous.get(path, {}).get("kind") == "file"]
    for file in files:
        Disk().write(file)
    return bool(files)
