# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pgpool-II's files on a host: what it reads, what Debian's unit leaves out, what the agent beside it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from ....model import (
    AGENT_DIRECTORY,
    AGENT_USER,
    CLUSTER_FILE,
    MONITOR_PASSFILE,
    PCP_USER,
    SERVER_CERT_FILE,
    SERVER_KEY_FILE,
    Cluster,
)
from ....ports.hostfiles import File
from ....programs import pgpool
from ....render.conf_pgpool import secret_texts, texts
from ....render.quoting import HEADER
from ..runtime import RESTART_ASKED
from ..units import DIRECTORY, PGPOOL_UNIT, RESTART_UNIT, drop_in
from . import agent, base
from . import cluster as described
from .facts import HostFacts


def unit_text() -> str:
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
        "ExecStartPre=/usr/bin/pgherd gate\n"
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
        f"[Path]\nPathExists={RESTART_ASKED}\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    service = (
        "[Unit]\nDescription=Restart of Pgpool-II that the agent asked for\n\n"
        f"[Service]\nType=oneshot\nExecStart=/bin/rm -f {RESTART_ASKED}\n"
        f"ExecStart=/usr/bin/systemctl --no-block try-restart {PGPOOL_UNIT}\n"
    )
    return [
        File(f"{DIRECTORY}/{RESTART_UNIT}.service", HEADER + service),
        *agent.enabled(f"{RESTART_UNIT}.path", path),
    ]


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """All files of Pgpool-II and of the agent beside it on the host called *name*."""
    host = next(item for item in cluster.pgpools if item.name == name)
    hidden = partial(File, owner="postgres", group="postgres", mode="0600")
    shared = partial(File, owner="root", group="postgres", mode="0640")
    return [
        *base.certificate(cluster, name, secrets),
        *described.files(cluster, name, facts, secrets),
        *(shared(f"{pgpool.DIRECTORY}/{file}", text) for file, text in texts(cluster, host).items()),
        *(
            hidden(f"{pgpool.DIRECTORY}/{file}", secret_content=text)
            for file, text in secret_texts(cluster, secrets).items()
        ),
        File(pgpool.PCP_PASSFILE, secret_content=pgpool.pcp_passfile(PCP_USER, secrets[PCP_USER]), mode="0600"),
        File(f"{DIRECTORY}/{PGPOOL_UNIT}.d", kind="directory", mode="0755"),
        File(drop_in(PGPOOL_UNIT), HEADER + unit_text()),
        *restart_units(),
        *agents_own(cluster, name, facts, secrets),
        *agent.files("pgpool", name),
    ]


def agents_own(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """What the agent reads that others here read too: copies for its user alone."""
    mine = partial(File, owner=AGENT_USER, group=AGENT_USER, mode="0600")
    (description,) = (file for file in described.files(cluster, name, facts, secrets) if file.path == CLUSTER_FILE)
    pcp = pgpool.pcp_passfile(PCP_USER, secrets[PCP_USER])

    def path(of: str) -> str:
        return f"{AGENT_DIRECTORY}/{os.path.basename(of)}"

    return [
        File(AGENT_DIRECTORY, kind="directory", mode="0755"),
        mine(path(CLUSTER_FILE), description.content),
        mine(path(MONITOR_PASSFILE), secret_content=base.monitor_passfile(secrets)),
        mine(path(pgpool.PCP_PASSFILE), secret_content=pcp),
        mine(path(SERVER_KEY_FILE), secret_content=secrets["tls:key"]),
    ]
