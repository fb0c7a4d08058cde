# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The checker sees loss and two primaries where the mechanism against them is off: what it never reports proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from faults import compare, inject
from faults.checker import verdict
from faults.cluster import APP, CLIENT, LAB, Cluster, until
from faults.mend import mend
from faults.suite.conftest import T_FENCE
from faults.suite.steps import others
from faults.trial import Trial

fault = pytest.mark.fault
TAKES_OVER = "SELECT pg_promote()"


@contextmanager
def unattended(cluster: Cluster) -> Iterator[None]:
    """Nobody fences, seals, validates or promotes; afterwards the cluster is made whole by hand."""
    for host in cluster.everyone:
        _units(cluster, host, "stop")
    try:
        yield
    finally:
        inject.sweep(cluster)
        for host in cluster.everyone:
            _units(cluster, host, "start")
        with suppress(AssertionError):
            until("one primary", cluster.primary, 60)
        if cluster.barman:
            # It may have followed the primary that lost, and would go on asking for that timeline.
            name = cluster.described["all"]["vars"]["cluster_name"]
            partial = f"rm -f /var/lib/barman/{name}/streaming/*.partial"
            cluster.place.service(cluster.barman, "stop", "barman-receiver", check=False)
            cluster.sh(cluster.barman, partial, check=False)
            cluster.place.service(cluster.barman, "start", "barman-receiver", check=False)
        mend(cluster, 90)


def _units(cluster: Cluster, host: str, verb: str) -> None:
    services = ["agent", *(["repmgrd"] if host in cluster.nodes else [])]
    cluster.place.service(host, verb, *services, check=verb == "stop")


def lost(trial: Trial, survivor: str) -> verdict.Verdict:
    """The verdict, if *survivor* is all that is left."""
    rows = trial.cluster.rows(survivor, "SELECT id FROM ha_log", APP)
    return verdict.judge(trial.ops(), [row["id"] for row in rows])


@fault("without", "seal: a promotion while the other standby still follows a frozen postmaster")
def test_without_the_seal_acknowledged_rows_are_lost(cluster: Cluster) -> None:
    with unattended(cluster), Trial(cluster, LAB / cluster.name / "trials/without-seal", ways=("nodes",)) as trial:
        old = trial.first_primary
        new = cluster.standbys(old)[0]
        trial.now()
        inject.stop(cluster, old, "postmaster")
        cluster.rows(new, TAKES_OVER)
        behind = trial.acknowledged()
        until("rows that only the other standby confirms", lambda: trial.acknowledged() > behind + 100, 30)
        inject.power_cut(cluster, old)
        found = lost(trial, new)
        # Before anything is mended: a cluster that does not heal must not hide what was seen, or was not.
        assert len(found.lost) > 50, found
        assert any("lost" in problem for problem in found.problems)


@fault("without", "synchronous replication and fence: the primary cut from its standbys, not from its clients")
def test_without_synchronous_replication_two_primaries_acknowledge(cluster: Cluster) -> None:
    with unattended(cluster):
        for node in cluster.nodes:
            cluster.rows(node, "ALTER SYSTEM SET synchronous_standby_names = ''")
            cluster.rows(node, "SELECT pg_reload_conf()")
        try:
            with Trial(cluster, LAB / cluster.name / "trials/without-sync", ways=("nodes",)) as trial:
                old = trial.first_primary
                new = cluster.standbys(old)[0]
                trial.now()
                inject.isolate(cluster, old, but=[CLIENT])
                cluster.rows(new, TAKES_OVER)
                trial.write_to(new)
                until("both to acknowledge", lambda: trial.acknowledged(new) > 50, 30)
                trial.until_written(30)
                found = lost(trial, new)
            assert len(found.lost) > 50, found
            assert found.stale, "two primaries acknowledged, and nobody saw it"
            assert any(overlap.grade == "B" for overlap in trial.overlaps), trial.overlaps
        finally:
            inject.join(cluster, *others(cluster))
            for node in cluster.nodes:
                cluster.rows(node, "ALTER SYSTEM RESET synchronous_standby_names")
                cluster.rows(node, "SELECT pg_reload_conf()")


@fault("without", "start guard: the old primary starts beside the new one")
def test_without_the_start_guard_two_primaries_run(cluster: Cluster) -> None:
    with unattended(cluster), Trial(cluster, LAB / cluster.name / "trials/without-guard", ways=("nodes",)) as trial:
        old = trial.first_primary
        inject.drop_in(cluster, old, cluster.unit, "[Service]\nExecStartPre=\n")
        trial.now()
        inject.isolate(cluster, old)
        # Nobody is sealed here: one that is behind could not be followed.
        other, new = sorted(cluster.standbys(old)[:2], key=lambda node: float(cluster.value(node, RECEIVED)))
        cluster.rows(new, TAKES_OVER)
        follows = cluster.value(other, "SHOW primary_conninfo").replace(f"host={old}", f"host={new}").replace("'", "''")
        cluster.rows(other, f"ALTER SYSTEM SET primary_conninfo = '{follows}'")
        cluster.rows(other, "SELECT pg_reload_conf()")
        trial.until_written(60, timeline=trial.first_timeline + 1)
        inject.kill(cluster, old, "postmaster")
        inject.join(cluster, old)
        # With it, F04, F23 and F24 find a standby here.
        until(f"{old} to be primary again", lambda: _both(cluster, old, new), 60)
        trial.hold(3, lambda: _both(cluster, old, new), f"{old} and {new} are primaries")
    assert any(overlap.grade == "B" for overlap in trial.overlaps), trial.overlaps


RECEIVED = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"


def _both(cluster: Cluster, *nodes: str) -> bool:
    return cluster.primaries() == sorted(nodes)


@fault("without", "fence: the primary is cut off from all but its clients, and no agent runs")
def test_without_the_fence_a_primary_that_was_cut_off_keeps_its_clients(cluster: Cluster) -> None:
    with unattended(cluster), Trial(cluster, LAB / cluster.name / "trials/without-fence", ways=("nodes",)) as trial:
        old = trial.first_primary
        trial.now()
        inject.isolate(cluster, old, but=[CLIENT])
        asked = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
        # F08 finds it fenced within T_FENCE.
        trial.hold(T_FENCE + 5, lambda: cluster.value(old, asked) is False, f"{old} takes writes")


@fault("without", "sameness: a byte in a standby's page is changed")
def test_a_standby_that_differs_is_seen(cluster: Cluster) -> None:
    primary = cluster.primary()
    node = cluster.standbys(primary)[-1]
    compare.prepare(cluster, primary)
    cluster.rows(primary, "DROP TABLE IF EXISTS same; CREATE TABLE same AS SELECT 7 AS seven", APP)
    cluster.rows(primary, "CHECKPOINT")
    assert compare.differences(cluster) == []
    file = f"{cluster.data}/{cluster.value(node, 'SELECT pg_relation_filepath($$same$$)', APP)}"
    cluster.place.service(node, "stop", "postgres")
    inject.keep(cluster, node, file)
    cluster.sh(node, f"printf '\\010' | dd of={file} bs=1 seek=8184 conv=notrunc 2>/dev/null")
    cluster.place.service(node, "start", "postgres")
    until(f"{node} to answer", lambda: cluster.value(node, "SELECT true"), 30)
    found = compare.differences(cluster)
    cluster.place.service(node, "stop", "postgres")
    inject.restore(cluster, node)
    cluster.place.service(node, "start", "postgres")
    assert any(node in line for line in found), found
    until("no difference", lambda: not compare.differences(cluster), 60)
    cluster.rows(primary, "DROP TABLE same", APP)
