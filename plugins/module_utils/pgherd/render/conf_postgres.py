# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""PostgreSQL's configuration: settings, who may connect from where, the unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError
from ..inventory.settings import OWN_SESSIONS, pgpool_sessions, streams
from ..layout import SOCKETS, layout
from ..model import (
    AGENT_ROLE,
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
    Cluster,
    Node,
    Peer,
)
from ..objects.identity import SETTING
from ..programs.own_settings import normal
from ..programs.postgres import raised
from .quoting import HEADER, single_quoted

IDENT_MAP = "pgherd"
# Beside postgresql.conf.
INCLUDED = "conf.d"


def settings(cluster: Cluster, node: Node, version: int, least: Mapping[str, int] | None = None) -> dict[str, Any]:
    """postgresql.conf of *node*: what the cluster needs, with the user's settings over it, and no limit below *least*.

    Values that matter for safety are explained in docs/settings.md. ``shared_preload_libraries`` of the user adds to
    what is needed instead of replacing it.
    """
    there = layout(cluster, version)
    directory = there.configuration
    # These limits need a restart to change, so they grow in large steps: one more host must not restart anybody.
    most_streams = 32 * math.ceil(streams(cluster) / 32)
    most_sessions = 100 * math.ceil((pgpool_sessions(cluster) + OWN_SESSIONS) / 100)
    wanted: dict[str, Any] = {
        "data_directory": there.data,
        "hba_file": f"{directory}/pg_hba.conf",
        "ident_file": f"{directory}/pg_ident.conf",
        "external_pid_file": f"/run/postgresql/{version}-main.pid",
        "cluster_name": node.name,
        "listen_addresses": "*",
        "port": cluster.port,
        "unix_socket_directories": SOCKETS,
        "max_connections": max(300, most_sessions),
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
        # What is late by design would hold vacuum back on the primary for as long.
        "hot_standby_feedback": not node.delay,
        "max_wal_senders": most_streams,
        "max_replication_slots": most_streams,
        "wal_sender_timeout": "10s",
        "wal_receiver_timeout": "10s",
        # A primary knows within seconds whether its standbys are still there; one that lost its upstream looks again soon.
        "wal_receiver_status_interval": "1s",
        "wal_retrieve_retry_interval": "200ms",
        # What PostgreSQL syncs before it recovers from a crash: file systems, instead of thousands of files one by one.
        "recovery_init_sync_method": "syncfs",
        # Words in messages are looked for: "starting up", of a server that lets nobody in yet, has no other sign.
        "lc_messages": "C",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": True,
        "log_lock_waits": True,
        # PostgreSQL 15 lets nobody change by ALTER SYSTEM what it has not heard of.
        SETTING: "",
    }
    # pg_rewind of an old primary reads its WAL from the last checkpoint before the parting on; slots keep less than that.
    wanted["wal_keep_size"] = cluster.options.wal_keep_size
    if cluster.replication_slots:
        # A slot that nobody reads must not fill the disk.
        wanted["max_slot_wal_keep_size"] = "8GB"
    if node.kind == "postgres":
        wanted["synchronous_commit"] = True
        wanted["synchronous_standby_names"] = cluster.synchronous_standby_names
    user = {key: value for key, value in normal(node.settings).items() if key != "shared_preload_libraries"}
    found = raised({**wanted, **logical_slots(cluster, node, version, {**wanted, **user}), **user}, least or {})
    return {**own_places(found, version), **found}


# Connections that clients may not take: for promotions, switchovers, repmgr, pgpool and whoever looks, beside what they hold.
PLACES = 16


