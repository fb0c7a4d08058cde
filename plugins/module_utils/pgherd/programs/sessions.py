# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sessions on all nodes, as agents and what does their work have them: who logs in how, and what each session is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ..layout import SOCKETS, debian
from ..model import AGENT_PASSFILE, Cluster, Node
from ..ports.links import LIMIT, Links, session
from ..ports.peers import Peers
from ..ports.run import LocalRunner
from ..ports.sql import PsycopgServer, Server, open_connection
from .postgres import control_data, control_limits
from .repmgr import agent_parameters, node_parameters

# Rows of synchronous commits must not wait for standbys that may be what is missing. A session whose other end is gone,
# or frozen, ends within seconds, or a minute, and with it the lock that it holds. While an answer is on its way nothing is kept
# alive (tcp(7)): tcp_user_timeout, in milliseconds, is for that.
OPTIONS = (
    "-c synchronous_commit=local -c statement_timeout=10000 -c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1"
    " -c tcp_keepalives_count=3 -c tcp_user_timeout=5000 -c idle_session_timeout=60000"
)


def parameters(cluster: Cluster, node: Node, passfile: str = AGENT_PASSFILE) -> dict[str, Any]:
    """libpq parameters with which an agent, or what does its work, connects to *node* from any other one: as the agents' role,
    whose password *passfile* holds. A witness knows only repmgr's role: towards it, and from a host without that file."""
    own = node.kind == "postgres" and os.path.exists(passfile)
    given = agent_parameters(cluster, node, passfile) if own else node_parameters(cluster, node)
    return {**given, "options": OPTIONS, "application_name": "pgherd"}


def local_parameters(cluster: Cluster, node: Node, passfile: str = AGENT_PASSFILE) -> dict[str, Any]:
    """The same on this host, through the socket: it needs no name service and no network, and has no TLS to bind to."""
    return {**parameters(cluster, node, passfile), "host": SOCKETS, "sslmode": "disable", "channel_binding": "disable"}


def real(cluster: Cluster, me: str, stop: Callable[[], None]) -> Links:
    """Links through psycopg, as parameters() has it; to this host through its socket. A data node may ask others' agents."""

    def within(limit: float) -> Callable[[str], Server]:
        def open_(name: str) -> Server:
            node = cluster.node(name)
            given = local_parameters(cluster, node) if name == me else parameters(cluster, node)
            return PsycopgServer(name, open_connection(name, given, limit))

        return open_

    peers = Peers(cluster) if cluster.node(me).kind == "postgres" else None
    return Links(within(LIMIT), stop, _least, LIMIT, within, peers)


def _least(mine: Server) -> Mapping[str, int]:
    row = mine.rows(
        "SELECT current_setting('data_directory') AS directory, current_setting('server_version_num')::int / 10000 AS version"
    )[0]
    return control_limits(control_data(debian(row["version"], row["directory"]), LocalRunner()))


def version_here(cluster: Cluster, me: str) -> int:
    """PostgreSQL's major version on this host, by its running server."""
    with session(real(cluster, me, lambda: None), me) as server:
        return int(server.rows("SELECT current_setting('server_version_num')::int / 10000 AS major")[0]["major"])
