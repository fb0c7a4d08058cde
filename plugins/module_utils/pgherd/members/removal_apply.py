# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Looking, and carrying out the plan of removal.py by SQL alone: nothing on the host that leaves is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from ..errors import Conflict
from ..model import AGENT_ROLE, Cluster
from ..objects.identity import forget, sender_names
from ..objects.orders import drop_idle_slot
from ..observe.node_state import ask
from ..observe.open_sessions import OpenSessions
from ..observe.primary import only_primary
from ..ports.links import Links, session
from ..ports.wait import wait_for
from ..programs.postgres import parse_sync_names
from ..programs.repmgr import record_removed, records
from ..promotion.command import follow
from . import acknowledged
from .acknowledged import NAMES
from .removal import RemovalFacts

# Seconds: for nodes to answer, for one to stream from another, for the last session of the node to end.
PATIENCE, STREAM, IDLE = 5.0, 20.0, 60.0

END_SENDERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = ANY(%s)"


def look(cluster: Cluster, links: Links, reached: Sequence[str], leaving: str = "") -> RemovalFacts:
    """Ask all nodes, *leaving* among them, which is to go. Raises Conflict without exactly one primary, and where the nodes that
    stay would be told to use a role which is not there."""
    names = [node.name for node in cluster.nodes]
    with closing(OpenSessions(names, links)) as sessions:
        sessions.wait(names, PATIENCE)
        survey = sessions.survey()
        primary = only_primary(cluster, survey, "Remove a node", leaving)
        server = sessions.servers[primary]
        if not server.rows("SELECT FROM pg_roles WHERE rolname = %s", (AGENT_ROLE,)):
            cure = "The cluster was made by an earlier release: run the site playbook first."
            raise Conflict("Remove a node", f"the role {AGENT_ROLE}", f"none on {primary}", cure)
        needed, listed = parse_sync_names(server.rows(NAMES)[0]["names"])
        return RemovalFacts(survey, primary, listed, records(server), tuple(reached), needed)


class RemovalExecutor:
    """Does the plan's steps, from the host of any other node; *say* gets lines for people."""

    def __init__(self, cluster: Cluster, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._links = links
        self._say = say

    def confirm(self, primary: str, leaving: str, able: Sequence[str], needed: int) -> None:
        """Wait until nobody waits for *leaving* any more, and *needed* of *able* have all WAL that it may have acknowledged
        alone. Raises Unreachable."""
        with session(self._links, primary) as server:
            acknowledged.wait_let_go(server, (leaving,), f"remove {leaving}")
            acknowledged.wait_held(server, able, needed, f"remove {leaving}")
        self._say(f"{leaving} is not waited for any more, and {needed} of {', '.join(able)} have what it acknowledged")

    def follow(self, node: str, upstream: str) -> None:
        """Let *node* stream from *upstream*. Raises Unreachable when it does not come to that."""
        target = self._cluster.node(upstream)
        follow(self._cluster, node, self._links, self._say, target.id)

        def elsewhere() -> str:
            with session(self._links, node) as server:
                found = ask(node, server)
            good = found.streaming and self._cluster.node_at(found.upstream) == upstream
            return "" if good else f"it streams from {found.upstream or 'nobody'}"

        wait_for(elsewhere, STREAM, f"let {node} follow {upstream}")

    def unregister(self, node: str, primary: str) -> None:
        """Take the row of *node* out of the metadata, and its place."""
        with session(self._links, primary) as server:
            record_removed(server, self._cluster.node(node).id, self._cluster.node(primary).id)
            forget(server, node)

    def drop_slot(self, slot: str, reader: str, nodes: Sequence[str]) -> None:
        """Drop *slot* on *nodes*. A *reader* that still streams is sent away; pg_hba.conf does not let it in again."""
        for name in nodes:
            wait_for(lambda name=name: self._drop(name, slot, reader), IDLE, f"drop slot {slot} on {name}")  # type: ignore[misc]

    def _drop(self, name: str, slot: str, reader: str) -> str:
        with session(self._links, name) as server:
            if drop_idle_slot(server, slot):
                return ""
            server.rows(END_SENDERS, (sender_names(reader),))
        return f"{reader} still streams through it"
