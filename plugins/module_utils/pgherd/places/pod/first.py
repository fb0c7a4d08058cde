# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod runs as process 1."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ...data.clone import MARK
from ...layout import DATA, WAL, layout, version_of
from ...model import Barman, Cluster, Node
from ...ports.services import POSTGRES
from ...programs import pgpool
from ...render.conf_barman import HOME
from . import files
from .files_part import write
from .here import SERVICES
from .keeper import Keeper, lock_of
from .output import Output, say
from .processes import children
from .program import Program
from .programs import of
from .services import serve
from .supervisor import Supervisor, kill_all


def first(programs: Mapping[str, Program], filled: bool) -> list[str]:
    """Which of the *programs* run from the beginning. *filled*: whether there are data for a server; where there are none, the
    agent makes them, and has it started. What needs a server waits for it by itself."""
    empty = () if filled else (POSTGRES,)
    return [service for service, program in programs.items() if not program.once and service not in empty]


def main(cluster: Cluster, name: str, limit: float, config: str = files.CONFIG) -> int:
    """Run the pod *name* of *cluster*, as the file *config* describes it, until SIGTERM, which ends all of it within *limit*
    seconds. Nothing of its volumes is touched before it has their locks."""

    def tell(line: str) -> None:
        say(f"pod: {line}")

    keeper = Keeper(locked(cluster, name), lock_of(os.environ, name), tell)
    if not keeper.hold():
        return 0
    try:
        write(name, config)
        programs = of(cluster, name)
        output = Output(programs, _logs(cluster, name))
        supervisor = Supervisor(programs, tell, output, keeper.barred)
        for path in _runtime(cluster, name):
            with suppress(OSError):
                os.makedirs(path, mode=0o700, exist_ok=True)
        output.start()
        keeper.keep(kill_all)
        serve(supervisor, SERVICES)
        supervisor.run(first(programs, _filled(cluster, name)), limit)
        output.drain()
    finally:
        # Where something could not be ended, others wait as for a pod that was cut off.
        if not children(os.getpid()):
            keeper.end()
    return 0


def locked(cluster: Cluster, name: str) -> list[str]:
    """The volumes of the pod *name* that others could have mounted too, each with a lock of its own."""
    host = files.host_of(cluster, name)
    if isinstance(host, Barman):
        return [HOME]
    if not isinstance(host, Node):
        return []
    own_claim = os.path.normpath(cluster.options.wal_directory).startswith(f"{WAL}/") and host.kind == "postgres"
    return [DATA, WAL] if own_claim else [DATA]


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
