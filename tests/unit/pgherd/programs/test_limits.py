# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a standby must not have less of than its primary."""

from __future__ import annotations

from dataclasses import replace

from pgherd.model import Cluster, Node
from pgherd.nodes.instance import Instance
from pgherd.options import Options
from pgherd.programs.postgres import control_limits, floors, raised
from pgherd.render.conf_postgres import settings

# pg_controldata of PostgreSQL 17, the last lines before the data layout
CONTROL = {
    "max_connections setting": "300",
    "max_worker_processes setting": "8",
    "max_wal_senders setting": "32",
    "max_prepared_xacts setting": "0",
    "max_locks_per_xact setting": "80",
    "track_commit_timestamp setting": "off",
}
PRIMARY = Instance("pg1", data="cluster", running=True, role="primary", limits=control_limits(CONTROL))
STANDBY = replace(PRIMARY, name="pg2", standby=True, role="standby")
LOWERED = {**PRIMARY.limits, "max_connections": 200}


def test_pg_control_has_them_by_other_names() -> None:
    assert control_limits(CONTROL) == {
        "max_connections": 300,
        "max_worker_processes": 8,
        "max_wal_senders": 32,
        "max_prepared_transactions": 0,
        "max_locks_per_transaction": 80,
    }


def test_a_primary_may_lower() -> None:
    assert floors(PRIMARY, {"pg2": STANDBY}) == {}


def test_a_standby_keeps_what_it_or_the_primary_knows() -> None:
    assert floors(STANDBY, {})["max_connections"] == 300
    assert floors(replace(STANDBY, limits=LOWERED), {"pg1": PRIMARY})["max_connections"] == 300
    assert floors(STANDBY, {"pg1": replace(PRIMARY, limits=LOWERED)})["max_connections"] == 300
    assert floors(replace(STANDBY, limits=LOWERED), {"pg1": replace(PRIMARY, limits=LOWERED)})["max_connections"] == 200


def test_an_empty_node_will_have_what_the_primary_has() -> None:
    assert floors(Instance("pg3"), {"pg1": PRIMARY, "pg2": STANDBY})["max_locks_per_transaction"] == 80
    assert floors(Instance("pg1"), {"pg2": Instance("pg2")}) == {}


def test_raised_where_less_or_missing_with_a_lower_default() -> None:
    least = {"max_connections": 300, "max_locks_per_transaction": 80, "max_worker_processes": 8}
    assert raised({"max_connections": 200}, least) == {"max_connections": 300, "max_locks_per_transaction": 80}
    assert raised({"max_connections": "400"}, least)["max_connections"] == "400"
    assert raised({"max_connections": "many"}, least)["max_connections"] == "many"


def test_postgresql_conf_of_a_standby() -> None:
    node = Node("pg2", 2, "postgres", "pg2", "pg1", settings={"max_connections": 100})
    cluster = Cluster(
        "demo",
        (Node("pg1", 1, "postgres", "pg1"), node),
        options=Options.of({"pgpool_max_clients": 64, "wal_keep_size": "512MB"}),
    )
    assert settings(cluster, node, 17)["max_connections"] == 100
    assert settings(cluster, node, 17, PRIMARY.limits)["max_connections"] == 300
