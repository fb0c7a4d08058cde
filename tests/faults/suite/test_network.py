# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Packets are dropped."""

from __future__ import annotations

import time

import pytest

from faults import inject
from faults.cluster import CLIENT, Cluster, until
from faults.suite.conftest import T_FENCE, Breaking
from faults.suite.steps import fails_over, new_primary, others, stays
from faults.trial import Trial

fault = pytest.mark.fault


def until_fenced(trial: Trial, seconds: float) -> None:
    """Wait until the first primary takes no more writes, as seen from inside its host; it may be stopped, too."""
    cluster, old = trial.cluster, trial.first_primary

    def fenced() -> bool:
        found = cluster.each(lambda node: cluster.value(node, "SHOW default_transaction_read_only"), [old])[old]
        return found == "on" or isinstance(found, Exception)

    until(f"{old} to fence itself", fenced, seconds)


@pytest.mark.dozen
@fault("F07", "the primary is cut off from everybody")
def test_an_isolated_primary_is_replaced_and_fences_itself(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.isolate(cluster, old)
        until_fenced(trial, T_FENCE)
        fails_over(trial, old)
        inject.join(cluster, old)


@pytest.mark.dozen
@fault("F08", "the primary is cut off from its standbys and pgpools, not from its clients")
def test_clients_on_the_wrong_side_get_no_acknowledgement(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.isolate(cluster, old, but=[CLIENT])
        until_fenced(trial, T_FENCE)
        fails_over(trial, old)
        inject.join(cluster, old)


@fault("A9", "the primary is cut off from its standbys, not from pgpools and clients")
def test_pgpools_on_the_wrong_side_move_on(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.isolate(cluster, old, but=[CLIENT, *cluster.pools])
        fails_over(trial, old)
        inject.join(cluster, old)


@pytest.mark.dozen
@fault("F10", "one standby loses only the primary")
def test_a_standby_that_loses_only_the_primary_changes_nothing(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        alone = cluster.standbys(old)[0]
        trial.now()
        inject.cut(cluster, [alone], [old])
        trial.until_written(20)
        stays(trial, 25)
        trial.until_written(10)
        inject.join(cluster, alone)


@fault("F11", "packets to the primary are dropped, those from it pass")
def test_a_cut_one_way_ends_with_one_primary(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.cut(cluster, [old], others(cluster, old), outgoing=False)
        fails_over(trial, old)
        inject.join(cluster, old)
    assert _failovers(trial) == 1


@fault("F11", "packets to one standby are dropped, those from it pass")
def test_a_standby_cut_one_way_changes_nothing(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        alone = cluster.standbys(trial.first_primary)[0]
        trial.now()
        inject.cut(cluster, [alone], others(cluster, alone), outgoing=False)
        stays(trial, 20)
        trial.until_written(10)
        inject.join(cluster, alone)


@pytest.mark.dozen
@fault("F12", "one standby's replication stands still, its SQL answers")
def test_a_stuck_walreceiver_holds_nobody_up(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        stuck = cluster.standbys(trial.first_primary)[0]
        trial.now()
        stopped = inject.stop(cluster, stuck, "walreceiver")
        stays(trial, 20)
        trial.until_written(10)
        inject.go_on(cluster, stopped)


@fault("F12", "replication of all standbys stands still, their SQL answers")
def test_no_acknowledgement_without_a_standby(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        stopped = [
            one for node in cluster.standbys(trial.first_primary) for one in inject.stop(cluster, node, "walreceiver")
        ]
        time.sleep(0.5)  # what was on its way has arrived
        before, asked = trial.acknowledged(), time.monotonic()
        trial.hold(3, lambda: trial.acknowledged(since=asked) == 0, "nothing is acknowledged")
        assert trial.acknowledged() == before
        inject.go_on(cluster, stopped)
        trial.until_written(60)


@fault("F13", "a third of all packets between primary and standbys is lost for 20 s")
def test_lost_packets_cause_no_oscillation(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.cut(cluster, [old], others(cluster, old), loss=0.3)
        # A failover is allowed; the second observer sees to it that the old primary is fenced in time.
        time.sleep(20)  # the fault's own length
        inject.join(cluster, old)
    assert _failovers(trial) <= 1


@fault("F13", "the primary's network comes and goes every 5 s")
def test_flapping_causes_one_failover_at_most(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        for _time in range(3):
            inject.isolate(cluster, old)
            time.sleep(5)  # the fault's own rhythm
            inject.join(cluster, old)
            time.sleep(5)
    assert _failovers(trial) <= 1


@pytest.mark.dozen
@fault("blip", "the primary is cut off for 3 s")
def test_a_blip_is_no_failover(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.isolate(cluster, old)
        time.sleep(3)  # the fault's length
        inject.join(cluster, old)
        trial.until_written(20)
        stays(trial, 10)


@fault("F34", "no node resolves names")
def test_without_names_nobody_is_promoted(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        for node in cluster.nodes:
            inject.no_names(cluster, node)
        stays(trial, 25)
        trial.until_written(10)


@fault("C79", "a standby is cut off from everybody")
def test_an_isolated_standby_is_not_promoted(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        alone = cluster.standbys(trial.first_primary)[-1]
        trial.now()
        inject.isolate(cluster, alone)
        stays(trial, 20)
        trial.until_written(10)
        inject.join(cluster, alone)


@pytest.mark.dozen
@fault("F23", "the old primary comes back with rows that only it has")
def test_a_diverged_primary_is_rewound_and_its_rows_are_not_taken_for_ours(
    breaking: Breaking, cluster: Cluster
) -> None:
    alone = "SET synchronous_commit = local; SET default_transaction_read_only = off;"
    insert = "INSERT INTO ha_log (id, node, timeline) SELECT -i, 'only', 'here' FROM generate_series(1, 100) AS i"
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.isolate(cluster, old)
        for statement in (alone + insert, "CHECKPOINT"):
            cluster.rows(old, statement, "app")
        inject.power_cut(cluster, old)
        new = new_primary(trial, old)
        inject.power_on(cluster, old)
        until(f"{old} to be a standby", lambda: cluster.value(old, "SELECT pg_is_in_recovery()"), 120)
        assert until("a primary's answer", cluster.primaries, 30) == [new]
        # Once more, at once: what decided the first time is no longer news.
        inject.power_cut(cluster, old)
        inject.power_on(cluster, old)
        fails_over(trial)
    assert trial.verdict
    assert not trial.verdict.unexpected


@fault("C77", "a standby is promoted by hand beside the primary")
def test_of_two_primaries_one_remains(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        second = cluster.standbys(old)[-1]
        trial.now()
        cluster.rows(second, "SELECT pg_promote()")
        # The one that can acknowledge writes stays, though the other's timeline is newer; pgpools stay with it too.
        until("the primary alone", lambda: _by_clients(trial) == [old], 60)
        trial.until_written(30)


def _by_clients(trial: Trial) -> list[str]:
    """Nodes that would take a write and can be reached."""
    asked = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
    found = trial.cluster.each(lambda node: trial.cluster.value(node, asked))
    return [node for node, refuses in found.items() if refuses is False]


def _failovers(trial: Trial) -> int:
    return trial.cluster.timeline(trial.cluster.primary()) - trial.first_timeline
