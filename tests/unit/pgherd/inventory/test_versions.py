# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""PostgreSQL's major version on each host: the user's word, its distribution's, or what it was the last time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory import versions
from pgherd.inventory.build import build
from pgherd.inventory.variables import Host
from pgherd.model import Cluster

HOSTS = [
    Host("pg1", ("postgres",), {"node_id": 1}),
    Host("pg2", ("postgres",), {"node_id": 2, "upstream": "pg1"}),
    Host("pg3", ("postgres",), {"node_id": 3, "upstream": "pg1"}),
    Host("w1", ("witness",), {"node_id": 9}),
    Host("pool1", ("pgpool",)),
    Host("backup1", ("barman",)),
]
ALL = ("pg1", "pg2", "pg3", "w1", "backup1")
# What hosts on Debian 13 say.
EVERY = dict.fromkeys((*ALL, "pool1"), 17)


def without(*names: str) -> dict[str, int]:
    return {name: version for name, version in EVERY.items() if name not in names}


def made(**values: Any) -> Cluster:
    return build(HOSTS, {"cluster_name": "demo", "cluster_durability": "strict", "cluster_sync_standbys": 1, **values})


def found(cluster: Cluster) -> dict[str, int]:
    return {item.name: item.version for item in cluster.with_postgres}


@pytest.mark.parametrize(
    ("what", "asked", "shipped", "before", "differs"),
    [
        ("the distribution's", 0, EVERY, {}, {}),
        ("the user's word goes before it", 15, EVERY, {}, dict.fromkeys(ALL, 15)),
        ("and before what it was", 15, {}, dict.fromkeys(ALL, 17), dict.fromkeys(ALL, 15)),
        ("one does not answer", 0, without("pg2", "w1"), dict.fromkeys(ALL, 17), {}),
        (
            "a witness and a Barman of another release",
            0,
            {**EVERY, "w1": 15, "backup1": 15},
            {},
            {"w1": 15, "backup1": 15},
        ),
        ("they do not answer then", 0, without("w1", "backup1"), {"w1": 15, "backup1": 15}, {"w1": 15, "backup1": 15}),
        ("nor did they ever", 0, without("w1", "backup1"), {}, {"w1": 0, "backup1": 0}),
        ("a standby never did", 0, without("pg2"), {}, {}),
        ("only one data node answers", 0, {"pg3": 17}, {}, {"w1": 0, "backup1": 0}),
        ("it has another release now", 0, EVERY, dict.fromkeys(ALL, 15), {}),
        ("nobody answers, and nobody did", 0, {}, {}, dict.fromkeys(ALL, 0)),
    ],
)
def test_versions(
    what: str, asked: int, shipped: dict[str, int], before: dict[str, int], differs: dict[str, int]
) -> None:
    cluster = versions.settled(made(cluster_postgres_version=asked), shipped, before)
    assert found(cluster) == {**dict.fromkeys(ALL, 17), **differs}, what
    # Nothing else of it changed, and it is read as it was written.
    assert versions.asked(cluster, 0) == made()
    assert Cluster.from_dict(json.loads(json.dumps(cluster.to_dict()))) == cluster


@pytest.mark.parametrize(
    ("shipped", "before", "differ"),
    [
        ({**EVERY, "pg3": 15}, {}, "15 on pg3, 17 on pg1, pg2"),
        (without("pg1"), {"pg1": 15}, "15 on pg1, 17 on pg2, pg3"),
    ],
)
def test_a_standby_has_its_primarys_version(shipped: dict[str, int], before: dict[str, int], differ: str) -> None:
    with pytest.raises(ConfigError) as caught:
        versions.settled(made(), shipped, before)
    (said,) = caught.value.problems
    assert f"PostgreSQL would be {differ}, as their distributions have it" in said
    assert "set cluster_postgres_version for all" in said
    assert versions.settled(made(cluster_postgres_version=17), shipped, before)


def test_without_a_word_the_inventory_alone_knows_none() -> None:
    assert set(found(made()).values()) == {0}
    assert set(found(made(cluster_postgres_version=None)).values()) == {0}
    assert set(found(made(cluster_postgres_version=15)).values()) == {15}
