# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod runs as process 1."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ...data.clone import MARK
from ...layout import layout, version_of
from ...model import Cluster, Node
from ...ports.services import POSTGRES
from ...programs import pgpool
from . import files
from .files_part import write
from .here import SERVICES
from .output import Output, say
from .program import Program
from .programs import of
from .services import serve
from .supervisor import Supervisor


def first(programs: Mapping[str, Program], filled: bool) -> list[str]:
    """Which of the *programs* run from the beginning. *filled*: whether there are data for a server; where there are none, the
    agent makes them, and has it started. What needs a server waits for it by itself."""
    empty = () if filled else (POSTGRES,)
    return [service for service, program in programs.items() if not program.once and service not in empty]


def main(cluster: Cluster, name: str, limit: float, config: str = files.CONFIG) -> int:
    """Run the pod *name* of *cluster*, as the file *config* describes it, until SIGTERM, which ends all of it within *limit*
    seconds."""
    write(name, config)
    programs = of(cluster, name)
    output = Output(programs, _logs(cluster, name))
    supervisor = Supervisor(programs, lambda line: say(f"pod: {line}"), output)
    for path in _runtime(cluster, name):
        with suppress(OSError):
            os.makedirs(path, mode=0o700, exist_ok=True)
    output.start()
    serve(supervisor, SERVICES)
    supervisor.run(first(programs, _filled(cluster, name)), limit)
    output.drain()
    return 0


def _filled(cluster: Cluster, name: str) -> bool:
    host = files.host_of(cluster, name)
    return not isinstance(host, Node) or os.path.exists(os.path.join(layout(cluster, version_of(host)).data, MARK))


def _logs(cluster: Cluster, name: str) -> dict[str, str]:
    """What is kept of what programs say: the agent looks there for why a server does not start."""
    host = files.host_of(cluster, name)
    return {POSTGRES: layout(cluster, version_of(host)).log} if isinstance(host, Node) else {}


def _runtime(cluster: Cluster, name: str) -> Iterable[str]:
    """Directories of programs that volumes begin without."""
    host = files.host_of(cluster, name)
    if isinstance(host, Node):
        return (os.path.dirname(layout(cluster, version_of(host)).log),)
    return (pgpool.RUNTIME,) if not any(one.name == name for one in cluster.barmans) else ()
