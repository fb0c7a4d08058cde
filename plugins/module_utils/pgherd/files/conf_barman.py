# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Barman's configuration: one server section for the cluster, whoever its primary is, and the units that run it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model import BARMAN_ROLE, BARMAN_SLOT, BARMAN_STREAMING_ROLE, CA_FILE, CLUSTER_FILE, Barman, Cluster
from ..ports.sql import conninfo
from ..programs.barman import PROGRAM, USER
from . import conf_agent
from .conf_base import LIBRARY
from .hostfiles import File
from .render import HEADER, HostFacts, passfile

HOME = "/var/lib/barman"
PASSFILE = f"{HOME}/.pgpass"
MAIN_FILE = "/etc/barman.conf"
CRON_FILE = "/etc/cron.d/barman"
UNITS = "/etc/systemd/system"
CRON_TIMER = "barman-cron.timer"
BACKUP_TIMER = "barman-backup.timer"
BACKUP_UNIT = "barman-backup.service"
RECEIVER_UNIT = "barman-receive-wal.service"

# Keys that Barman takes in its section [barman] only.
GLOBAL_KEYS = (
    "barman_home",
    "barman_lock_directory",
    "barman_user",
    "config_changes_queue",
    "configuration_files_directory",
    "lock_directory_cleanup",
    "log_file",
    "log_level",
)


def server_file(cluster: Cluster) -> str:
    """The file with the section of this cluster."""
    return f"/etc/barman.d/{cluster.name}.conf"


def slots(cluster: Cluster) -> dict[str, str]:
    """The replication slot of each Barman host, by host name: the plain name for one that is alone, else with the host's
    name, so that the order of hosts in the group means nothing.

    A slot's name has lower-case letters, digits and underscores, at most 63.
    """
    names = sorted(barman.name for barman in cluster.barmans)
    if len(names) == 1:
        return {names[0]: BARMAN_SLOT}
    found: dict[str, str] = {}
    for name in names:
        slot = f"{BARMAN_SLOT}_{re.sub(r'[^a-z0-9_]', '_', name.lower())}"[:60]
        while slot in found.values():
            slot += "_"
        found[name] = slot
    return found


def connection(cluster: Cluster, role: str) -> dict[str, Any]:
    """libpq parameters that lead to the primary, whichever data node it is.

    *target_session_attrs* passes over standbys, and over a primary that was fenced. A dead host costs two seconds; the
    last four parameters notice within some ten seconds that the other end of an open connection is gone.
    """
    return {
        "host": ",".join(node.address for node in cluster.data_nodes),
        "port": cluster.port,
        "user": role,
        "dbname": "postgres",
        "target_session_attrs": "read-write",
        "sslmode": "verify-full",
        "sslrootcert": CA_FILE,
        "connect_timeout": 2,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10000,
    }


@dataclass(frozen=True)
class Place:
    """Where one Barman host keeps what: the *server* section's name, the *slot*, the directory of the locks."""

    server: str
    slot: str
    lock_directory: str

    @property
    def gap_file(self) -> str:
        """Exists from when received WAL came to have a gap until a backup was taken after it."""
        return f"{self.lock_directory}/.{self.server}-gap"


def place(cluster: Cluster, name: str) -> Place:
    """The Place of the Barman host called *name*, with the user's settings."""
    barman = next(item for item in cluster.barmans if item.name == name)
    everywhere, section = settings(cluster, barman, 0)
    return Place(cluster.name, str(section["slot_name"]), str(everywhere["barman_lock_directory"]))


