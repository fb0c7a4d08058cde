# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd guard``: asks the others and makes the data directory start as what it may be. Runs before every start."""

from __future__ import annotations

import time

from ..files.conf_postgres import data_directory
from ..model import Cluster
from ..ports.run import Runner
from . import datadir, guard
from .links import Links, Meeting

# Seconds that the others have to come up when all start at once, and from one look at their answers to the next.
PATIENCE, INTERVAL = 3.0, 0.02


def decide(cluster: Cluster, me: str, version: int, links: Links, runner: Runner) -> guard.Start:
    """How the server here may start now. Raises Conflict when it must not at all."""
    return _decide(cluster, me, datadir.local(data_directory(cluster, version), version, runner), links)


def prepare(cluster: Cluster, me: str, version: int, decision: guard.Start) -> None:
    """Make the data directory start as *decision* says: a standby follows nobody before its agent has seen that it has no
    WAL which the primary has not (see diverged.py). Raises PgherdError."""
    if not decision.as_standby:
        return
    node = cluster.node(me)
    slot = node.slot if cluster.replication_slots else ""
    datadir.make_standby(data_directory(cluster, version), "", slot)


def _decide(cluster: Cluster, me: str, local: guard.Local, links: Links) -> guard.Start:
    """Ask the others until what they say is enough."""
    others = [node.name for node in cluster.nodes if node.name != me]
    if local.standby or not others:
        return guard.decide(cluster, me, local, Meeting([], links).round())
    deadline = time.monotonic() + PATIENCE
    meeting = Meeting(others, links)
    while True:
        decision = guard.decide(cluster, me, local, meeting.round())
        late = time.monotonic() > deadline
        if not decision.provisional or late:
            meeting.close()
            return decision
        if meeting.over():
            meeting.close()
            meeting = Meeting(others, links)
        time.sleep(INTERVAL)
