# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd guard``: asks the others and makes the data directory start as what it may be. Runs before every start."""

from __future__ import annotations

import time

from ..files.conf_postgres import data_directory
from ..model import Cluster, int_to_lsn
from ..ports.run import Runner
from . import datadir, guard, wal
from .links import Links, Meeting
from .voice import Round

# Seconds that the others have to come up when all start at once, and from one look at their answers to the next.
PATIENCE, INTERVAL = 3.0, 0.02
# Seconds that those have to answer who are not needed to know that nobody was promoted, but may have received most WAL.
POSITIONS = 1.0


def decide(cluster: Cluster, me: str, version: int, links: Links, runner: Runner) -> guard.Start:
    """How the server here may start now. Raises Conflict when it must not at all."""
    directory = data_directory(cluster, version)
    local = datadir.local(directory, version, runner)
    decision, round_ = _decide(cluster, me, local, links)
    name, position = guard.furthest(me, local, round_)
    if decision.as_standby or local.standby or not name:
        return decision
    why = wal.ends_before(position, directory, local, version, runner)
    if not why:
        return decision
    return guard.Start(
        True, f"{name} has received its WAL up to {int_to_lsn(position)}, and here it ends before: {why}"
    )


def prepare(cluster: Cluster, me: str, version: int, decision: guard.Start) -> None:
    """Make the data directory start as *decision* says: a standby follows nobody before its agent has seen that it has no
    WAL which the primary has not (see diverged.py). Raises PgherdError."""
    if not decision.as_standby:
        return
    node = cluster.node(me)
    slot = node.slot if cluster.replication_slots else ""
    datadir.make_standby(data_directory(cluster, version), "", slot)


def _decide(cluster: Cluster, me: str, local: guard.Local, links: Links) -> tuple[guard.Start, Round]:
    """Ask the others until what they say is enough; that, too."""
    others = [node.name for node in cluster.nodes if node.name != me]
    if local.standby or not others:
        round_ = Meeting([], links).round()
        return guard.decide(cluster, me, local, round_), round_
    begun = time.monotonic()
    meeting = Meeting(others, links)
    while True:
        over, round_ = meeting.over(), meeting.round()
        decision = guard.decide(cluster, me, local, round_)
        lasting = time.monotonic() - begun
        heard = decision.as_standby or over or lasting > POSITIONS
        if (heard and not decision.provisional) or lasting > PATIENCE:
            meeting.close()
            return decision, round_
        if over:
            meeting.close()
            meeting = Meeting(others, links)
        time.sleep(INTERVAL)