def units_and_files(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """The units that run for ever, each with the files that it reads when it starts, as they are on this host."""
    program = sorted(glob.glob(f"{LIBRARY}/pgherd/**/*.py", recursive=True))
    return {
        CRON_TIMER: (f"{UNITS}/{CRON_TIMER}",),
        BACKUP_TIMER: (f"{UNITS}/{BACKUP_TIMER}",),
        RECEIVER_UNIT: (f"{UNITS}/{RECEIVER_UNIT}", MAIN_FILE, server_file(cluster)),
        conf_agent.UNIT: (f"{UNITS}/{conf_agent.UNIT}", CLUSTER_FILE, *program),
    }


def settings(cluster: Cluster, barman: Barman, version: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Barman's global settings and those of the cluster's section, the user's over ours; None leaves a key out."""
    directory = cluster.options.get("barman_directory") or HOME
    everywhere = {
        "barman_user": USER,
        "barman_home": directory,
        "barman_lock_directory": directory,
        "configuration_files_directory": "/etc/barman.d",
        "log_file": "/var/log/barman/barman.log",
        "log_level": "INFO",
    }
    section = {
        "description": f"PostgreSQL cluster {cluster.name}",
        "conninfo": conninfo(connection(cluster, BARMAN_ROLE)),
        "streaming_conninfo": conninfo(connection(cluster, BARMAN_STREAMING_ROLE)),
        "backup_method": "postgres",
        "streaming_archiver": True,
        "archiver": False,
        "slot_name": slots(cluster)[barman.name],
        # After a failover to a node that lacks it, the receiver makes the slot itself.
        "create_slot": "auto",
        "backup_directory": f"{directory}/{cluster.name}",
        "path_prefix": f"/usr/lib/postgresql/{version}/bin",
        "compression": "gzip",
        "retention_policy": cluster.options.get("barman_retention"),
        "minimum_redundancy": 1,
    }
    for key, value in barman.settings.items():
        (everywhere if key in GLOBAL_KEYS else section)[key] = value
    return everywhere, section


def readings(facts: HostFacts) -> int:
    """How often the host's Barman reads a percent sign: since 3.10 its values go through Python's configparser twice.

    Debian 12's own is 3.4; other repositories bring a newer one.
    """
    return 1 if facts.postgres_version < 17 and not facts.apt_repository else 2


def ini(section: str, values: Mapping[str, Any], readings: int) -> str:
    """A section as Barman reads it: with Python's configparser, which takes %% for a percent sign, and then without one
    pair of quotes around a value. *readings*: see there."""
    percent = "%" * 2**readings
    lines = [f"{key} = {_value(value)}\n" for key, value in values.items() if value is not None]
    return f"[{section}]\n" + "".join(lines).replace("%", percent)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value)
    text = str(value)
    if text != text.strip() or (text[:1] in "\"'" and text[-1:] == text[:1]):
        text = f'"{text}"'
    return text.replace("\n", "\n  ")


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """Configuration, passfile, and units in the place of the package's cron file."""
    barman = next(item for item in cluster.barmans if item.name == name)
    everywhere, section = settings(cluster, barman, facts.postgres_version)
    own: dict[str, Any] = {"owner": USER, "group": USER}
    directories = dict.fromkeys([HOME, str(everywhere["barman_home"]), str(everywhere["barman_lock_directory"])])
    logins = [("*", "*", "*", role, secrets[role]) for role in (BARMAN_ROLE, BARMAN_STREAMING_ROLE)]
    return [
        *(File(path, kind="directory", mode="0750", **own) for path in directories),
        File(PASSFILE, secret_content=passfile(logins), mode="0600", **own),
        File(MAIN_FILE, HEADER + ini("barman", everywhere, readings(facts))),
        # Not for everybody: a user's own settings may hold a password.
        File(server_file(cluster), HEADER + ini(cluster.name, section, readings(facts)), group=USER, mode="0640"),
        File(CRON_FILE, kind="absent"),
        *units(cluster, str(everywhere["barman_lock_directory"])),
        # Barman's own checks write to its log and hold its locks.
        *conf_agent.files("barman", name, [os.path.dirname(str(everywhere["log_file"])), *directories]),
    ]


def units(cluster: Cluster, lock_directory: str) -> list[File]:
    """The units, and the links that enable them."""
    lock = f"{lock_directory}/.{cluster.name}-receive-wal.lock"
    service = f"[Service]\nUser={USER}\nGroup={USER}\n"
    texts = {
        "barman-cron.service": _unit("Barman's maintenance")
        # What it starts in the background outlives it.
        + f"{service}Type=oneshot\nKillMode=process\nExecStart={PROGRAM} -q cron\n",
        CRON_TIMER: _unit("Barman's maintenance, every minute")
        + "[Timer]\nOnCalendar=minutely\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n",
        BACKUP_UNIT: _unit(f"Base backup of {cluster.name}", online=True)
        + f"{service}Type=oneshot\nTimeoutStartSec=infinity\nNice=5\nExecStart={PROGRAM} backup {cluster.name}\n"
        # A backup counts once its last WAL file is here, which an idle primary would not fill.
        + f"ExecStart={PROGRAM} switch-wal --archive --archive-timeout 300 {cluster.name}\n"
        + f"ExecStart={PROGRAM} check-backup {cluster.name} latest\n",
        BACKUP_TIMER: _unit(f"Scheduled base backup of {cluster.name}")
        + f"[Timer]\nOnCalendar={cluster.options.get('barman_schedule')}\nPersistent=true\n\n"
        + "[Install]\nWantedBy=timers.target\n",
        RECEIVER_UNIT: _unit(f"WAL of {cluster.name}, received as it is written", online=True)
        + f"{service}KillSignal=SIGINT\nRestart=always\nRestartSec=2\n"
        # Barman's cron starts a receiver when it finds none, which nobody would restart: it has to make room. Until it
        # has, the unit is not active.
        + f"ExecStartPre=/bin/sh -c 'flock -n {lock} true || {PROGRAM} -q receive-wal --stop {cluster.name}; "
        + f"flock {lock} true'\nExecStart={PROGRAM} receive-wal {cluster.name}\n\n"
        + "[Install]\nWantedBy=multi-user.target\n",
    }
    wanted = {CRON_TIMER: "timers", BACKUP_TIMER: "timers", RECEIVER_UNIT: "multi-user"}
    links = [
        File(f"{UNITS}/{target}.target.wants/{unit}", f"{UNITS}/{unit}", kind="link") for unit, target in wanted.items()
    ]
    return [*(File(f"{UNITS}/{unit}", HEADER + text) for unit, text in texts.items()), *links]


def _unit(description: str, online: bool = False) -> str:
    network = "Wants=network-online.target\nAfter=network-online.target\n" if online else ""
    return f"[Unit]\nDescription={description}\nStartLimitIntervalSec=0\n{network}\n"
