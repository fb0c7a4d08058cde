# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""repmgr's files on a host: repmgr.conf, passfiles, what postgres may do through sudo, repmgrd's unit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ....layout import debian, layout
from ....model import AGENT_PASSFILE, POSTGRES_PASSFILE, Cluster
from ....ports.hostfiles import File
from ....render.conf_repmgr import OWN_LOGINS, logins, text
from ....render.quoting import HEADER
from ..systemd import PROGRAM
from ..units import REPMGRD_UNIT, postgres_unit
from . import agent
from .facts import HostFacts


def commands(version: int) -> dict[str, str]:
    """How repmgr has services started and stopped."""
    unit = postgres_unit(version)
    return {
        **{
            f"service_{verb}_command": f"sudo {PROGRAM} {verb} {unit}"
            for verb in ("start", "stop", "restart", "reload")
        },
        **{f"repmgrd_service_{verb}_command": f"sudo {PROGRAM} {verb} {REPMGRD_UNIT}" for verb in ("start", "stop")},
    }


def sudoers(version: int) -> str:
    """What postgres may do as root: exactly the commands that repmgr.conf names."""
    unit = postgres_unit(version)
    commands = [f"{PROGRAM} {verb} {unit}" for verb in ("start", "stop", "restart", "reload")]
    commands += [f"{PROGRAM} reset-failed {unit}", f"{PROGRAM} start --no-block {unit}"]
    commands += [f"{PROGRAM} {verb} {REPMGRD_UNIT}" for verb in ("start", "stop", "restart")]
    return "Defaults:postgres !requiretty\n" + "".join(f"postgres ALL=(root) NOPASSWD: {line}\n" for line in commands)


def unit_file(version: int) -> str:
    """repmgrd's unit. It is bound to nothing: repmgrd must live on when its PostgreSQL goes down, and it gives up at
    once when its upstream is down at its own start, so systemd starts it again until that is there."""
    there = debian(version)
    return f"""\
[Unit]
Description=repmgrd, failover daemon of PostgreSQL {version}
Documentation=https://www.repmgr.org/docs/current/
After=network-online.target {postgres_unit(version)}
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=postgres
Group=postgres
ExecStart={there.programs}/repmgrd -f {there.repmgr} --daemonize=false --no-pid-file
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=10
{agent.HURRIED}

[Install]
WantedBy=multi-user.target
"""


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """repmgr.conf, passfiles, sudo rules and repmgrd's unit of the node called *name*."""
    node, version = cluster.node(name), facts.postgres_version
    hidden = partial(File, owner="postgres", group="postgres", mode="0600")
    all_logins, agents = logins(cluster, node, secrets)
    path = layout(cluster, version).repmgr
    return [
        *agent.files("node", name),
        File("/etc/repmgr", kind="directory", mode="0755"),
        File(f"/etc/repmgr/{version}", kind="directory", mode="0755"),
        File(path, text(cluster, node, version, commands(version)), group="postgres", mode="0640"),
        # For people: `repmgr cluster show` finds it there without -f.
        File("/etc/repmgr.conf", path, kind="link"),
        # The user's own, who may have passwords of other servers there.
        hidden(POSTGRES_PASSFILE, secret_content=all_logins, own=OWN_LOGINS),
        *([hidden(AGENT_PASSFILE, secret_content=agents)] if agents else []),
        File("/etc/sudoers.d/pgherd", HEADER + sudoers(version), mode="0440"),
        *agent.enabled(REPMGRD_UNIT, unit_file(version)),
    ]
