# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""PostgreSQL's configuration: settings, who may connect from where, the unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Union

from ..model import (
    BARMAN_ROLE,
    BARMAN_STREAMING_ROLE,
    CA_FILE,
    MONITOR_ROLE,
    PGPOOL_ROLE,
    REPMGR_DATABASE,
    REPMGR_ROLE,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
    SYSTEM_ROLES,
    Barman,
    Cluster,
    Node,
    Pgpool,
)
from ..programs.postgres import raised
from .hostfiles import File
from .render import HEADER, HostFacts, single_quoted

SOCKET_DIRECTORY = "/var/run/postgresql"
IDENT_MAP = "pgherd"


def configuration_directory(version: int) -> str:
    """Where Debian's pg_ctlcluster looks for the configuration of cluster ``main``."""
    return f"/etc/postgresql/{version}/main"


def data_directory(cluster: Cluster, version: int) -> str:
    """The data directory: the user's, or Debian's place for cluster ``main``."""
    return str(cluster.options.get("data_directory") or f"/var/lib/postgresql/{version}/main")


def unit(version: int) -> str:
    """The systemd unit of cluster ``main``."""
    return f"postgresql@{version}-main.service"


def drop_in_file(version: int) -> str:
    """What drop_in() is written to."""
    return f"/etc/systemd/system/{unit(version)}.d/pgherd.conf"


def settings(cluster: Cluster, node: Node, version: int, least: Mapping[str, int] | None = None) -> dict[str, Any]:
    """postgresql.conf of *node*: what the cluster needs, with the user's settings over it, and no limit below *least*.

    Values that matter for safety are explained in docs/settings.md. ``shared_preload_libraries`` of the user adds to
    what is needed instead of replacing it.
    """
    directory = configuration_directory(version)
    # Each standby and Barman take one sender and one slot; clones and base backups take two more for a while. Both
    # limits need a restart to change, so they grow in large steps: one more host must not restart anybody.
    streams = 32 * math.ceil((2 * len(cluster.nodes) + 2 * len(cluster.barmans) + 2) / 32)
    clients = int(cluster.options["pgpool_max_clients"]) * len(cluster.pgpools)
    wanted: dict[str, Any] = {
        "data_directory": data_directory(cluster, version),
        "hba_file": f"{directory}/pg_hba.conf",
        "ident_file": f"{directory}/pg_ident.conf",
        "external_pid_file": f"/run/postgresql/{version}-main.pid",
        "cluster_name": node.name,
        "listen_addresses": "*",
        "port": cluster.port,
        "unix_socket_directories": SOCKET_DIRECTORY,
        "max_connections": max(300, 100 * math.ceil((clients + 40) / 100)),
        "ssl": True,
        "ssl_ca_file": CA_FILE,
        "ssl_cert_file": SERVER_CERT_FILE,
        "ssl_key_file": SERVER_KEY_FILE,
        "ssl_min_protocol_version": "TLSv1.2",
        "password_encryption": "scram-sha-256",
        "shared_preload_libraries": ",".join(preload(cluster, node)),
        "wal_level": "replica",
        "wal_log_hints": True,
        "hot_standby": True,
        "hot_standby_feedback": True,
        "max_wal_senders": streams,
        "max_replication_slots": streams,
        "wal_sender_timeout": "10s",
        "wal_receiver_timeout": "10s",
        # A primary knows within seconds whether its standbys are still there; one that lost its upstream looks again soon.
        "wal_receiver_status_interval": "1s",
        "wal_retrieve_retry_interval": "200ms",
        # What PostgreSQL syncs before it recovers from a crash: file systems, instead of thousands of files one by one.
        "recovery_init_sync_method": "syncfs",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": True,
        "log_lock_waits": True,
    }
    # pg_rewind of an old primary reads its WAL from the last checkpoint before the parting on; slots keep less than that.
    wanted["wal_keep_size"] = cluster.options["wal_keep_size"]
    if cluster.replication_slots:
        # A slot that nobody reads must not fill the disk.
        wanted["max_slot_wal_keep_size"] = "8GB"
    if node.kind == "postgres":
        wanted["synchronous_commit"] = True
        wanted["synchronous_standby_names"] = cluster.synchronous_standby_names
    user = {key: value for key, value in node.settings.items() if key != "shared_preload_libraries"}
    return raised({**wanted, **logical_slots(cluster, node, version, {**wanted, **user}), **user}, least or {})


