# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What repmgr 5.3 and 5.5 print, as data."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ProtocolError


@dataclass(frozen=True)
class Shown:
    """A line of ``cluster show``. *status* is repmgr's mark and words: ``* running``, ``! running as primary``,
    ``? unreachable``, ``- failed``...; *upstream* may carry a mark too."""

    node_id: int
    name: str
    role: str
    status: str
    upstream: str
    location: str
    priority: int
    timeline: int | None


def parse_cluster_show(out: str) -> tuple[Shown, ...]:
    """The table of ``repmgr cluster show`` (also ``--compact``). Warnings after it are left out. Raises ProtocolError.

    Columns are found by their titles, since --compact shortens two and leaves one out.
    """
    lines = [line for line in out.splitlines() if "|" in line]
    if not lines:
        raise ProtocolError(f"repmgr cluster show: no table in: {out.strip()[:200]}")
    aliases = {"Prio.": "Priority", "TLI": "Timeline"}
    titles = [aliases.get(title.strip(), title.strip()) for title in lines[0].split("|")]
    rows = [dict(zip(titles, (cell.strip() for cell in line.split("|")))) for line in lines[1:]]
    try:
        return tuple(_shown(row) for row in rows)
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"repmgr cluster show: column {error} in: {out.strip()[:500]}") from error


def _shown(row: Mapping[str, str]) -> Shown:
    timeline = row["Timeline"]
    return Shown(
        node_id=int(row["ID"]),
        name=row["Name"],
        role=row["Role"],
        status=row["Status"],
        upstream=row["Upstream"],
        location=row["Location"],
        priority=int(row["Priority"]),
        timeline=int(timeline) if timeline.isdigit() else None,
    )


@dataclass(frozen=True)
class Daemon:
    """A line of ``service status --csv``. None is repmgr's -1: it could not be told. *upstream_seen* in seconds."""

    node_id: int
    name: str
    type: str
    postgres_running: bool
    repmgrd_running: bool | None
    pid: int | None
    paused: bool | None
    priority: int
    upstream_seen: int | None
    location: str


def parse_service_status(out: str) -> tuple[Daemon, ...]:
    """The lines of ``repmgr service status --csv``. Raises ProtocolError."""
    try:
        return tuple(_daemon(fields) for fields in csv.reader(out.splitlines()) if fields)
    except ValueError as error:
        raise ProtocolError(f"repmgr service status --csv: {error} in: {out.strip()[:500]}") from error


def _daemon(fields: Sequence[str]) -> Daemon:
    node_id, name, kind, postgres, repmgrd, pid, paused, priority, seen, location = fields

    def known(text: str) -> int | None:
        return None if int(text) < 0 else int(text)

    def truth(text: str) -> bool | None:
        return None if int(text) < 0 else int(text) == 1

    return Daemon(
        node_id=int(node_id),
        name=name,
        type=kind,
        postgres_running=bool(truth(postgres)),
        repmgrd_running=truth(repmgrd),
        pid=known(pid),
        paused=truth(paused),
        priority=int(priority),
        upstream_seen=known(seen),
        location=location,
    )


def parse_node_check(out: str) -> dict[str, tuple[str, str]]:
    """``repmgr node check --csv``: by name of the check its verdict (OK, WARNING, CRITICAL, UNKNOWN) and details.

    repmgr does not double quotes inside a field (``"configured "data_directory" is ..."``), so this is no real CSV:
    fields end at ``","`` or at the line's end.
    """
    checks: dict[str, tuple[str, str]] = {}
    for line in out.splitlines():
        match = re.fullmatch(r'"(.*)"', line.strip())
        fields = match.group(1).split('","') if match else []
        if len(fields) > 1 and fields[0] not in ("Node name", "Node ID"):
            checks[fields[0]] = (fields[1], '","'.join(fields[2:]))
    if not checks:
        raise ProtocolError(f"repmgr node check --csv: nothing to read in: {out.strip()[:200]}")
    return checks
