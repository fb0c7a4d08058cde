# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A clone or a rewind is interrupted: data that are half-way never start, and the node comes back all the same."""

from __future__ import annotations

import pytest

from faults import inject
from faults.cluster import Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, nobody, others, stays
from faults.trial import Trial

fault = pytest.mark.fault
ALONE = "SET synchronous_commit = local; SET default_transaction_read_only = off;"
INSERT = "INSERT INTO ha_log (id, node, timeline) SELECT -i, 'only', 'here' FROM generate_series(1, 100) AS i"


def without_data(cluster: Cluster, node: str) -> None:
    """A standby whose data directory is gone: only a clone brings it back."""
    cluster.place.service(node, "stop", "agent", "repmgrd", "postgres")
    cluster.run(node, "find", cluster.data, "-mindepth", "1", "-delete")
    # As after a boot: the unit is started, and fails.
    cluster.place.service(node, "start", "postgres", check=False)
    cluster.place.service(node, "start", "agent", "repmgrd", check=False)


def diverged(trial: Trial, old: str) -> None:
    """The first primary wrote what nobody else has, and comes back to a new one: it has to be rewound."""
    cluster = trial.cluster
    inject.isolate(cluster, old)
    for statement in (ALONE + INSERT, "CHECKPOINT"):
        cluster.rows(old, statement, "app")
    inject.power_cut(cluster, old)
    fails_over(trial, old)
    inject.power_on(cluster, old)


def under_way(cluster: Cluster, node: str, what: str) -> None:
    """Wait until a clone or a rewind runs, and have it stand still: it is over within a second."""

    def caught() -> list[int]:
        return inject.stop(cluster, node, what)

    until(f"a {what} on {node}", caught, 90, every=0.01)


def interrupt(cluster: Cluster, node: str, what: str, how: str) -> None:
    """Break off what is under way."""
    if how == "it is killed":
        inject.kill(cluster, node, what)
    elif how == "the host loses power":
        inject.power_cut(cluster, node)
        inject.power_on(cluster, node)
    else:
        cluster.place.service(node, "stop", "agent")
        for process in inject.processes(cluster, node, what):
            inject.go_on(cluster, [process])
            inject.kill(cluster, node, what)
        cluster.place.service(node, "start", "postgres", check=False)
        assert not inject.processes(cluster, node, "postmaster"), f"{node} runs on data that are half-way"
        cluster.place.service(node, "start", "agent")


def slots(cluster: Cluster) -> dict[str, set[str]]:
    """The replication slots of each data node that outlive their sessions."""
    query = "SELECT slot_name FROM pg_replication_slots WHERE NOT temporary"
    return {node: {row["slot_name"] for row in cluster.rows(node, query)} for node in cluster.nodes}


WAYS = ["it is killed", "the host loses power", "somebody starts the server"]


@pytest.mark.parametrize("how", WAYS)
@fault("F22", "a clone is interrupted")
def test_a_clone_that_was_interrupted_is_made_again(breaking: Breaking, cluster: Cluster, how: str) -> None:
    before = slots(cluster)
    with breaking(settle=180) as trial:
        node = cluster.standbys(trial.first_primary)[-1]
        trial.now()
        without_data(cluster, node)
        under_way(cluster, node, "clone")
        interrupt(cluster, node, "clone", how)
        stays(trial, 5)
        trial.until_written(20)
    # Cloned from the primary, a leaf goes back to its upstream by design a minute later.
    until("the slots that were there before, and no others", lambda: slots(cluster) == before, 120)


@pytest.mark.parametrize("how", WAYS)
@fault("F22", "a rewind is interrupted")
def test_a_rewind_that_was_interrupted_harms_nobody(breaking: Breaking, cluster: Cluster, how: str) -> None:
    with breaking(settle=180) as trial:
        old = trial.first_primary
        trial.now()
        diverged(trial, old)
        under_way(cluster, old, "rewind")
        interrupt(cluster, old, "rewind", how)
        trial.hold(5, lambda: old not in cluster.primaries(), f"{old} is no primary")
        trial.until_written(20)
    assert trial.verdict
    assert not trial.verdict.unexpected


@fault("F22", "the primary loses power while a standby is cloned")
def test_a_clone_whose_primary_dies_is_made_again(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=240) as trial:
        old = trial.first_primary
        node = cluster.standbys(old)[-1]
        trial.now()
        without_data(cluster, node)
        under_way(cluster, node, "clone")
        inject.power_cut(cluster, old)
        if len(cluster.nodes) == 3:
            # One standby alone may lack what the data that are gone had confirmed.
            nobody(trial, 15, *cluster.nodes)
        inject.go_on(cluster, inject.processes(cluster, node, "clone"))
        inject.power_on(cluster, old)
        trial.until_written(120)


@fault("C77", "a node that was promoted by hand is a standby again, and the primary fails before its agent looks")
def test_a_twin_counts_for_nobody(breaking: Breaking, cluster: Cluster) -> None:
    """By numbers it is on the primary's timeline, and further than all others."""
    with breaking() as trial:
        first = trial.first_primary
        listed = cluster.value(first, "SHOW synchronous_standby_names")
        target, *_others, twin = [one for one in cluster.standbys(first) if f'"{one}"' in listed]
        inject.isolate(cluster, twin)
        cluster.place.service(twin, "stop", "agent", "repmgrd")
        cluster.rows(twin, "SELECT pg_promote()")
        cluster.rows(twin, "SELECT pg_logical_emit_message(false, 'twin', repeat('x', 40000000)), pg_switch_wal()")
        cluster.place.service(twin, "stop", "postgres")
        cluster.run(twin, "install", "-o", "postgres", "-m", "600", "/dev/null", f"{cluster.data}/standby.signal")
        cluster.sh(twin, f"echo \"primary_conninfo = ''\" >>{cluster.data}/postgresql.auto.conf")
        trial.now()
        cluster.run(target, "pgherd", "switchover", target, "--force")
        primary = fails_over(trial, twin)
        rest = others(cluster, primary, twin)
        streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        until(
            "the others to stream again",
            lambda: all(cluster.each(lambda one: cluster.value(one, streams) == 1, rest).values()),
            60,
        )
        cluster.place.service(twin, "start", "postgres")
        inject.join(cluster, twin)
        reached = cluster.value(twin, "SELECT min_recovery_end_timeline FROM pg_control_recovery()")
        assert reached == cluster.timeline(primary)
        inject.power_cut(cluster, primary)
        # All but the primary would have to be sealed, and one of them is not of their history.
        nobody(trial, 25.0, *others(cluster, primary))
        inject.power_on(cluster, primary)
        trial.until_written(60)
        cluster.place.service(twin, "start", "agent", "repmgrd")