def logical_slots(cluster: Cluster, node: Node, version: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """What has logical slots with failover (PostgreSQL 17) survive one, beside the settings *given*. Explained in
    docs/logical-slots.md.

    Only electable nodes copy them: they stream from the primary itself, and a standby's standby cannot. Without logical WAL
    or feedback nothing may be switched on: early releases of 17 end the whole server then (ValidateSlotSyncParams() in
    slotsync.c).
    """
    ready = str(given["wal_level"]) == "logical" and str(given["hot_standby_feedback"]).lower() in (
        "true",
        "on",
        "yes",
        "1",
    )
    if version < 17 or not ready or not cluster.replication_slots or node not in cluster.electable:
        return {}
    wanted: dict[str, Any] = {"sync_replication_slots": True}
    if cluster.durability == "strict":
        # W fixed ones: each R that a promotion seals has one of them, so no reader can be ahead of who is promoted.
        others = sorted((one for one in cluster.electable if one != node), key=lambda one: (-one.priority, one.id))
        wanted["synchronized_standby_slots"] = ",".join(one.slot for one in others[: cluster.sync_standbys])
    return wanted


def preload(cluster: Cluster, node: Node) -> list[str]:
    """Libraries to preload: repmgr's, those of extensions that ask for it (a witness has none), the user's."""
    wanted = ["repmgr"]
    if node.kind == "postgres":
        wanted += [item["name"] for item in cluster.options.get("extensions", ()) if item.get("preload")]
    wanted += [part.strip() for part in str(node.settings.get("shared_preload_libraries", "")).split(",")]
    return list(dict.fromkeys(part for part in wanted if part))


Peer = Union[Node, Pgpool, Barman]


def hba(cluster: Cluster, node: Node) -> list[str]:
    """pg_hba.conf of *node*, line by line: the first line that matches a session decides about it."""
    lines = [f"local all postgres peer map={IDENT_MAP}", "local all all scram-sha-256"]
    for peer in cluster.nodes:
        lines += _allow(peer, REPMGR_DATABASE, [REPMGR_ROLE])
        if peer.kind == "postgres" and node.kind == "postgres":
            lines += _allow(peer, "replication", [REPMGR_ROLE])
    watchers: tuple[Peer, ...] = (*cluster.nodes, *cluster.pgpools, *cluster.barmans)
    for watcher in watchers:
        lines += _allow(watcher, f"postgres,{REPMGR_DATABASE}", [MONITOR_ROLE])
    if node.kind == "postgres":
        users = [user["name"] for user in cluster.options.get("users", ())]
        for backup in cluster.barmans:
            lines += _allow(backup, "postgres", [BARMAN_ROLE])
            lines += _allow(backup, "replication", [BARMAN_STREAMING_ROLE])
        for pgpool in cluster.pgpools:
            lines += _allow(pgpool, "postgres", [PGPOOL_ROLE])
            lines += _allow(pgpool, "all", users)
    lines.append(f"host all {','.join(_quoted(SYSTEM_ROLES))},postgres all reject")
    if node.kind == "postgres":
        lines += [str(line) for line in cluster.options.get("hba", ())]
        lines += [f"hostssl all all {network} scram-sha-256" for network in cluster.options.get("networks", ())]
    return lines


def _allow(peer: Peer, database: str, roles: Iterable[str]) -> list[str]:
    names = _quoted(roles)
    address = f"{peer.ip}/{128 if ':' in peer.ip else 32}" if peer.ip else peer.address
    return [f"hostssl {database} {','.join(names)} {address} scram-sha-256"] if names else []


def _quoted(names: Iterable[str]) -> list[str]:
    return [name if name.replace("_", "a").isalnum() else '"' + name.replace('"', '""') + '"' for name in names]


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """The whole configuration directory, tablespace directories, and the unit's drop-in."""
    node, version = cluster.node(name), facts.postgres_version
    directory = configuration_directory(version)
    mine = partial(File, owner="postgres", group="postgres")
    wanted = settings(cluster, node, version, facts.limits)
    text = "".join(f"{key} = {single_quoted(value)}\n" for key, value in wanted.items())
    ident = f"{IDENT_MAP} postgres postgres\n{IDENT_MAP} root postgres\n"
    locations = [item["location"] for item in cluster.options.get("tablespaces", ()) if node.kind == "postgres"]
    return [
        mine(f"/etc/postgresql/{version}", kind="directory", mode="0755"),
        mine(directory, kind="directory", mode="0755"),
        mine(f"{directory}/postgresql.conf", HEADER + text, mode="0644"),
        mine(f"{directory}/pg_hba.conf", HEADER + "".join(f"{line}\n" for line in hba(cluster, node)), mode="0640"),
        mine(f"{directory}/pg_ident.conf", HEADER + ident, mode="0640"),
        mine(f"{directory}/start.conf", "auto\n"),
        # Recovery may take longer than pg_ctl's minute: it must not be taken for a failed start.
        mine(f"{directory}/pg_ctl.conf", "pg_ctl_options = '-t 86400'\n"),
        mine(f"{directory}/environment", ""),
        *(mine(location, kind="directory", mode="0700") for location in locations),
        File(f"/etc/systemd/system/{unit(version)}.d", kind="directory", mode="0755"),
        File(drop_in_file(version), HEADER + drop_in(name, version)),
    ]


def drop_in(name: str, version: int) -> str:
    """What Debian's unit leaves out: a failed start is a failure, and a killed postmaster comes back by itself."""
    return (
        "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=5\n\n"
        # The start guard: a former primary comes back as a standby unless the others know no newer one.
        f"[Service]\nExecStartPre=/usr/bin/pgherd guard --host {name} --postgres {version}\nExecStart=\n"
        "ExecStart=/usr/bin/pg_ctlcluster --skip-systemctl-redirect %i start\n"
        "Restart=on-failure\nRestartSec=100ms\n"
    )
