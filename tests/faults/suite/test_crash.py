# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Processes and hosts die."""

from __future__ import annotations

import time

import pytest

from faults import inject
from faults.checker.crowd import misses
from faults.cluster import Cluster, until
from faults.siege import siege
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, new_primary, nobody, others, same, stays
from faults.trial import Trial

fault = pytest.mark.fault


@pytest.mark.dozen
@fault("F01", "postmaster of the primary killed")
def test_a_killed_postmaster_restarts_where_it_is(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.kill(cluster, trial.first_primary, "postmaster")
        until("a new postmaster", lambda: cluster.value(trial.first_primary, "SELECT true"), 90)
        trial.until_written(30)
        stays(trial, 8)


@pytest.mark.dozen
@fault("F02", "a backend of the primary killed")
def test_a_killed_backend_is_no_failover(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.kill(cluster, trial.first_primary, "backend", only=1)
        until("the server to restart its processes", lambda: _since_start(cluster, trial) < _since(trial), 90)
        trial.until_written(30)
        stays(trial, 8)


def _since_start(cluster: Cluster, trial: Trial) -> float:
    """Age in seconds of the oldest background process: they all begin anew after a crash of one."""
    query = "SELECT extract(epoch FROM clock_timestamp() - min(backend_start))::float8 AS age FROM pg_stat_activity"
    return float(cluster.value(trial.first_primary, f"{query} WHERE backend_type = 'checkpointer'"))


def _since(trial: Trial) -> float:
    return time.monotonic() - trial.broken


@fault("F03", "the primary is killed and cannot start again")
def test_a_primary_that_cannot_start_is_replaced(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        inject.append(cluster, old, f"{cluster.data}/postgresql.auto.conf", "no_such_setting = on")
        trial.now()
        inject.kill(cluster, old, "postmaster")
        fails_over(trial, old)
        assert not inject.processes(cluster, old, "postmaster"), f"{old} runs with a setting that does not exist"
        inject.restore(cluster, old)
        cluster.place.service(old, "forget", "postgres", check=False)
        cluster.place.service(old, "start", "postgres", check=False)


@pytest.mark.dozen
@fault("F04", "the primary's host loses power")
def test_a_host_that_is_gone_is_replaced_and_comes_back_as_a_standby(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.power_cut(cluster, old)
        fails_over(trial, old)
        inject.power_on(cluster, old)


@fault("F38", "the primary's host loses power beside hundreds of slow clients at every agent's port")
def test_a_crowd_at_the_agents_holds_nobody_up(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial, siege(cluster, trial.directory, 300) as found:
        old = trial.first_primary
        trial.now()
        inject.power_cut(cluster, old)
        new = fails_over(trial, old)
        for who in found.files:
            until(f"{new} to tell a {who} balancer", lambda who=who: found.answers(who, new)[-1].status == 200, 20)
        inject.power_on(cluster, old)
    assert min(found.held().values()) >= 64
    # A balancer takes a server out after two checks that fail.
    late = {who: misses(found.answers(who, new), 2.0) for who in found.files}
    assert max(late.values()) <= 1, late


@pytest.mark.dozen
@fault("F05", "the primary's host freezes and thaws")
def test_a_frozen_host_is_replaced_and_does_no_harm_when_it_thaws(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.freeze(cluster, old)
        fails_over(trial, old)
        inject.thaw(cluster, old)


@pytest.mark.dozen
@fault("F06", "only the primary's postmaster stands still")
def test_a_stopped_postmaster_loses_nothing(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        stopped = inject.stop(cluster, old, "postmaster")
        new_primary(trial, old)
        trial.until_written(60, "pgpool", trial.first_timeline + 1)
        time.sleep(15)  # longer than the old primary may keep its clients, see T_FENCE
        inject.go_on(cluster, stopped)


@fault("F15", "the primary and a standby die together, that standby comes back")
def test_one_standby_alone_is_not_promoted_and_two_are(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        candidate = cluster.standbys(old)[0]
        trial.now()
        inject.power_cut(cluster, old, candidate)
        nobody(trial, 20, *others(cluster, old, candidate))
        inject.power_on(cluster, candidate)
        fails_over(trial, old, seconds=90)
        inject.power_on(cluster, old)


@fault("F16", "the primary dies, then the new primary")
def test_the_second_failure_waits_for_a_majority(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.power_cut(cluster, old)
        second = fails_over(trial, old)
        inject.power_cut(cluster, second)
        if len(cluster.nodes) == 3:
            nobody(trial, 15, *others(cluster, old, second))
        inject.power_on(cluster, old)
        trial.until_written(120, timeline=trial.first_timeline + 2)
        inject.power_on(cluster, second)


@fault("F17", "the best standby's repmgrd is dead and the other lags when the primary dies")
def test_a_standby_without_repmgrd_still_counts(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        best, behind = cluster.standbys(old)[:2]
        stopped = inject.stop(cluster, behind, "walreceiver")
        inject.kill(cluster, best, "repmgrd")
        cluster.place.service(best, "stop", "repmgrd")
        more = trial.acknowledged()
        until("writes that only the best standby has", lambda: trial.acknowledged() > more + 50, 20)
        trial.now()
        inject.power_cut(cluster, old)
        inject.go_on(cluster, stopped)
        fails_over(trial, old, seconds=90)
        cluster.place.service(best, "start", "repmgrd", check=False)
        inject.power_on(cluster, old)


@fault("F18", "the best standby restarts just before the primary dies")
def test_a_restarted_standby_is_not_taken_for_one_that_lags(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        best, behind = cluster.standbys(old)[:2]
        stopped = inject.stop(cluster, behind, "walreceiver")
        more = trial.acknowledged()
        until("writes that only the best standby has", lambda: trial.acknowledged() > more + 50, 20)
        inject.cut(cluster, [best], [old])  # so that it cannot stream after its restart
        trial.now()
        inject.power_cut(cluster, old)
        cluster.place.service(best, "restart", "postgres")
        inject.go_on(cluster, stopped)
        inject.join(cluster, best)
        fails_over(trial, old, seconds=90)
        inject.power_on(cluster, old)


@fault("F19", "every repmgrd is killed in the middle of the election")
def test_an_election_that_was_killed_is_held_again(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        rest = cluster.standbys(old)[:2]
        trial.now()
        inject.power_cut(cluster, old)
        until("an election", lambda: any(_electing(cluster, node, trial.broken_at) for node in rest), 40, every=0.05)
        for node in rest:
            inject.kill(cluster, node, "repmgrd")
        fails_over(trial, old, seconds=90)
        inject.power_on(cluster, old)


def _electing(cluster: Cluster, node: str, since: float) -> bool:
    words = ("follower", "election", "candidate", "promot", "validat", "unable to reconnect")
    lines = cluster.place.log(node, since, "repmgrd")
    return any(word in line for _at, line in lines for word in words)


@fault("F20", "the promotion fails on one standby")
def test_a_promotion_that_fails_leaves_no_two_primaries(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        candidate = cluster.standbys(old)[0]
        inject.no_promotion(cluster, candidate)
        trial.now()
        inject.power_cut(cluster, old)
        try:
            fails_over(trial, old, seconds=45)
        except AssertionError:  # nobody, which is allowed; never two
            assert len(cluster.primaries(others(cluster, old))) <= 1
            inject.restore(cluster, candidate)
            cluster.place.service(candidate, "restart", "repmgrd")
            fails_over(trial, old, seconds=60)
        inject.power_on(cluster, old)


@pytest.mark.dozen
@fault("F24", "all nodes restart at once")
def test_after_a_restart_of_all_the_same_primary_goes_on(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.power_cut(cluster, *cluster.nodes)
        inject.power_on(cluster, *cluster.nodes)
        trial.until_written(90)


@fault("F24", "all nodes lose power and the primary does not come back")
def test_after_a_restart_without_the_primary_another_is_elected(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.power_cut(cluster, *cluster.nodes)
        inject.power_on(cluster, *others(cluster, old))
        fails_over(trial, old, seconds=120)
        inject.power_on(cluster, old)


@fault("F28", "every agent is killed, then stopped")
def test_a_cluster_without_agents_keeps_serving(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        for host in cluster.everyone:
            inject.kill(cluster, host, "agent")
        stays(trial, 5)
        for host in cluster.everyone:
            cluster.place.service(host, "stop", "agent")
        trial.until_written(10)
        trial.hold(10, lambda: same(trial), "the primary stays")
        trial.until_written(10)
        for host in cluster.everyone:
            cluster.place.service(host, "start", "agent")
