# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pgpool-II's configuration: settings, backends, who may connect with which password, PCP, the unit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..layout import SOCKETS
from ..model import (
    CA_FILE,
    MONITOR_ROLE,
    PCP_USER,
    PGPOOL_ROLE,
    REPMGR_DATABASE,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
    SYSTEM_ROLES,
    Cluster,
    Pgpool,
)
from ..programs import pgpool, pgpool_settings
from ..programs.own_settings import normal
from .backend_list import Backend, number_of
from .conf_postgres import LOOPBACK, let_in
from .quoting import HEADER


def backends(cluster: Cluster) -> list[Backend]:
    """The cluster's data nodes as backends. inventory/check.py sees that pgpool knows their numbers. What is late by design
    answers no reads, unless that is asked for."""
    weights = cluster.options.pgpool_weights
    return [
        Backend(
            number_of(node.id),
            node.address,
            cluster.port,
            float(weights.get(node.name, 0 if node.delay else 1)),
            name=node.name,
        )
        for node in cluster.data_nodes
    ]


def settings(cluster: Cluster, host: Pgpool) -> dict[str, Any]:
    """pgpool.conf of *host*, without the backends: what the cluster needs, with the user's settings over it.

    pgpool never decides about a failover: repmgrd does, and the agent tells pgpool. So every check of its own that could
    take a backend out, or hang on one, is off. Explained in docs/pgpool.md.
    """
    options = cluster.options
    wanted: dict[str, Any] = {
        "backend_clustering_mode": "streaming_replication",
        "listen_addresses": "*",
        "port": cluster.pgpool_port,
        "socket_dir": SOCKETS,
        "unix_socket_directories": SOCKETS,
        "pcp_listen_addresses": "localhost",
        "pcp_port": cluster.pcp_port,
        "pcp_socket_dir": SOCKETS,
        "pid_file_name": f"{pgpool.RUNTIME}/pgpool.pid",
        "logdir": pgpool.RUNTIME,
        "log_destination": "stderr",
        # Clients beyond num_init_children wait in the listen queue; with reserved_connections they are refused.
        "num_init_children": options.pgpool_max_clients,
        "reserved_connections": options.pgpool_reserved_connections,
        "listen_backlog_multiplier": 4,
        # One cached connection per child: num_init_children x max_pool must fit PostgreSQL's max_connections.
        "max_pool": 1,
        "child_life_time": 300,
        "enable_pool_hba": True,
        "pool_passwd": "pool_passwd",
        "allow_clear_text_frontend_auth": False,
        "ssl": True,
        "ssl_cert": SERVER_CERT_FILE,
        "ssl_key": SERVER_KEY_FILE,
        "ssl_ca_cert": CA_FILE,
        **pgpool_settings.routing(options.pgpool_read_balancing),
        "statement_level_load_balance": False,
        # pgpool allocates and clears its query cache even where it is off (64 MiB by default).
        "memory_cache_enabled": False,
        "memqcache_total_size": 1048576,
        "memqcache_max_num_cache": 1000,
        # Off: the checker holds a lock while it waits, without limit, for a server that is frozen, and the search for a
        # new primary waits for that lock (pool_acquire_follow_primary_lock() in pgpool_main.c).
        "sr_check_period": 0,
        "sr_check_user": PGPOOL_ROLE,
        "sr_check_password": "",
        "sr_check_database": "postgres",
        "connect_timeout": 1500,
        # The agent takes a primary out when the next one is there to be found; without one, reads are not to wait.
        "search_primary_node_timeout": 1,
        "health_check_period": 0,
        "failover_on_backend_error": False,
        "failover_on_backend_shutdown": False,
        "failover_command": "",
        "failback_command": "",
        "follow_primary_command": "",
        "detach_false_primary": False,
        "auto_failback": False,
        "use_watchdog": False,
    }
    return pgpool_settings.with_users(wanted, normal(host.settings))


def configuration(cluster: Cluster, host: Pgpool) -> str:
    """The text of pgpool.conf."""
    wanted = settings(cluster, host)
    mine = {key: value for backend in backends(cluster) for key, value in backend.settings().items()}
    lines = {**mine, **wanted}
    return HEADER + "".join(pgpool_settings.setting(key, value) for key, value in lines.items())


def hba(cluster: Cluster) -> list[str]:
    """pool_hba.conf: the monitoring role from every part of the cluster, the networks' users, nobody else; and repmgr's
    database is nobody's business but the monitoring role's."""
    lines = ["local all all scram-sha-256"]
    # And from a pgpool's own host, whose name may lead it to itself.
    places = dict.fromkeys([*(place for peer in cluster.hosts for place in let_in(peer)), *LOOPBACK])
    lines += [f"hostssl postgres,{REPMGR_DATABASE} {MONITOR_ROLE} {place} scram-sha-256" for place in places]
    lines.append(f"host {REPMGR_DATABASE} all all reject")
    lines.append(f"host all {','.join((*SYSTEM_ROLES, 'postgres'))} all reject")
    lines += [f"hostssl all all {network} scram-sha-256" for network in cluster.options.networks]
    return lines


def passwords(cluster: Cluster, secrets: Mapping[str, str]) -> str:
    """pool_passwd. For SCRAM towards the servers pgpool needs the clear passwords of all users that it lets in.

    They are not encrypted (``AES``): the key would lie beside them, readable by the same user. Colons and backslashes
    are escaped as getNextToken() in pool_passwd.c wants it, whose limit of 128 bytes counts the prefix. Raises
    ConfigError for a password that pgpool would cut off.
    """
    names = [PGPOOL_ROLE, MONITOR_ROLE, *(user["name"] for user in cluster.options.users)]
    wrong = [
        f"cluster_users: {name}: Pgpool-II takes passwords of at most 124 bytes in one line; choose a shorter one."
        for name in names
        if len(secrets[name].encode()) > 124 or "\n" in secrets[name]
    ]
    if wrong:
        raise ConfigError(wrong)
    return "".join(f"{pgpool.escaped(name)}:TEXT{pgpool.escaped(secrets[name])}\n" for name in names)


def pcp_users(secrets: Mapping[str, str]) -> str:
    """pcp.conf: the one PCP user, by the only digest that Pgpool-II knows for it (``pg_md5``)."""
    digest = hashlib.md5(secrets[PCP_USER].encode(), usedforsecurity=False).hexdigest()
    return f"{PCP_USER}:{digest}\n"


def texts(cluster: Cluster, host: Pgpool) -> dict[str, str]:
    """What pgpool reads on *host*, by file name, but for passwords."""
    return {
        "pgpool.conf": configuration(cluster, host),
        "pool_hba.conf": HEADER + "".join(f"{line}\n" for line in hba(cluster)),
    }


def secret_texts(cluster: Cluster, secrets: Mapping[str, str]) -> dict[str, str]:
    """The same with passwords."""
    return {"pool_passwd": passwords(cluster, secrets), "pcp.conf": pcp_users(secrets)}
