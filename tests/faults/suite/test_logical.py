# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A logical slot with failover (PostgreSQL 17): its reader gets every acknowledged row, and no other, whoever is primary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults import inject
from faults.cluster import APP, Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over
from faults.suite.test_switchover import switch

fault = pytest.mark.fault
SLOT = "faults_logical"
MAKE = f"SELECT pg_create_logical_replication_slot('{SLOT}', 'test_decoding', failover => true)"
FIND = f"SELECT failover, synced, temporary, active, restart_lsn FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
READ = (
    f"SELECT data FROM pg_logical_slot_get_changes('{SLOT}', NULL, NULL) WHERE data LIKE 'table public.heard: INSERT%'"
)


@pytest.fixture
def slot(cluster: Cluster) -> Iterator[str]:
    """The slot and its own little table, on the primary; gone again everywhere afterwards."""
    if cluster.version < 17 or cluster.value(cluster.primary(), "SHOW wal_level") != "logical":
        pytest.skip("needs PostgreSQL 17 with wal_level logical")
    cluster.rows(cluster.primary(), "CREATE TABLE IF NOT EXISTS heard (id bigint PRIMARY KEY)", APP)
    cluster.rows(cluster.primary(), MAKE, APP)
    yield SLOT
    inject.sweep(cluster)
    head = until("one primary", cluster.primary, 60)
    cluster.rows(head, f"SELECT pg_drop_replication_slot('{SLOT}')")
    cluster.rows(head, "DROP TABLE heard", APP)


def say(cluster: Cluster, *numbers: int) -> None:
    """Write rows on the primary."""
    values = ", ".join(f"({number})" for number in numbers)
    cluster.rows(cluster.primary(), f"INSERT INTO heard VALUES {values}", APP)


def heard(cluster: Cluster, name: str) -> list[int]:
    """The rows that the slot hands out on a node; what was handed out is confirmed."""
    return [int(row["data"].rsplit(":", 1)[1]) for row in cluster.rows(name, READ, APP)]


def copying(cluster: Cluster, primary: str) -> list[str]:
    """The standbys that copy slots: electable ones."""
    found = cluster.each(lambda name: cluster.value(name, "SHOW sync_replication_slots"))
    return [name for name, value in found.items() if value == "on" and name != primary]


def copied(cluster: Cluster, *names: str) -> list[int]:
    """Read on the primary until each of *names* has a copy that lasts; the rows that were read. A copy lasts only once its
    reader has moved on past what the standby has vacuumed already."""
    head = cluster.primary()
    rows: list[int] = []

    def there(name: str) -> bool:
        cluster.rows(head, "SELECT pg_log_standby_snapshot()")
        rows.extend(heard(cluster, head))
        found = cluster.rows(name, FIND)
        return bool(found) and found[0]["synced"] and not found[0]["temporary"]

    for name in names:
        until(f"{name} to have the slot of {head}", lambda name=name: there(name), 120, every=1.0)
    return rows


@fault("R11", "a logical slot in switchovers and a failover")
def test_a_logical_slot_loses_nothing(breaking: Breaking, cluster: Cluster, slot: str) -> None:
    with breaking(settle=180) as trial:
        old = trial.first_primary
        new = cluster.standbys(old)[0]
        say(cluster, 1, 2)
        assert copied(cluster, *copying(cluster, old)) == [1, 2]
        say(cluster, 3)
        trial.now()
        run = switch(cluster, new)
        assert run.rc == 0, run
        say(cluster, 4)
        # The old primary's own slot of that name has made room for a copy.
        assert set(copied(cluster, *copying(cluster, new))) >= {3, 4}
        say(cluster, 5)
        inject.power_cut(cluster, new)
        third = fails_over(trial, new)
        say(cluster, 6)
        # Readers wait until a certain standby has it; the one that is down may be that.
        inject.power_on(cluster, new)
        read = copied(cluster, new)
        assert set(read) >= {5, 6}
        assert cluster.primary() == third
        assert heard(cluster, third) == []
