# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What happens before Pgpool-II starts, however it is started: its unit waits here until enough backends can be used,
however long that takes, and pgpool starts with those and no others.

Without a status file pgpool would begin with all its backends, and of two writable ones choose by their numbers. A backend
that comes later is let in by the agent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from ..errors import PgherdError
from ..model import Cluster
from ..observe.ask import parameters
from ..ports.directories import around
from ..programs.pgpool import GATE_PASSFILE, STATUS_FILE, status_file
from ..render.backend_list import number_of
from ..text import printable
from .backends import serves
from .watch import Asker, ServersWatch


def _say(line: str) -> None:
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def wait(
    cluster: Cluster,
    asker: Asker | None = None,
    sleep: Callable[[float], Any] = time.sleep,
    say: Callable[[str], Any] = _say,
    path: str = STATUS_FILE,
) -> int:
    """Return 0 once ``cluster_pgpool_min_backends`` data nodes can be used, with pgpool's status file written to *path*;
    say who is missing whenever that changes."""
    if asker is None:
        from ..observe.sessions import Sessions

        asker = Sessions({node.name: _target(cluster, node.address) for node in cluster.data_nodes})
    minimum = min(cluster.options.pgpool_min_backends, len(cluster.data_nodes))
    watch, said = ServersWatch(cluster, asker), ""
    try:
        while True:
            truth, _streaks = watch.look(time.monotonic())
            used = {number_of(node.id): serves(node.name, truth) for node in cluster.data_nodes}
            missing = [
                f"{node.name}: {node.why or 'neither the primary nor a standby of it'}"
                for node in truth.nodes
                if not serves(node.name, truth)
            ]
            line = f"{sum(used.values())} of {minimum} backends can be used"
            line += f" ({'; '.join(missing)})" if missing else ""
            if line != said:
                say(line)
                said = line
            if any(used.values()) and sum(used.values()) >= minimum:
                _write(path, status_file(used))
                return 0
            sleep(0.5)
    finally:
        asker.close()


def _target(cluster: Cluster, address: str) -> dict[str, Any]:
    return {**parameters(address, cluster.port, "postgres"), "passfile": GATE_PASSFILE}


def _write(path: str, text: str) -> None:
    """Replace the file, which pgpool writes from then on, as its user, and the agent reads. Raises PgherdError."""
    try:
        with around(path) as (place, name):
            place.replace(name, text.encode(), 0o644)
    except OSError as error:
        raise PgherdError(f"write {path}: {error.strerror}.") from error
