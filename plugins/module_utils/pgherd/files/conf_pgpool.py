# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pgpool-II's configuration: settings, backends, who may connect with which password, PCP, the unit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Union

from ..errors import ConfigError
from ..model import (
    CA_FILE,
    MONITOR_ROLE,
    PCP_USER,
    PGPOOL_ROLE,
    REPMGR_DATABASE,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
    SYSTEM_ROLES,
    Barman,
    Cluster,
    Node,
    Pgpool,
)
from ..programs import pgpool, pgpool_settings
from . import conf_agent
from .backend_list import Backend, number_of
from .hostfiles import File
from .render import HEADER, HostFacts

Peer = Union[Node, Pgpool, Barman]


def backends(cluster: Cluster) -> list[Backend]:
    """The cluster's data nodes as backends. inventory.py has seen to it that pgpool knows their numbers."""
    weights = cluster.options.get("pgpool_weights", {})
    return [
        Backend(number_of(node.id), node.address, cluster.port, float(weights.get(node.name, 1)), name=node.name)
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
        "socket_dir": pgpool.SOCKETS,
        "unix_socket_directories": pgpool.SOCKETS,
        "pcp_listen_addresses": "localhost",
        "pcp_port": cluster.pcp_port,
        "pcp_socket_dir": pgpool.SOCKETS,
        "pid_file_name": f"{pgpool.RUNTIME}/pgpool.pid",
        "logdir": pgpool.RUNTIME,
        "log_destination": "stderr",
        # Clients beyond num_init_children wait in the listen queue; with reserved_connections they are refused.
        "num_init_children": int(options["pgpool_max_clients"]),
        "reserved_connections": int(options["pgpool_reserved_connections"]),
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
        "load_balance_mode": bool(options["pgpool_read_balancing"]),
        "statement_level_load_balance": False,
        "disable_load_balance_on_write": "transaction",
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
    return {**wanted, **host.settings}


def configuration(cluster: Cluster, host: Pgpool) -> str:
    """The text of pgpool.conf."""
    wanted = settings(cluster, host)
    mine = {key: value for backend in backends(cluster) for key, value in backend.settings().items()}
    lines = {**mine, **wanted}
    return HEADER + "".join(pgpool_settings.setting(key, value) for key, value in lines.items())


def hba(cluster: Cluster) -> list[str]:
    """pool_hba.conf: the monitoring role from every part of the cluster, the networks' users, nobody else."""
    lines = ["local all all scram-sha-256"]
    peers: tuple[Peer, ...] = (*cluster.nodes, *cluster.pgpools, *cluster.barmans)
    for peer in peers:
        address = f"{peer.ip}/{128 if ':' in peer.ip else 32}" if peer.ip else peer.address
        lines.append(f"hostssl postgres,{REPMGR_DATABASE} {MONITOR_ROLE} {address} scram-sha-256")
    lines.append(f"host all {','.join((*SYSTEM_ROLES, 'postgres'))} all reject")
    lines += [f"hostssl all all {network} scram-sha-256" for network in cluster.options.get("networks", ())]
    return lines


def passwords(cluster: Cluster, secrets: Mapping[str, str]) -> str:
    """pool_passwd. For SCRAM towards the servers pgpool needs the clear passwords of all users that it lets in.

    They are not encrypted (``AES``): the key would lie beside them, readable by the same user. Colons and backslashes
    are escaped as getNextToken() in pool_passwd.c wants it, whose limit of 128 bytes counts the prefix. Raises
    ConfigError for a password that pgpool would cut off.
    """
    names = [PGPOOL_ROLE, MONITOR_ROLE, *(user["name"] for user in cluster.options.get("users", ()))]
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


def drop_in() -> str:
    """What Debian's unit leaves out.

    The gate keeps pgpool from serving before ``cluster_pgpool_min_backends`` servers can be used, however long that
    takes, and writes the status file, so that pgpool never begins with a stale primary or a dead standby. Copies of what
    pgpool reads tell later what it runs with.
    """
    read = " ".join((pgpool.CONFIGURATION, pgpool.PASSWORDS, pgpool.HBA, SERVER_CERT_FILE))
    copy = f"/bin/cp -p {read} {pgpool.LOADED}/"
    return (
        "[Unit]\n"
        "After=network-online.target nss-lookup.target\nWants=network-online.target\n"
        "StartLimitIntervalSec=0\n\n"
        "[Service]\n"
        "RuntimeDirectory=pgpool2\nRuntimeDirectoryMode=0755\n"
        "ExecStartPre=+/usr/bin/pgherd gate\n"
        f"ExecStartPre=/bin/mkdir -m 0700 -p {pgpool.LOADED}\n"
        f"ExecStartPre={copy}\n"
        f"ExecStart=\nExecStart=/usr/sbin/pgpool -n\n"
        f"ExecReload=\nExecReload={copy}\nExecReload=/bin/kill -HUP $MAINPID\n"
        "TimeoutStartSec=infinity\nTimeoutStopSec=10\n"
        "KillMode=mixed\nRestart=on-failure\nRestartSec=1\n"
        "StandardOutput=journal\nStandardError=journal\n"
    )


def restart_units() -> list[File]:
    """The units by which the agent may have pgpool restarted, and nothing else. One that was stopped stays so."""
    path = (
        "[Unit]\nDescription=Restart of Pgpool-II that the agent asks for\n\n"
        f"[Path]\nPathExists={pgpool.RESTART_ASKED}\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    service = (
        "[Unit]\nDescription=Restart of Pgpool-II that the agent asked for\n\n"
        f"[Service]\nType=oneshot\nExecStart=/bin/rm -f {pgpool.RESTART_ASKED}\n"
        f"ExecStart=/usr/bin/systemctl --no-block try-restart {pgpool.UNIT}\n"
    )
    return [
        File(f"/etc/systemd/system/{pgpool.RESTART_UNIT}.service", HEADER + service),
        *conf_agent.enabled(f"{pgpool.RESTART_UNIT}.path", path),
    ]


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """All files of Pgpool-II and of the agent beside it on the host called *name*."""
    host = next(item for item in cluster.pgpools if item.name == name)
    hidden = partial(File, owner="postgres", group="postgres", mode="0600")
    shared = partial(File, owner="root", group="postgres", mode="0640")
    return [
        shared(pgpool.CONFIGURATION, configuration(cluster, host)),
        shared(pgpool.HBA, HEADER + "".join(f"{line}\n" for line in hba(cluster))),
        hidden(pgpool.PASSWORDS, secret_content=passwords(cluster, secrets)),
        hidden(pgpool.PCP_CONFIGURATION, secret_content=pcp_users(secrets)),
        File(pgpool.PCP_PASSFILE, secret_content=pgpool.pcp_passfile(PCP_USER, secrets[PCP_USER]), mode="0600"),
        File(f"/etc/systemd/system/{pgpool.UNIT}.d", kind="directory", mode="0755"),
        File(f"/etc/systemd/system/{pgpool.UNIT}.d/pgherd.conf", HEADER + drop_in()),
        *restart_units(),
        *conf_agent.files("pgpool", name),
    ]
