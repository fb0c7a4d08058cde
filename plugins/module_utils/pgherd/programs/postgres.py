# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings of which a standby must not have less than its primary: it refuses to start, or pauses replay. And the fence.

Manual, 27.4.3 "Administrator's Overview". What the primary has travels in the WAL into every node's pg_control, so each
node knows its floor, whether a server runs or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from ..layout import Layout
from ..ports.run import Runner

# Major versions with which all of this was tried, by tests on real servers and hosts. Each new one changes some view, message or
# file that decisions here are made by.
TRIED = (15, 17)

# name -> (what pg_controldata calls it, PostgreSQL's own default)
LIMITS = {
    "max_connections": ("max_connections setting", 100),
    "max_worker_processes": ("max_worker_processes setting", 8),
    "max_wal_senders": ("max_wal_senders setting", 10),
    "max_prepared_transactions": ("max_prepared_xacts setting", 0),
    "max_locks_per_transaction": ("max_locks_per_xact setting", 64),
}


# The same of a running server, by SQL, as JSON. A standby that has less pauses its replay where it reads what its primary has,
# and shuts down when that is resumed (RecoveryRequiresIntParameter() in xlogrecovery.c); it cannot be promoted either.
LIMITS_SQL = "jsonb_build_object(" + ", ".join(f"'{name}', current_setting('{name}')::int" for name in LIMITS) + ")"
# Whether replay is paused, by a person or by that.
PAUSED_SQL = "CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() <> 'not paused' ELSE false END"


# "Database cluster state" of a standby's data (pg_controldata.c). A primary that crashed says "in production", and while it
# comes back "in crash recovery".
RECOVERING = ("in archive recovery", "shut down in recovery")


# Whether a server is fenced: by its files, and not because a role or a database makes this session read-only. No agent can lift
# that, and it tells nothing about other sessions.
FENCED = """
(current_setting('default_transaction_read_only')::bool
 AND NOT EXISTS (SELECT FROM pg_db_role_setting d
                  WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
                    AND EXISTS (SELECT FROM unnest(setconfig) AS s (said)
                                 WHERE said ~* '^default_transaction_read_only=')))"""


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


def control_data(layout: Layout, runner: Runner) -> dict[str, str]:
    """pg_controldata's lines for the data directory of *layout*, by what stands before the colon. Raises CommandError."""
    argv = [f"{layout.programs}/pg_controldata", layout.data]
    # Whoever could write there may have written anything.
    out = runner.run(argv, user="postgres").expect(f"read pg_control of {layout.data}").out
    pairs = (line.split(":", 1) for line in out.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def control_limits(control: Mapping[str, str]) -> dict[str, int]:
    """The primary's values as pg_controldata tells them; on a primary its own."""
    return {name: int(control[label]) for name, (label, _default) in LIMITS.items() if label in control}


def newest_timeline(found: Mapping[str, str]) -> int:
    """The newest timeline that pg_control, as control_data() *found* it, knows of."""
    timelines = [found.get("Latest checkpoint's TimeLineID"), found.get("Min recovery ending loc's timeline")]
    return max(int(timeline) for timeline in timelines if timeline)


def floors(mine: Holder, others: Mapping[str, Holder]) -> dict[str, int]:
    """What a data node must have at least, with *mine* and what the *others* said. Empty for a primary: it may lower."""
    if mine.role == "primary":
        return {}
    sources = [other.limits for other in others.values() if other.role == "primary"]
    if mine.standby:
        sources.append(mine.limits)
    return {name: max(source.get(name, 0) for source in sources) for name in LIMITS} if sources else {}


def shortage(mine: Mapping[str, int], needed: Mapping[str, int]) -> str:
    """Which limits of *mine* are below what is *needed*, in words; '' for none."""
    return ", ".join(
        f"{name} is {mine[name]} and has to be {floor}"
        for name, floor in needed.items()
        if mine.get(name, floor) < floor
    )


def raised(settings: Mapping[str, Any], least: Mapping[str, int]) -> dict[str, Any]:
    """*settings* with no limit below *least*; what is no number is left for PostgreSQL to refuse."""
    found = dict(settings)
    for name, floor in least.items():
        value = str(found.get(name, LIMITS[name][1]))
        if value.isdigit() and int(value) < floor:
            found[name] = floor
    return found


@lru_cache(maxsize=64)
def parse_sync_names(text: str) -> tuple[int, tuple[str, ...]]:
    """Number and names from a value of synchronous_standby_names; grammar as in the manual, 19.6.2 "Primary Server"."""
    match = re.fullmatch(r"\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\((.*)\)\s*", text, re.IGNORECASE | re.DOTALL)
    count, listed = (int(match.group(1)), match.group(2)) if match else (1, text)
    quoted = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', listed)
    names = tuple(strict.replace('""', '"') if strict else plain for strict, plain in quoted)
    return (count, names) if names else (0, ())
