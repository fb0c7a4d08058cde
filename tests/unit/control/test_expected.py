# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whom a host of another play still waits for: nobody, where this run has failed on every node."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.filter.expected import FilterModule
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import Host, build

CLUSTER = build(
    [
        Host("pg1", ("postgres",), {"node_id": 1}),
        Host("pg2", ("postgres",), {"node_id": 2, "upstream": "pg1"}),
        Host("w1", ("witness",), {"node_id": 3}),
    ],
    {"cluster_name": "demo", "cluster_durability": "async"},
).to_dict()
FRESH: dict[str, Any] = {"ansible_facts": {}}
BEGUN = {"ansible_facts": {}, "postgres_way": {}}
# A playbook that only changes who is a member, such as remove, looks at the nodes too, and does not bring them up.
LOOKED = {"ansible_facts": {}, "postgres_found": {}}
MEMBER = {"ansible_facts": {"repmgr_node": {"member": True}}, "postgres_way": {}}
ALONE = {"ansible_facts": {"repmgr_node": {"member": False}}, "postgres_way": {}}


@pytest.mark.parametrize(
    ("pg1", "pg2", "expected"),
    [
        (FRESH, FRESH, ["pg1", "pg2"]),  # this run has not been at the nodes
        (LOOKED, LOOKED, ["pg1", "pg2"]),
        (MEMBER, MEMBER, ["pg1", "pg2"]),
        (BEGUN, MEMBER, ["pg2"]),
        (FRESH, MEMBER, ["pg2"]),  # pg1 could not be reached
        (BEGUN, BEGUN, []),
        (FRESH, BEGUN, []),
        (ALONE, BEGUN, []),
    ],
)
def test_who_may_still_come(pg1: dict[str, Any], pg2: dict[str, Any], expected: list[str]) -> None:
    hostvars = {"pg1": pg1, "pg2": pg2, "w1": MEMBER, "backup1": FRESH}
    assert FilterModule().filters()["expected"](CLUSTER, hostvars) == expected
