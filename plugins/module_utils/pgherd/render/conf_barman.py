# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Barman reads: one server section for the cluster, whoever its primary is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model import BARMAN_ROLE, BARMAN_SLOT, BARMAN_STREAMING_ROLE, CA_FILE, Barman, Cluster
from ..ports.sql import conninfo
from ..programs.barman import USER
from .quoting import HEADER

HOME = "/var/lib/barman"
PASSFILE = f"{HOME}/.pgpass"
MAIN_FILE = "/etc/barman.conf"

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
        "channel_binding": "require",
        "connect_timeout": 2,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10000,
    }


@dataclass(frozen=True)
class BarmanLayout:
    """Where one Barman host keeps what: the *server* section's name, the *slot*, the directory of the locks."""

    server: str
    slot: str
    lock_directory: str

    @property
    def gap_file(self) -> str:
        """Exists from when received WAL came to have a gap until a backup was taken after it."""
        return f"{self.lock_directory}/.{self.server}-gap"


def place(cluster: Cluster, name: str) -> BarmanLayout:
    """The layout of the Barman host called *name*, with the user's settings."""
    barman = next(item for item in cluster.barmans if item.name == name)
    everywhere, section = settings(cluster, barman, 0)
    return BarmanLayout(cluster.name, str(section["slot_name"]), str(everywhere["barman_lock_directory"]))


def settings(cluster: Cluster, barman: Barman, version: int, user: str = USER) -> tuple[dict[str, Any], dict[str, Any]]:
    """Barman's global settings and those of the cluster's section, the user's over ours; None leaves a key out. *user*: who runs
    Barman, which refuses to be run by anybody else."""
    directory = cluster.options.barman_directory or HOME
    everywhere = {
        "barman_user": user,
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
        "retention_policy": cluster.options.barman_retention,
        "minimum_redundancy": 1,
    }
    for key, value in barman.settings.items():
        (everywhere if key in GLOBAL_KEYS else section)[key] = value
    return everywhere, section


def ini(section: str, values: Mapping[str, Any], readings: int) -> str:
    """A section as Barman reads it: with Python's configparser, which takes %% for a percent sign, and then without one
    pair of quotes around a value. *readings*: how often the Barman that reads it takes them so."""
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


def texts(cluster: Cluster, barman: Barman, version: int, readings: int, user: str = USER) -> tuple[str, str]:
    """What Barman reads on its host: its global settings, and the cluster's section. *readings*: see ini(); *user*: see
    settings()."""
    everywhere, section = settings(cluster, barman, version, user)
    return HEADER + ini("barman", everywhere, readings), HEADER + ini(cluster.name, section, readings)
