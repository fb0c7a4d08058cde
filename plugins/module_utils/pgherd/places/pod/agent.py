# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent of a pod, a child of process 1."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...agent.loop import run
from ...agent.part import Part, log
from ...model import Cluster
from ...ports.here import Here
from ...ports.services import PGPOOL
from ..agents import parts_by
from .files_part import FilesPart
from .here import COMMANDS, SERVICES, here
from .services import PodServices


def main(path: str, name: str, told: int = 0, fits: Callable[[Cluster], object] = lambda _cluster: None) -> int:
    """Run the agent of the pod *name* until SIGTERM or SIGINT, by the description in the file *path*; for *told* see
    layout.version_of. *fits* raises for a description that is not for this place."""

    def node(cluster: Cluster) -> Here:
        return here(cluster, name, log, told)

    # Nobody tells it when what is mounted there has changed.
    common = parts_by(name, node, COMMANDS, _restart_pgpool, fits)

    def parts(cluster: Cluster) -> list[Part]:
        return [*common(cluster), FilesPart(name, PodServices(SERVICES), fits)]

    return run(path, name, parts, unasked=True)


def _restart_pgpool() -> None:
    """Have pgpool restarted; whoever asks goes on meanwhile."""
    threading.Thread(target=PodServices(SERVICES).restart, args=(PGPOOL,), daemon=True).start()
