# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What repmgr reads: repmgr.conf and the passfile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..layout import layout
from ..model import AGENT_ROLE, COMMAND, POSTGRES_PASSFILE, REPMGR_DATABASE, REPMGR_ROLE, Cluster, Node
from ..programs.own_settings import normal
from ..programs.repmgr import node_conninfo
from .quoting import HEADER, login_of, passfile, single_quoted

# Lines of the passfile that are ours, of whatever host: one may have left.
OWN_LOGINS = login_of(None, (REPMGR_DATABASE, "replication"), (REPMGR_ROLE, AGENT_ROLE))


def failover_commands(node: Node) -> dict[str, str]:
    """What repmgrd runs before and for a promotion of its node, and to have it follow another."""
    return {
        "failover_validation_command": f"{COMMAND} validate --host {node.name}",
        "promote_command": f"{COMMAND} promote --host {node.name}",
        "follow_command": f"{COMMAND} follow --host {node.name} --upstream %n",
    }


def settings(cluster: Cluster, node: Node, version: int, commands: Mapping[str, str] | None = None) -> dict[str, Any]:
    """repmgr.conf of *node*, with the user's ``cluster_repmgr_settings`` over it. *commands*: what starts and stops services
    where it runs."""
    there = layout(cluster, version)
    wanted: dict[str, Any] = {
        "node_id": node.id,
        "node_name": node.name,
        "conninfo": node_conninfo(cluster, node),
        "data_directory": there.data,
        "pg_bindir": there.programs,
        "use_replication_slots": cluster.replication_slots,
        # `standby follow` takes it from here, not from the upstream's conninfo.
        "passfile": POSTGRES_PASSFILE,
        "location": node.location,
        "priority": node.priority if node.kind == "postgres" else 0,
        "failover": "automatic",
        **failover_commands(node),
        # Quick to ask, since the validation is a second opinion: a short fault is over by then.
        "monitor_interval_secs": 1,
        "reconnect_attempts": 1,
        "reconnect_interval": 1,
        "connection_check_type": "ping",
        # No promotion while another standby or the witness still hears the primary.
        "primary_visibility_consensus": True,
        "election_rerun_interval": 5,
        "standby_disconnect_on_failover": False,
        "monitoring_history": False,
        "log_level": "INFO",
        "log_status_interval": 300,
        **(commands or {}),
    }
    if node.kind == "postgres":
        wanted["replication_user"] = AGENT_ROLE
    if cluster.options.wal_directory and node.kind == "postgres":
        wanted["pg_basebackup_options"] = f"--waldir={cluster.options.wal_directory}"
    return {**wanted, **normal(cluster.options.repmgr_settings)}


def role_passfile(cluster: Cluster, nodes: Iterable[Node], role: str, secrets: Mapping[str, str]) -> str:
    """The password of *role* on *nodes*, for repmgr's database and for replication. libpq looks a local socket up as
    "localhost"."""
    return passfile(
        [
            (host, cluster.port, database, role, secrets[role])
            for host in (*(node.address for node in nodes), "localhost")
            for database in (REPMGR_DATABASE, "replication")
        ]
    )


def text(cluster: Cluster, node: Node, version: int, commands: Mapping[str, str] | None = None) -> str:
    """The text of repmgr.conf. *commands*: see settings()."""
    lines = settings(cluster, node, version, commands)
    return HEADER + "".join(f"{key} = {single_quoted(value)}\n" for key, value in lines.items())


def logins(cluster: Cluster, node: Node, secrets: Mapping[str, str]) -> tuple[str, str]:
    """As who *node*'s servers and programs log in elsewhere, and as who its agent does, '' for a witness, which must not be
    able to stream, or to seal, promote or read a data node."""
    agents = role_passfile(cluster, cluster.data_nodes, AGENT_ROLE, secrets) if node.kind == "postgres" else ""
    return role_passfile(cluster, cluster.nodes, REPMGR_ROLE, secrets) + agents, agents
