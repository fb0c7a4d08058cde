# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Hosts that live, and are late."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from faults import inject
from faults.cluster import Cluster
from faults.suite.conftest import Breaking
from faults.trial import Trial

fault = pytest.mark.fault
# Loops on each node, seconds, and a fence that is late is no fault here: nothing is acknowledged without standbys.
LOOPS, SECONDS, LATE = 25, 60, 60.0


@fault("F39", "every node is out of breath and short of memory, and clients take every connection of the primary")
def test_a_slow_machine_is_no_reason_to_kill(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=180, fence=LATE) as trial, ExitStack() as ends:
        trial.now()
        ends.enter_context(inject.exhausted(cluster, trial.first_primary))
        ends.enter_context(inject.short_of_memory())
        for node in cluster.nodes:
            ends.callback(inject.calm, cluster, node)
            inject.storm(cluster, node, LOOPS)
        time.sleep(SECONDS)  # the fault's own length
        for node in cluster.nodes:
            inject.calm(cluster, node)
        trial.until_written(60)
    assert not _killed(trial)


def _killed(trial: Trial) -> list[str]:
    """What the nodes' agents have said of postmasters that they kill, since the trial began."""
    cluster = trial.cluster
    found = cluster.each(lambda node: cluster.place.log(node, trial.began, "agent"))
    lines = [(node, line) for node, said in found.items() if isinstance(said, list) for _at, line in said]
    return [f"{node}: {line}" for node, line in lines if "postmaster is killed" in line]
