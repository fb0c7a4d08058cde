# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node leaves, everybody forgets it, and with the host in the inventory again the site playbook makes it a member."""

from __future__ import annotations

from typing import Any

import pytest
from living import UNIT, Living, until

GONE = "pg5"
REMOVE = "pgherd.cluster.remove"
SLOTS = "SELECT coalesce(array_agg(slot_name::text), '{}') AS names FROM pg_replication_slots"
SERVICES = ("pgherd-agent.service", "repmgrd.service", UNIT)


@pytest.fixture(scope="module")
def host(tree: Living) -> dict[str, Any]:
    """What the inventory says of the node that leaves."""
    return dict(tree.group("postgres")[GONE])


def states(tree: Living) -> list[str]:
    asked = ("systemctl", "is-active", *SERVICES)
    return tree.execute(GONE, *asked, check=False).split()


@pytest.mark.parametrize(
    ("name", "why"),
    [("pg55", "did you mean pg5?"), ("", "is no node of cluster"), ("pool1", "pool1 is no node")],
)
def test_a_name_that_is_no_nodes_is_refused(tree: Living, name: str, why: str) -> None:
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": name})
    assert run.rc != 0
    assert any(why in message for message in run.failed.values()), run


def test_the_primary_is_refused_and_nothing_is_changed(tree: Living) -> None:
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": tree.primary()})
    assert run.rc != 0
    assert any("hand over first" in message for message in run.failed.values()), run
    assert run.changed == {}


def test_check_mode_only_says_it(tree: Living, host: dict[str, Any]) -> None:
    before = tree.records()
    run = tree.site("--check", playbook=REMOVE, extra={"cluster_remove": GONE})
    assert run.rc == 0, run
    assert any(f"unregister {GONE}" in run.what_changed(name) for name in tree.nodes), run
    assert tree.records() == before
    assert states(tree) == ["active"] * 3


def test_everybody_forgets_it(tree: Living, host: dict[str, Any]) -> None:
    before, slot = tree.look(), f"repmgr_slot_{host['node_id']}"
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": GONE})
    assert run.rc == 0, run
    assert any(f"{GONE} has left cluster" in run.told(name) for name in tree.nodes), run
    del tree.group("postgres")[GONE]

    assert {name: (node.started, node.standby) for name, node in tree.look().items()} == {
        name: (node.started, node.standby) for name, node in before.items() if name != GONE
    }
    assert GONE not in tree.records()
    assert all(slot not in names for names in tree.everywhere(SLOTS).values())
    assert not any(GONE in names for names in tree.show("synchronous_standby_names").values())
    for pool in tree.group("pgpool"):
        found = tree.backends(pool)
        assert found.get(GONE, "down") == "down", found
        assert {status for name, status in found.items() if name != GONE} == {"up"}
    for barman in tree.group("barman"):
        assert GONE not in tree.shell(barman, "cat /etc/barman.d/*.conf")
    assert "active" not in states(tree)
    assert tree.execute(GONE, "ls", "/var/lib/postgresql/17/main/PG_VERSION")
    tree.execute(tree.primary(), "pgherd", "status")


def test_nothing_is_left_to_do(tree: Living) -> None:
    run = tree.site()
    assert run.rc == 0, run
    assert run.changed == {}, run


def test_in_the_inventory_again_it_joins(tree: Living, host: dict[str, Any]) -> None:
    tree.group("postgres")[GONE] = host
    run = tree.site()
    assert run.rc == 0, run
    tree.until_streaming(GONE)
    row = tree.records()[GONE]
    assert (row["active"], row["node_id"], row["type"]) == (True, host["node_id"], "standby")
    for pool in tree.group("pgpool"):
        until(f"{GONE} to be up in {pool}", lambda pool=pool: tree.backends(pool).get(GONE) == "up", seconds=60)


def test_a_dead_one_leaves_too(tree: Living, host: dict[str, Any]) -> None:
    """Its host stays off, as one that has burnt."""
    tree.stop(GONE)
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": GONE})
    del tree.group("postgres")[GONE]
    assert run.rc == 0, run
    assert GONE not in tree.records()
    slot = f"repmgr_slot_{host['node_id']}"
    assert all(slot not in names for names in tree.everywhere(SLOTS).values())
    tree.execute(tree.primary(), "pgherd", "status")
