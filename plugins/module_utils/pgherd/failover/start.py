# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd guard``: asks the others and makes the data directory start as what it may be. Runs before every start."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Conflict
from ..files.conf_postgres import data_directory
from ..model import Cluster
from ..nodes import permit
from ..ports.run import LocalRunner, Runner
from ..programs.repmgr import streaming_conninfo
from . import datadir, guard
from .links import Links, Meeting

# Seconds that the others have to come up when all start at once, and from one look at their answers to the next.
PATIENCE, INTERVAL = 3.0, 0.02


def run(
    cluster: Cluster, me: str, version: int, links: Links, say: Callable[[str], None], runner: Runner | None = None
) -> int:
    """Decide and prepare. Returns 0 when PostgreSQL may be started now. Raises Conflict when it must not at all."""
    runner = runner or LocalRunner()
    unfinished = datadir.marked()
    if unfinished:
        raise Conflict(
            f"Start {me}", "whole data", f"an interrupted attempt to come back ({unfinished})",
            "The agent clones it again as soon as there is a primary.",
        )  # fmt: skip
    directory = data_directory(cluster, version)
    local = datadir.local(directory, version, runner)
    if permit.take():
        say(f"guard: {me} starts as it is: the playbook has asked all hosts")
        return 0
    decision = _decide(cluster, me, local, links)
    say(f"guard: {me} starts {'as a standby' if decision.as_standby else 'as it is'}: {decision.why}")
    if decision.as_standby:
        node = cluster.node(me)
        upstream = cluster.node(decision.upstream) if decision.upstream else None
        conninfo = streaming_conninfo(cluster, node, upstream) if upstream else ""
        datadir.make_standby(directory, conninfo, node.slot if cluster.replication_slots else "")
    return 0


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
