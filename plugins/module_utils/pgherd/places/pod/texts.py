# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod's ConfigMap and its Secret hold: the texts that hosts get, by key. Where they are mounted is no part of them."""

from __future__ import annotations

from collections.abc import Mapping

from ...model import BARMAN_ROLE, BARMAN_STREAMING_ROLE, COMMAND, MONITOR_ROLE, Barman, Cluster, Node, Pgpool
from ...ports.services import POSTGRES, REPMGRD
from ...render import conf_barman, conf_cluster, conf_pgpool, conf_postgres, conf_repmgr
from ...render.quoting import passfile

DESCRIPTION = "cluster.json"
# Who runs all that a pod runs.
USER = "postgres"


def password(content: bytes) -> str:
    """The password in what a Secret's key holds, without the line's end that editors put behind it. Raises ValueError."""
    return content.decode().rstrip("\r\n")


def commands() -> dict[str, str]:
    """How repmgr has services started and stopped: process 1 is asked."""
    server = {f"service_{verb}_command": POSTGRES for verb in ("start", "stop", "restart", "reload")}
    daemon = {f"repmgrd_service_{verb}_command": REPMGRD for verb in ("start", "stop")}
    return {key: f"{COMMAND} service {key.split('_')[-2]} {name}" for key, name in {**server, **daemon}.items()}


def of_node(cluster: Cluster, node: Node, version: int, least: Mapping[str, int] | None = None) -> dict[str, str]:
    """For *node* with PostgreSQL of major *version*. *least*: see conf_postgres.settings()."""
    return {
        DESCRIPTION: conf_cluster.text(cluster),
        **conf_postgres.texts(cluster, node, version, least),
        "repmgr.conf": conf_repmgr.text(cluster, node, version, commands()),
    }


def of_pgpool(cluster: Cluster, host: Pgpool) -> dict[str, str]:
    """For a pgpool."""
    return {DESCRIPTION: conf_cluster.text(cluster), **conf_pgpool.texts(cluster, host)}


def of_barman(cluster: Cluster, host: Barman, version: int, readings: int) -> dict[str, str]:
    """For a Barman of nodes with PostgreSQL of major *version*. *readings*: see conf_barman.ini()."""
    main, section = conf_barman.texts(cluster, host, version, readings, USER)
    return {DESCRIPTION: conf_cluster.text(cluster), "barman.conf": main, f"{cluster.name}.conf": section}


def secrets_of(cluster: Cluster, host: Node | Pgpool | Barman, secrets: Mapping[str, str]) -> dict[str, str]:
    """What of *secrets*, by role, the host's Secret holds."""
    found = {"monitor.pgpass": passfile([("*", "*", "*", MONITOR_ROLE, secrets[MONITOR_ROLE])])}
    if isinstance(host, Node):
        logins, agents = conf_repmgr.logins(cluster, host, secrets)
        return {**found, "pgpass": logins, **({"agent.pgpass": agents} if agents else {})}
    if isinstance(host, Pgpool):
        return {**found, **conf_pgpool.secret_texts(cluster, secrets)}
    roles = (BARMAN_ROLE, BARMAN_STREAMING_ROLE)
    entries = [(node.address, cluster.port, "*", role, secrets[role]) for node in cluster.data_nodes for role in roles]
    return {**found, "pgpass": passfile(entries)}
