# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""repmgr's configuration: repmgr.conf, the passfile, what postgres may do through sudo, repmgrd's unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..model import POSTGRES_PASSFILE, REPMGR_DATABASE, REPMGR_ROLE, Cluster, Node
from ..ports.service import PROGRAM
from ..programs.repmgr import binary_directory, configuration_file, node_conninfo
from . import conf_agent, conf_postgres
from .conf_base import COMMAND
from .hostfiles import File
from .render import HEADER, HostFacts, passfile, single_quoted

UNIT = "repmgrd.service"
# What says who a node is comes from the inventory alone: a second value would register one node as another.
IDENTITY = ("node_id", "node_name", "conninfo", "data_directory", "use_replication_slots", "passfile")


def failover_commands(node: Node) -> dict[str, str]:
    """What repmgrd runs before and for a promotion of its node, and to have it follow another."""
    return {
        "failover_validation_command": f"{COMMAND} validate --host {node.name}",
        "promote_command": f"{COMMAND} promote --host {node.name}",
        "follow_command": f"{COMMAND} follow --host {node.name} --upstream %n",
    }


def settings(cluster: Cluster, node: Node, version: int) -> dict[str, Any]:
    """repmgr.conf of *node*, with the user's ``cluster_repmgr_settings`` over it.

    Raises ConfigError when those would change who the node is.
    """
    unit = conf_postgres.unit(version)
    wanted: dict[str, Any] = {
        "node_id": node.id,
        "node_name": node.name,
        "conninfo": node_conninfo(cluster, node),
        "data_directory": conf_postgres.data_directory(cluster, version),
        "pg_bindir": binary_directory(version),
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
        **{
            f"service_{verb}_command": f"sudo {PROGRAM} {verb} {unit}"
            for verb in ("start", "stop", "restart", "reload")
        },
        **{f"repmgrd_service_{verb}_command": f"sudo {PROGRAM} {verb} {UNIT}" for verb in ("start", "stop")},
    }
    if cluster.options.get("wal_directory") and node.kind == "postgres":
        wanted["pg_basebackup_options"] = f"--waldir={cluster.options['wal_directory']}"
    user: Mapping[str, Any] = cluster.options.get("repmgr_settings") or {}
    wrong = sorted(set(user) & set(IDENTITY))
    if wrong:
        raise ConfigError([f"cluster_repmgr_settings: {key} comes from the inventory; take it out." for key in wrong])
    return {**wanted, **user}


def sudoers(version: int) -> str:
    """What postgres may do as root: exactly the commands that repmgr.conf names."""
    unit = conf_postgres.unit(version)
    commands = [f"{PROGRAM} {verb} {unit}" for verb in ("start", "stop", "restart", "reload")]
    commands += [f"{PROGRAM} reset-failed {unit}", f"{PROGRAM} start --no-block {unit}"]
    commands += [f"{PROGRAM} {verb} {UNIT}" for verb in ("start", "stop", "restart")]
    return "Defaults:postgres !requiretty\n" + "".join(f"postgres ALL=(root) NOPASSWD: {line}\n" for line in commands)


def unit_file(version: int) -> str:
    """repmgrd's unit. It is bound to nothing: repmgrd must live on when its PostgreSQL goes down, and it gives up at
    once when its upstream is down at its own start, so systemd starts it again until that is there."""
    return f"""\
[Unit]
Description=repmgrd, failover daemon of PostgreSQL {version}
Documentation=https://www.repmgr.org/docs/current/
After=network-online.target {conf_postgres.unit(version)}
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=postgres
Group=postgres
ExecStart={binary_directory(version)}/repmgrd -f {configuration_file(version)} --daemonize=false --no-pid-file
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=10

[Install]
WantedBy=multi-user.target
"""


def repmgr_passfile(cluster: Cluster, secrets: Mapping[str, str]) -> str:
    """The password of repmgr's role on every node, for its database and for replication. libpq looks a local
    socket up as "localhost"."""
    return passfile(
        [
            (host, cluster.port, database, REPMGR_ROLE, secrets[REPMGR_ROLE])
            for host in (*(node.address for node in cluster.nodes), "localhost")
            for database in (REPMGR_DATABASE, "replication")
        ]
    )


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """repmgr.conf, passfile, sudo rules and repmgrd's unit of the node called *name*."""
    node, version = cluster.node(name), facts.postgres_version
    text = "".join(f"{key} = {single_quoted(value)}\n" for key, value in settings(cluster, node, version).items())
    path = configuration_file(version)
    return [
        *conf_agent.files("node", name, postgres=version),
        File("/etc/repmgr", kind="directory", mode="0755"),
        File(f"/etc/repmgr/{version}", kind="directory", mode="0755"),
        File(path, HEADER + text, group="postgres", mode="0640"),
        # For people: `repmgr cluster show` finds it there without -f.
        File("/etc/repmgr.conf", path, kind="link"),
        File(
            POSTGRES_PASSFILE,
            secret_content=repmgr_passfile(cluster, secrets),
            owner="postgres",
            group="postgres",
            mode="0600",
        ),
        File("/etc/sudoers.d/pgherd", HEADER + sudoers(version), mode="0440"),
        File(f"/etc/systemd/system/{UNIT}", HEADER + unit_file(version)),
    ]
