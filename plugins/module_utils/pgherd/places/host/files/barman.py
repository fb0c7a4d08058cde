# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Barman's files on a host: configuration, passfile, and units in the place of the package's cron file."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

from ....model import BARMAN_ROLE, BARMAN_STREAMING_ROLE, CLUSTER_FILE, Cluster
from ....ports.hostfiles import File
from ....ports.services import AGENT, CRON, RECEIVER, SCHEDULE
from ....programs.barman import PROGRAM, USER
from ....render.conf_barman import HOME, MAIN_FILE, PASSFILE, server_file, settings, texts
from ....render.quoting import HEADER, login_of, passfile
from ..units import AGENT_UNIT, BACKUP_TIMER, BACKUP_UNIT, CRON_TIMER, DIRECTORY, RECEIVER_UNIT
from . import agent
from . import cluster as described
from .base import LIBRARY
from .facts import HostFacts

CRON_FILE = "/etc/cron.d/barman"


def services_and_files(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """The units that run for ever, each with the files that it reads when it starts, as they are on this host."""
    program = sorted(glob.glob(f"{LIBRARY}/pgherd/**/*.py", recursive=True))
    return {
        CRON: (f"{DIRECTORY}/{CRON_TIMER}",),
        SCHEDULE: (f"{DIRECTORY}/{BACKUP_TIMER}",),
        RECEIVER: (f"{DIRECTORY}/{RECEIVER_UNIT}", MAIN_FILE, server_file(cluster)),
        AGENT: (f"{DIRECTORY}/{AGENT_UNIT}", CLUSTER_FILE, *program),
    }


def readings(facts: HostFacts) -> int:
    """How often the host's Barman reads a percent sign: since 3.10 its values go through Python's configparser twice.

    Debian 12's own is 3.4; other repositories bring a newer one.
    """
    return 1 if facts.postgres_version < 17 and not facts.apt_repository else 2


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """Configuration, passfile, and units in the place of the package's cron file."""
    barman = next(item for item in cluster.barmans if item.name == name)
    everywhere, _section = settings(cluster, barman, facts.postgres_version)
    main, own_section = texts(cluster, barman, facts.postgres_version, readings(facts))
    own: dict[str, Any] = {"owner": USER, "group": USER}
    directories = dict.fromkeys([HOME, str(everywhere["barman_home"]), str(everywhere["barman_lock_directory"])])
    hosts, roles = [node.address for node in cluster.data_nodes], (BARMAN_ROLE, BARMAN_STREAMING_ROLE)
    logins = [(host, cluster.port, "*", role, secrets[role]) for host in hosts for role in roles]
    return [
        *described.files(cluster, name, facts, secrets),
        *(File(path, kind="directory", mode="0750", **own) for path in directories),
        # The user's own, who may have passwords of other servers there. Earlier releases wrote ours for every host.
        File(PASSFILE, secret_content=passfile(logins), own=login_of((*hosts, "*"), ("*",), roles), mode="0600", **own),
        File(MAIN_FILE, main),
        # Not for everybody: a user's own settings may hold a password.
        File(server_file(cluster), own_section, group=USER, mode="0640"),
        File(CRON_FILE, kind="absent"),
        *units(cluster, str(everywhere["barman_lock_directory"])),
        # Barman's own checks write to its log and hold its locks.
        *agent.files("barman", name, [os.path.dirname(str(everywhere["log_file"])), *directories]),
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
        + f"[Timer]\nOnCalendar={cluster.options.barman_schedule}\nPersistent=true\n\n"
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
        File(f"{DIRECTORY}/{target}.target.wants/{unit}", f"{DIRECTORY}/{unit}", kind="link")
        for unit, target in wanted.items()
    ]
    return [*(File(f"{DIRECTORY}/{unit}", HEADER + text) for unit, text in texts.items()), *links]


def _unit(description: str, online: bool = False) -> str:
    network = "Wants=network-online.target\nAfter=network-online.target\n" if online else ""
    return f"[Unit]\nDescription={description}\nStartLimitIntervalSec=0\n{network}\n"
