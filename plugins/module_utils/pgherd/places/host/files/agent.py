# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's unit, the same on every kind of host but for whom it runs as."""

from __future__ import annotations

from collections.abc import Iterable

from ....model import AGENT_USER
from ....ports.hostfiles import File
from ....render.quoting import HEADER
from ..units import AGENT_UNIT, DIRECTORY

# Whom it runs as. Nothing of its unit runs as root, and the secrets that it needs are files of its user's in root's directory.
_USERS = {
    # Its sudo rules, the data directory and what repmgr and pg_rewind do there need an unconfined postgres.
    "node": "postgres",
    "pgpool": AGENT_USER,
    "barman": "barman",
}
# Its user may not write beside the modules: byte code is kept apart. Without the docstrings of all libraries the process is
# two megabytes smaller, and one more for not having compiled them (measured with Python 3.13).
_PYTHON = "/usr/bin/python3 -I -OO -X pycache_prefix=/var/cache/pgherd-agent"

# What decides must be on time where its neighbours take all processors (systemd.resource-control(5); the default is 100).
HURRIED = "CPUWeight=500"
_CONFINED = "NoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\n"


def unit(kind: str, name: str, writable: Iterable[str] = ()) -> str:
    """The unit on the host called *name*, of *kind* ``node``, ``pgpool`` or ``barman``, with the directories it may write to."""
    return (
        "[Unit]\nDescription=pgherd agent\nAfter=network-online.target\nWants=network-online.target\n"
        "StartLimitIntervalSec=0\n\n"
        f"[Service]\nType=notify\nExecStart={_PYTHON} /usr/bin/pgherd agent --host {name}\n"
        f"User={_USERS[kind]}\n"
        "RuntimeDirectory=pgherd-agent\nRuntimeDirectoryMode=0700\nCacheDirectory=pgherd-agent\nSyslogIdentifier=pgherd\n"
        "Environment=MALLOC_ARENA_MAX=1\nRestart=always\nRestartSec=1\nWatchdogSec=60\nTimeoutStopSec=10\n"
        f"{HURRIED}\n"
        f"{'' if kind == 'node' else _CONFINED}"
        f"{''.join(f'ReadWritePaths=-{path}{chr(10)}' for path in writable)}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def files(kind: str, name: str, writable: Iterable[str] = ()) -> list[File]:
    """The unit and the link that enables it, for the host called *name*."""
    return enabled(AGENT_UNIT, unit(kind, name, writable))


def enabled(name: str, text: str) -> list[File]:
    """The unit called *name*, and the link by which it starts with the host."""
    path = f"{DIRECTORY}/{name}"
    return [
        File(path, HEADER + text),
        File(f"{DIRECTORY}/multi-user.target.wants/{name}", path, kind="link"),
    ]
