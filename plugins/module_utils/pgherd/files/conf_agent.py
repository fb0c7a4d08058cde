# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's unit, the same on every kind of host but for whom it runs as."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..model import MONITOR_PASSFILE, SERVER_KEY_FILE
from ..programs.pgpool import PCP_PASSFILE
from .hostfiles import File
from .render import HEADER

UNIT = "pgherd-agent.service"

# Whom it runs as, and the secrets that it needs of root's: the unit copies them for that user alone.
_IDENTITY = {
    # Its sudo rules, the data directory and what repmgr and pg_rewind do there need an unconfined postgres.
    "node": ("User=postgres\n", (MONITOR_PASSFILE,)),
    "pgpool": ("DynamicUser=yes\nUser=pgherd-agent\n", (MONITOR_PASSFILE, PCP_PASSFILE, SERVER_KEY_FILE)),
    "barman": ("User=barman\n", (MONITOR_PASSFILE,)),
}
_RUNTIME = "/run/pgherd-agent"
# Its user may not write beside the modules: byte code is kept apart. Without the docstrings of all libraries the process is
# two megabytes smaller, and one more for not having compiled them (measured with Python 3.13).
_PYTHON = "/usr/bin/python3 -I -OO -X pycache_prefix=/var/cache/pgherd-agent"


_CONFINED = "NoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\n"


def unit(kind: str, name: str, writable: Iterable[str] = (), postgres: int = 0) -> str:
    """The unit on the host called *name*, of *kind* ``node`` (with PostgreSQL *postgres*), ``pgpool`` or ``barman``, with
    the directories it may write to."""
    identity, secrets = _IDENTITY[kind]
    version = f" --postgres {postgres}" if postgres else ""
    copies = " ".join(f"{_RUNTIME}/{os.path.basename(path)}" for path in secrets)
    return (
        "[Unit]\nDescription=pgherd agent\nAfter=network-online.target\nWants=network-online.target\n"
        "StartLimitIntervalSec=0\n\n"
        f"[Service]\nType=notify\nExecStart={_PYTHON} /usr/bin/pgherd agent --host {name}{version}\n"
        f"{identity}"
        "RuntimeDirectory=pgherd-agent\nRuntimeDirectoryMode=0700\nCacheDirectory=pgherd-agent\nSyslogIdentifier=pgherd\n"
        f"ExecStartPre=+/usr/bin/install -m 0600 -t {_RUNTIME} {' '.join(secrets)}\n"
        f"ExecStartPre=+/bin/chown --reference={_RUNTIME} {copies}\n"
        "Environment=MALLOC_ARENA_MAX=1\nRestart=always\nRestartSec=1\nWatchdogSec=60\nTimeoutStopSec=10\n"
        f"{'' if kind == 'node' else _CONFINED}"
        f"{''.join(f'ReadWritePaths=-{path}{chr(10)}' for path in writable)}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def files(kind: str, name: str, writable: Iterable[str] = (), postgres: int = 0) -> list[File]:
    """The unit and the link that enables it, for the host called *name*."""
    return enabled(UNIT, unit(kind, name, writable, postgres))


def enabled(name: str, text: str) -> list[File]:
    """The unit called *name*, and the link by which it starts with the host."""
    path = f"/etc/systemd/system/{name}"
    return [
        File(path, HEADER + text),
        File(f"/etc/systemd/system/multi-user.target.wants/{name}", path, kind="link"),
    ]
