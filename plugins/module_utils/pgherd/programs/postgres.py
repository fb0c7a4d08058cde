# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings of which a standby must not have less than its primary: it refuses to start, or pauses replay.

Manual, 27.4.3 "Administrator's Overview". What the primary has travels in the WAL into every node's pg_control, so each
node knows its floor, whether a server runs or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..ports.run import Runner
from .repmgr import binary_directory

# name -> (what pg_controldata calls it, PostgreSQL's own default)
LIMITS = {
    "max_connections": ("max_connections setting", 100),
    "max_worker_processes": ("max_worker_processes setting", 8),
    "max_wal_senders": ("max_wal_senders setting", 10),
    "max_prepared_transactions": ("max_prepared_xacts setting", 0),
    "max_locks_per_transaction": ("max_locks_per_xact setting", 64),
}


class Holder(Protocol):
    """What is needed to know of a node here: see instance.Instance."""

    @property
    def standby(self) -> bool:
        """Whether it has standby.signal."""

    @property
    def role(self) -> str:
        """What its running server is: ``none``, ``primary``, ``standby``."""

    @property
    def limits(self) -> Mapping[str, int]:
        """Its control_limits()."""


def control_data(directory: str, version: int, runner: Runner) -> dict[str, str]:
    """pg_controldata's lines for the data directory, by what stands before the colon. Raises CommandError."""
    argv = [f"{binary_directory(version)}/pg_controldata", directory]
    out = runner.run(argv).expect(f"read pg_control of {directory}").out
    pairs = (line.split(":", 1) for line in out.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def control_limits(control: Mapping[str, str]) -> dict[str, int]:
    """The primary's values as pg_controldata tells them; on a primary its own."""
    return {name: int(control[label]) for name, (label, _default) in LIMITS.items() if label in control}


def floors(mine: Holder, others: Mapping[str, Holder]) -> dict[str, int]:
    """What a data node must have at least, with *mine* and what the *others* said. Empty for a primary: it may lower."""
    if mine.role == "primary":
        return {}
    sources = [other.limits for other in others.values() if other.role == "primary"]
    if mine.standby:
        sources.append(mine.limits)
    return {name: max(source.get(name, 0) for source in sources) for name in LIMITS} if sources else {}


def raised(settings: Mapping[str, Any], least: Mapping[str, int]) -> dict[str, Any]:
    """*settings* with no limit below *least*; what is no number is left for PostgreSQL to refuse."""
    found = dict(settings)
    for name, floor in least.items():
        value = str(found.get(name, LIMITS[name][1]))
        if value.isdigit() and int(value) < floor:
            found[name] = floor
    return found
