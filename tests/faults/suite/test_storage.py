# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Disks are full, stand still, are slow or lie."""

from __future__ import annotations

import pytest

from faults import inject
from faults.cluster import Cluster
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, nobody, others, stays
from faults.trial import Trial

fault = pytest.mark.fault


@fault("F25", "the primary's disk is full")
def test_a_full_disk_causes_one_failover_at_most(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.fill_disk(cluster, old)
        # With rows that need more room than what WAL segments are recycled into.
        with pytest.raises(Exception, match=r"No space|could not|closed|terminat|consum|recovery|lost"):
            cluster.rows(old, "CREATE TABLE big AS SELECT repeat('x', 500) FROM generate_series(1, 200000)", "app")
        trial.hold(20, lambda: len(_taking_writes(trial)) <= 1, "there is one primary at most")
        inject.sweep(cluster)
        trial.until_written(90)
    assert _failovers(trial) <= 1


@fault("F25", "a standby's disk is full")
def test_a_full_standby_holds_nobody_up(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        full = cluster.standbys(trial.first_primary)[-1]
        trial.now()
        inject.fill_disk(cluster, full)
        stays(trial, 15)
        trial.until_written(10)


@fault("F26", "the primary's disk stands still, its network lives")
def test_a_primary_whose_disk_stands_still_is_replaced(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.freeze_disk(cluster, old)
        try:
            fails_over(trial, old)
            trial.hold(
                20, lambda: len(_taking_writes(trial, *others(cluster, old))) <= 1, "there is one primary at most"
            )
        finally:
            inject.thaw_disk(cluster, old)
        trial.until_written(60)
    assert _failovers(trial) == 1


@fault("F26", "the disks of all nodes stand still, their network lives")
def test_where_all_disks_stand_still_nobody_goes(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        for node in cluster.nodes:
            inject.freeze_disk(cluster, node)
        try:
            # Where the standbys' disks stand first, the primary is to be fenced, and its disk does not take that either.
            nobody(trial, 25, *others(cluster, trial.first_primary))
        finally:
            for node in cluster.nodes:
                inject.thaw_disk(cluster, node)
        trial.until_written(60)
    assert _failovers(trial) <= 1


@fault("F27", "the primary's disk writes 256 kB/s")
def test_a_slow_disk_is_no_failover(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        inject.slow_disk(cluster, trial.first_primary, 256 * 1024)
        try:
            stays(trial, 20)
            trial.until_written(20)
        finally:
            inject.slow_disk(cluster, trial.first_primary, 0)


@fault("F29", "the WAL that a killed primary would need is overwritten")
def test_a_primary_with_broken_wal_is_replaced(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=240) as trial:
        old = trial.first_primary
        segment = cluster.value(old, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        trial.now()
        inject.kill(cluster, old, "postmaster")
        cluster.sh(
            old, f"dd if=/dev/urandom of={cluster.data}/pg_wal/{segment} bs=1M count=16 conv=notrunc 2>/dev/null"
        )
        trial.until_written(90)
    assert _failovers(trial) <= 1


def _taking_writes(trial: Trial, *nodes: str) -> list[str]:
    asked = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
    found = trial.cluster.each(lambda node: trial.cluster.value(node, asked), nodes)
    return [node for node, refuses in found.items() if refuses is False]


def _failovers(trial: Trial) -> int:
    return trial.cluster.timeline(trial.cluster.primary()) - trial.first_timeline
