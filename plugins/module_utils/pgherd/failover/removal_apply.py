# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Looking, and carrying out the plan of removal.py by SQL alone: nothing on the host that leaves is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from ..errors import Conflict, SqlError, Unreachable
from ..model import Cluster, lsn_to_int
from ..observe.topology import parse_sync_names
from ..ports.sql import Server
from ..programs.repmgr import record_removed, records
from .command import follow
from .links import Links, Meeting, session
from .memory import primaries
from .removal import Found
from .seal import ask
from .voice import node_at

# Seconds: for nodes to answer, for a sender to read its configuration, for standbys to have all WAL, for one to stream from
# another, for the last session of the node to end.
PATIENCE, RELOAD, CATCH_UP, STREAM, IDLE = 5.0, 10.0, 30.0, 20.0, 60.0

SENDERS = """
SELECT application_name AS name, sync_state IN ('sync', 'quorum') AS counts, flush_lsn::text AS flushed
  FROM pg_stat_replication WHERE state = 'streaming'
"""
NAMES = "SELECT current_setting('synchronous_standby_names') AS names"
SLOT = "SELECT active, active_pid FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'"
END_SENDERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = %s"


def look(cluster: Cluster, links: Links, reached: Sequence[str]) -> Found:
    """Ask all nodes. Raises Conflict without exactly one primary."""
    names = [node.name for node in cluster.nodes]
    with closing(Meeting(names, links)) as meeting:
        meeting.wait(names, PATIENCE)
        round_ = meeting.round()
        found = [voice.name for voice in primaries(cluster, round_, "")]
        if len(found) != 1:
            said = " and ".join(found) or "none that answers"
            raise Conflict("Remove a node", "one primary", said, "See: pgherd status")
        server = meeting.servers[found[0]]
        listed = parse_sync_names(server.rows(NAMES)[0]["names"])[1]
        return Found(round_, found[0], listed, records(server), tuple(reached))


class Executor:
    """Does the plan's steps, from the host of any other node; *say* gets lines for people."""

    def __init__(self, cluster: Cluster, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._links = links
        self._say = say

    def confirm(self, primary: str, leaving: str, able: Sequence[str], needed: int) -> None:
        """Wait until nobody waits for *leaving* any more, and *needed* of *able* have all WAL that it may have acknowledged
        alone. Raises Unreachable."""
        attempted = f"remove {leaving}"
        with session(self._links, primary) as server:
            # Each sender counts by the configuration that it has read itself (SyncRepInitConfig() in syncrep.c).
            self._wait(lambda: self._counted(server, leaving), RELOAD, attempted)
            reached = lsn_to_int(server.rows("SELECT pg_current_wal_flush_lsn()::text AS lsn")[0]["lsn"])

            def behind() -> str:
                flushed = {row["name"]: lsn_to_int(row["flushed"] or "0/0") for row in server.rows(SENDERS)}
                there = [name for name in able if flushed.get(name, 0) >= reached]
                return (
                    "" if len(there) >= needed else f"{len(there)} of {needed} standbys have all that was acknowledged"
                )

            self._wait(behind, CATCH_UP, attempted)
        self._say(f"{leaving} is not waited for any more, and {needed} of {', '.join(able)} have what it acknowledged")

    def follow(self, node: str, upstream: str) -> None:
        """Let *node* stream from *upstream*. Raises Unreachable when it does not come to that."""
        target = self._cluster.node(upstream)
        follow(self._cluster, node, self._links, self._say, target.id)

        def elsewhere() -> str:
            with session(self._links, node) as server:
                found = ask(node, server)
            good = found.streaming and node_at(self._cluster, found.upstream) == upstream
            return "" if good else f"it streams from {found.upstream or 'nobody'}"

        self._wait(elsewhere, STREAM, f"let {node} follow {upstream}")

    def unregister(self, node: str, primary: str) -> None:
        """Take the row of *node* out of the metadata."""
        with session(self._links, primary) as server:
            record_removed(server, self._cluster.node(node).id, self._cluster.node(primary).id)

    def drop_slot(self, slot: str, reader: str, nodes: Sequence[str]) -> None:
        """Drop *slot* on *nodes*. A *reader* that still streams is sent away; pg_hba.conf does not let it in again."""
        for name in nodes:
            self._wait(lambda name=name: self._drop(name, slot, reader), IDLE, f"drop slot {slot} on {name}")  # type: ignore[misc]

    def _counted(self, server: Server, leaving: str) -> str:
        if leaving in parse_sync_names(server.rows(NAMES)[0]["names"])[1]:
            return f"synchronous_standby_names still has {leaving}"
        counts = any(row["counts"] and row["name"] == leaving for row in server.rows(SENDERS))
        return f"the sender of {leaving} still counts it" if counts else ""

    def _drop(self, name: str, slot: str, reader: str) -> str:
        with session(self._links, name) as server:
            rows = server.rows(SLOT, (slot,))
            if rows and rows[0]["active"]:
                server.rows(END_SENDERS, (reader,))
                return f"{reader} still streams through it"
            try:
                if rows:
                    server.rows("SELECT pg_drop_replication_slot(%s)", (slot,))
            except SqlError as error:
                # The agent there was quicker.
                if error.sqlstate != "42704":
                    raise
        return ""

    def _wait(self, condition: Callable[[], str], seconds: float, attempted: str) -> None:
        deadline = time.monotonic() + seconds
        while reason := condition():
            if time.monotonic() > deadline:
                raise Unreachable(f"{attempted}: {reason} after {seconds:g} s.", "Run again when that is mended.")
            time.sleep(0.1)