def own_places(given: Mapping[str, Any], version: int) -> dict[str, int]:
    """What keeps places for the cluster's own roles when clients take all, beside the settings *given*: from PostgreSQL 16 on,
    and fewer where there are few connections at all, since a server without any for others does not start."""
    most = str(given["max_connections"])
    return {"reserved_connections": min(PLACES, int(most) // 10)} if version >= 16 and most.isdigit() else {}


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
        wanted += [item["name"] for item in cluster.options.extensions if item.get("preload")]
    wanted += [part.strip() for part in str(normal(node.settings).get("shared_preload_libraries", "")).split(",")]
    return list(dict.fromkeys(part for part in wanted if part))


# Where a host's sessions to itself come from when its own name leads there, as Debian's installer writes it (127.0.1.1).
LOOPBACK = ("127.0.0.1/32", "::1/128")


def let_in(peer: Peer) -> list[str]:
    """Where *peer* may be seen to come from, as pg_hba.conf and pool_hba.conf name it: by addresses, and by its name only where
    nothing else is known, since a name holds only if looking up the address leads back to it (manual, 20.1)."""
    return list(peer.origins.all) or [peer.address]


def hba(cluster: Cluster, node: Node) -> list[str]:
    """pg_hba.conf of *node*, line by line: the first line that matches a session decides about it."""
    lines = [f"local all postgres peer map={IDENT_MAP}", "local all all scram-sha-256"]
    own, both = _quoted([REPMGR_DATABASE]), _quoted(["postgres", REPMGR_DATABASE])
    for peer in cluster.nodes:
        places = [*let_in(peer), *(LOOPBACK if peer.name == node.name else ())]
        lines += _allow(places, own, [REPMGR_ROLE])
        if peer.kind == "postgres" and node.kind == "postgres":
            lines += _allow(places, own, [AGENT_ROLE])
            # repmgr's role streams until its standby has been pointed anew (see programs/repmgr.py, spent()).
            lines += _allow(places, "replication", [AGENT_ROLE, REPMGR_ROLE])
    for watcher in cluster.hosts:
        lines += _allow([*let_in(watcher), *(LOOPBACK if watcher.name == node.name else ())], both, [MONITOR_ROLE])
    # From here on databases are named as a whole, and locks and metadata are read in this one.
    lines.append(f"host {own} all all reject")
    if node.kind == "postgres":
        users = [user["name"] for user in cluster.options.users]
        for backup in cluster.barmans:
            lines += _allow(let_in(backup), _quoted(["postgres"]), [BARMAN_ROLE])
            lines += _allow(let_in(backup), "replication", [BARMAN_STREAMING_ROLE])
        for pgpool in cluster.pgpools:
            lines += _allow(let_in(pgpool), _quoted(["postgres"]), [PGPOOL_ROLE])
            lines += _allow(let_in(pgpool), "all", users)
    lines.append(f"host all {_quoted([*SYSTEM_ROLES, 'postgres'])} all reject")
    # Hosts that come from the same networks have the same lines.
    lines = list(dict.fromkeys(lines))
    if node.kind == "postgres":
        lines += list(cluster.options.hba)
        lines += [f"hostssl all all {network} scram-sha-256" for network in cluster.options.networks]
    return lines


def _allow(places: Iterable[str], database: str, roles: Iterable[str]) -> list[str]:
    names = _quoted(roles)
    return [f"hostssl {database} {names} {place} scram-sha-256" for place in places] if names else []


def _quoted(names: Iterable[str]) -> str:
    """A list of *names* that mean themselves: without quotes ``all`` is everybody, and ``+staff`` all members. Raises
    ConfigError for one that is a pattern in spite of them (PostgreSQL 16, hba.c: regcomp_auth_token())."""
    found = list(names)
    wrong = [
        f"cluster_users: {name}: a name that begins with a slash is a pattern in pg_hba.conf; choose another."
        for name in found
        if name.startswith("/")
    ]
    if wrong:
        raise ConfigError(wrong)
    return ",".join('"' + name.replace('"', '""') + '"' for name in found)


def texts(cluster: Cluster, node: Node, version: int, least: Mapping[str, int] | None = None) -> dict[str, str]:
    """What PostgreSQL of *version* reads as *node*, by file name. *least*: see settings()."""
    # What others have put there counts, but for what stands here: of two settings the last one does.
    lines = [f"{key} = {single_quoted(value)}\n" for key, value in settings(cluster, node, version, least).items()]
    return {
        "postgresql.conf": HEADER + f"include_dir = '{INCLUDED}'\n" + "".join(lines),
        "pg_hba.conf": HEADER + "".join(f"{line}\n" for line in hba(cluster, node)),
        "pg_ident.conf": HEADER + f"{IDENT_MAP} postgres postgres\n{IDENT_MAP} root postgres\n",
    }
