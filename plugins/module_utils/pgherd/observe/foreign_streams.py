# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Streams that pass themselves off as a standby's.

PostgreSQL counts who confirms a commit by application_name alone, and any role with REPLICATION may call itself what it likes,
or occupy a standby's slot. pgherd never counts such a stream, and ends it as soon as it sees it; until then, half a second,
PostgreSQL may acknowledge what no node has.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Cluster
from ..ports.sql import Server
from .node_state import NodeState, Stranger

END = "SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_replication WHERE pid = %s AND usename = %s"


def foreign(cluster: Cluster, mine: NodeState) -> tuple[Stranger, ...]:
    """Who streams from the node *mine* as another role than standbys do, under the name of a data node, which PostgreSQL
    compares without capitals (SyncRepGetStandbyPriority() in syncrep.c), or through its slot."""
    names = {node.name.lower() for node in cluster.data_nodes}
    slots = {node.slot for node in cluster.data_nodes}
    return tuple(one for one in mine.strangers if one.name.lower() in names or one.slot in slots)


def end(server: Server, found: Sequence[Stranger]) -> None:
    """End the streams *found* on *server*. Raises SqlError for a superuser's."""
    for one in found:
        server.rows(END, (one.pid, one.role))
