# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""pgpool and Barman fail, connections and clocks too: the data path goes on, and nobody is promoted for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from attacks.means import ask

from faults import endstate, inject
from faults.cluster import APP, CLIENT, Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, others, stays

fault = pytest.mark.fault
CLOCK = 3600.0


@fault("F30", "clients take every connection")
def test_no_place_left_is_no_failover(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        with inject.exhausted(cluster, trial.first_primary):
            # pgherd's own come in as ever.
            node = cluster.standbys(trial.first_primary)[0]
            for role in ("repmgr", "pgherd_agent", "pgherd_monitor"):
                assert ask(cluster, node, role, trial.first_primary, "SELECT 1") == "1"
            stays(trial, 20)


@pytest.mark.dozen
@fault("F31", "a pgpool is killed")
def test_a_killed_pgpool_is_back(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.kill(cluster, cluster.pools[0], "pgpool")
        trial.until_written(30)
        stays(trial, 5)


@fault("F31", "a pgpool loses what its processes share, and the primary changes")
def test_a_pgpool_without_its_sockets_is_restarted(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.wreck(cluster, cluster.pools[0])
        inject.power_cut(cluster, trial.first_primary)
        fails_over(trial, trial.first_primary)
        trial.until_written(30)
        inject.power_on(cluster, trial.first_primary)


@fault("F31", "a pgpool's host freezes")
def test_a_frozen_pgpool_is_gone_round(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.freeze(cluster, cluster.pools[0])
        trial.until_written(45)
        stays(trial, 5)
        inject.thaw(cluster, cluster.pools[0])


@fault("F31", "a pgpool is cut off from all nodes, not from clients")
def test_a_pgpool_without_nodes_does_no_harm(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.isolate(cluster, cluster.pools[0], but=[CLIENT])
        stays(trial, 10)
        trial.until_written(20, "nodes")
        inject.join(cluster, cluster.pools[0])


@fault("F40", "a pgpool does not reach its lowest backend, a standby, for one login")
def test_a_pgpool_that_lets_nobody_in_is_opened_again(breaking: Breaking, cluster: Cluster) -> None:
    lowest, pool = cluster.nodes[0], cluster.pools[0]
    if cluster.primary() == lowest:
        assert cluster.play("switchover").rc == 0
    with breaking() as trial:
        trial.now()
        # Sessions that are open go on, so its agent sees that standby all the time, and does not detach it.
        inject.refuse(cluster, pool, f"-d {cluster.address(lowest)} -p tcp --dport 5432 --syn")
        _refused(cluster, pool)
        inject.join(cluster, pool)
        assert _refused(cluster, pool), "pgpool has mended what this is about"
        until(f"{pool} lets all its clients in", lambda: not _refused(cluster, pool), 60)
        trial.until_written(20)


def _refused(cluster: Cluster, pool: str) -> set[str]:
    """Why *pool* does not let clients in, of many at once: some meet a process of it that has its sessions from before."""

    def login(_number: int) -> str:
        try:
            endstate.pool_nodes(cluster, pool)
        except psycopg.Error as error:
            return " ".join(str(error).split())
        return ""

    with ThreadPoolExecutor(20) as clients:
        return set(clients.map(login, range(40))) - {""}


@fault("F32", "a pgpool restarts with an old status file while the stale primary runs")
def test_a_restarted_pgpool_does_not_choose_the_stale_primary(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        pool = cluster.pools[0]
        trial.now()
        inject.cut(cluster, [old], [*others(cluster, old)])
        new = fails_over(trial, old)
        inject.kill(cluster, pool, "pgpool")
        cluster.place.service(pool, "restart", "pgpool")
        # The old one answers this pgpool, stopped or fenced; it must not be its primary.
        until(f"{pool} to take {new}", lambda: _told(cluster, pool) == [new], 30)
        trial.until_written(20, timeline=trial.first_timeline + 1)


def _told(cluster: Cluster, pool: str) -> list[str]:
    return [node for node, row in endstate.pool_nodes(cluster, pool).items() if row["role"] == "primary"]


@fault("F33", "Barman's receiver freezes, then its host is gone, then the primary")
def test_barman_takes_nothing_with_it_and_follows(breaking: Breaking, cluster: Cluster) -> None:
    if not cluster.barman:
        pytest.skip("no Barman host here")
    with breaking(settle=180) as trial:
        old = trial.first_primary
        trial.now()
        inject.stop(cluster, cluster.barman, "receiver")
        stays(trial, 5)
        inject.power_cut(cluster, cluster.barman)
        trial.until_written(10)
        inject.power_cut(cluster, old)
        fails_over(trial, old)
        inject.power_on(cluster, cluster.barman, old)


@fault("F35", "a standby lives an hour ahead")
def test_another_clock_is_no_failover(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        ahead = cluster.standbys(trial.first_primary)[0]
        trial.now()
        inject.other_clock(cluster, ahead, "+1h", "repmgrd.service", "pgherd-agent.service")
        skew = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now"
        until("an hour between the two", lambda: _skew(cluster, ahead, trial.first_primary, skew) > CLOCK / 2, 30)
        stays(trial, 15)
        trial.until_written(10)


def _skew(cluster: Cluster, one: str, other: str, ask: str) -> float:
    return float(cluster.value(one, ask)) - float(cluster.value(other, ask))


WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'app'"


@fault("F36", "waits for a standby are cancelled, and a client dies in one")
def test_a_cancelled_wait_is_unknown_and_never_a_success(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        primary = trial.first_primary
        trial.now()
        stopped = [one for node in cluster.standbys(primary) for one in inject.stop(cluster, node, "walreceiver")]
        waiting = until("commits that wait", lambda: cluster.rows(primary, WAITING), 10, every=0.02)
        for number, row in enumerate(waiting):
            ending = "pg_terminate_backend" if number % 2 else "pg_cancel_backend"
            cluster.rows(primary, f"SELECT {ending}({row['pid']})")
        inject.go_on(cluster, stopped)
        trial.until_written(60)
    assert trial.verdict
    assert trial.verdict.counts["info"] >= 1, "a cancelled wait has to be unknown"


@fault("F37", "the primary crashes and restarts with commits waiting")
def test_rows_that_waited_through_a_crash_are_unknown(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        primary = trial.first_primary
        trial.now()
        stopped = [one for node in cluster.standbys(primary) for one in inject.stop(cluster, node, "walreceiver")]
        until("commits that wait", lambda: cluster.rows(primary, WAITING), 10, every=0.02)
        inject.kill(cluster, primary, "postmaster")
        until(f"{primary} to be back", lambda: cluster.value(primary, "SELECT count(*) FROM ha_log", APP), 40)
        inject.go_on(cluster, stopped)
        trial.until_written(60)
