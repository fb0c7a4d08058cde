# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Seeing at the primary who acknowledges commits now, and that enough standbys hold all that was acknowledged before."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import lsn_to_int
from ..observe.node_state import SENDERS as STREAMS
from ..ports.sql import Server
from ..ports.wait import wait_for
from ..programs.postgres import parse_sync_names

# Seconds: for a sender to read its configuration, for standbys to have all WAL.
RELOAD, CATCH_UP = 10.0, 30.0

# PostgreSQL counts whoever has the name; what one has that is none of ours is worth nothing.
SENDERS = f"""
SELECT application_name AS name, sync_state IN ('sync', 'quorum') AS counts,
       CASE WHEN trusted THEN flush_lsn::text END AS flushed, reply_time::text AS replied
  FROM {STREAMS} s WHERE state = 'streaming' ORDER BY trusted
"""  # noqa: S608
NAMES = "SELECT current_setting('synchronous_standby_names') AS names"


def wait_let_go(server: Server, left: Sequence[str], attempted: str) -> None:
    """Wait until no commit of *server* is acknowledged by those that have *left* its names. Raises Unreachable."""

    def counted() -> str:
        still = [name for name in parse_sync_names(server.rows(NAMES)[0]["names"])[1] if name in left]
        if still:
            return f"synchronous_standby_names still has {', '.join(still)}"
        # Each sender counts by the configuration that it has read itself (SyncRepInitConfig() in syncrep.c).
        counts = [row["name"] for row in server.rows(SENDERS) if row["counts"] and row["name"] in left]
        return f"the sender of {', '.join(counts)} still counts it" if counts else ""

    wait_for(counted, RELOAD, attempted)


def wait_reread(server: Server, needed: int, attempted: str) -> None:
    """Wait until every sender of *server* asks for *needed* standbys. Raises Unreachable.

    Which number a sender goes by is shown nowhere. It reads its configuration again before it takes the second answer after
    the reload at the latest (WalSndLoop() in walsender.c), and standbys answer every second.
    """
    answers: dict[str, list[str]] = {}

    def old() -> str:
        found = parse_sync_names(server.rows(NAMES)[0]["names"])[0]
        if found != needed:
            return f"synchronous_standby_names asks for {found} standbys, not {needed}"
        rows = server.rows(SENDERS)
        for row in rows:
            seen = answers.setdefault(row["name"], [])
            if row["replied"] not in seen:
                seen.append(row["replied"])
        waiting = [row["name"] for row in rows if row["counts"] and len(answers[row["name"]]) < 3]
        return f"the sender of {', '.join(waiting)} may not know that yet" if waiting else ""

    wait_for(old, RELOAD, attempted)


def wait_held(server: Server, able: Sequence[str], needed: int, attempted: str) -> None:
    """Wait until *needed* of *able* have all WAL that *server* has now. Raises Unreachable."""
    reached = lsn_to_int(server.rows("SELECT pg_current_wal_flush_lsn()::text AS lsn")[0]["lsn"])

    def behind() -> str:
        flushed = {row["name"]: lsn_to_int(row["flushed"] or "0/0") for row in server.rows(SENDERS)}
        there = [name for name in able if flushed.get(name, 0) >= reached]
        return "" if len(there) >= needed else f"{len(there)} of {needed} standbys have all that was acknowledged"

    wait_for(behind, CATCH_UP, attempted)
