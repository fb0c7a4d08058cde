# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sealing: having standbys follow nobody, exclusively, so that the old primary can get no acknowledgement any more.

Tried on PostgreSQL 17: an empty primary_conninfo and a reload end the WAL receiver within 0.3 s, and its last positions
stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Busy, Conflict, Unreachable
from ..objects.orders import point
from ..observe.node_state import SEAL_LOCK, NodeState, ask
from ..ports.sql import Server
from ..ports.wait import Sleep, last_look

# Seconds that a receiver has to end; tried: 0.1 to 0.3.
STOP = 3.0


@dataclass(frozen=True)
class Following:
    """Whom a standby follows: its primary_conninfo and slot."""

    conninfo: str
    slot: str


def lock(name: str, server: Server) -> Following:
    """Take the seal's lock on a node, for as long as the session lives; whom it follows. Raises Conflict when another
    holds it, and then the node is not to be touched."""
    row = server.rows(
        f"SELECT pg_try_advisory_lock({SEAL_LOCK}) AS taken, current_setting('primary_conninfo') AS conninfo,"
        " current_setting('primary_slot_name') AS slot"
    )[0]
    if not row["taken"]:
        raise Busy(f"Lock {name} for a promotion", "another promotion")
    return Following(row["conninfo"], row["slot"])


def seal(name: str, server: Server, sleep: Sleep | None = None, stop: float | None = None) -> NodeState:
    """Have the standby follow nobody, and say where it stands once its WAL receiver has ended and it knows all it has.
    Raises Unreachable when that takes longer than *stop* seconds (STOP)."""
    limit = STOP if stop is None else stop
    if not ask(name, server).in_recovery:
        raise Conflict(f"Seal {name}", "a standby", "a primary: somebody else was quicker")
    point(server, "")
    found = last_look(lambda: ask(name, server), _ended, limit, 0.01, sleep=sleep)
    if not _ended(found):
        what = "its WAL receiver has not ended" if found.settled else "it has not read its own WAL"
        raise Unreachable(f"seal {name}: {what} within {limit:g} s.")
    return found


def _ended(found: NodeState) -> bool:
    return found.sealed and not found.receiver and found.settled


def move(name: str, server: Server, conninfo: str, slot: str) -> None:
    """point() it, outside of a promotion. Raises Conflict while one is at work on the node: it must stay sealed."""
    lock(name, server)
    try:
        point(server, conninfo, slot)
    finally:
        unlock(server)


def unlock(server: Server) -> None:
    """Give the lock of lock() back."""
    server.rows(f"SELECT pg_advisory_unlock({SEAL_LOCK})")


def still_locked(_name: str, server: Server) -> bool:
    """Whether this session still holds the lock, and nobody has let the node follow anyone: a round trip that a session
    which has ended cannot make."""
    query = (
        "SELECT count(*) > 0 AND current_setting('primary_conninfo') = '' AND NOT EXISTS (SELECT FROM"  # noqa: S608
        " pg_stat_wal_receiver) AS held FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND"
        " database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid = pg_backend_pid()"
        f" AND (classid::int8 << 32) + objid::int8 = {SEAL_LOCK}"
    )
    return bool(server.rows(query)[0]["held"])
