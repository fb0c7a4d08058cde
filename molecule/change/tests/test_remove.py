# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node leaves, everybody forgets it, and with the host in the inventory again the site playbook makes it a member."""

from __future__ import annotations

from typing import Any

import pytest
from living import MISSED, UNIT, Living, Node, until

REMOVE = "pgherd.cluster.remove"
SLOTS = "SELECT coalesce(array_agg(slot_name::text), '{}') AS names FROM pg_replication_slots"
SERVICES = ("pgherd-agent.service", "repmgrd.service", UNIT)


@pytest.fixture(scope="module")
def gone(tree: Living) -> str:
    """The node that leaves: the last standby that the inventory has nobody below."""
    upstreams = {host.get("upstream") for host in tree.group("postgres").values()}
    return next(name for name in reversed(tree.nodes) if name not in upstreams and name != tree.primary())


@pytest.fixture(scope="module")
def host(tree: Living, gone: str) -> dict[str, Any]:
    """What the inventory says of the node that leaves."""
    return dict(tree.group("postgres")[gone])


def states(tree: Living, gone: str) -> list[str]:
    asked = ("systemctl", "is-active", *SERVICES)
    return tree.execute(gone, *asked, check=False).split()


@pytest.mark.parametrize(
    ("name", "why"),
    [("{gone}{gone}", "did you mean {gone}?"), ("", "Name the node that leaves, with -e cluster_remove=NAME")],
    ids=["misspelt", "none"],
)
def test_a_name_that_is_no_nodes_is_refused(tree: Living, gone: str, name: str, why: str) -> None:
    """At once: the hosts have been asked whether they are there, and nothing more."""
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": name.format(gone=gone)})
    assert run.rc != 0
    assert any(why.format(gone=gone) in message for message in run.failed.values()), run
    assert run.events[-1]["task"]["name"].endswith(("A node is named", "Check the inventory")), run


def test_the_primary_is_refused_and_nothing_is_changed(tree: Living) -> None:
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": tree.primary()})
    assert run.rc != 0
    assert any("hand over first" in message for message in run.failed.values()), run
    assert run.changed == {}


@pytest.mark.more
def test_check_mode_only_says_it(tree: Living, gone: str) -> None:
    before = tree.records()
    run = tree.site("--check", playbook=REMOVE, extra={"cluster_remove": gone})
    assert run.rc == 0, run
    assert any(f"unregister {gone}" in run.what_changed(name) for name in tree.nodes), run
    assert tree.records() == before
    assert states(tree, gone) == ["active"] * 3


@pytest.fixture(scope="module")
def before(tree: Living, gone: str, host: dict[str, Any]) -> dict[str, Node]:
    """What the nodes were before it left a whole cluster."""
    tree.until_well()
    found = tree.look()
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": gone})
    assert run.rc == 0, run
    assert any(f"{gone} has left cluster" in run.told(name) for name in tree.nodes), run
    del tree.group("postgres")[gone]
    return found


def test_everybody_forgets_it(tree: Living, gone: str, host: dict[str, Any], before: dict[str, Node]) -> None:
    slot = f"repmgr_slot_{host['node_id']}"
    assert {name: (node.started, node.standby) for name, node in tree.look().items()} == {
        name: (node.started, node.standby) for name, node in before.items() if name != gone
    }
    assert gone not in tree.records()
    assert all(slot not in names for names in tree.everywhere(SLOTS).values())
    assert not any(gone in names for names in tree.show("synchronous_standby_names").values())
    for pool in tree.group("pgpool"):
        found = until(f"{pool}'s backends", lambda pool=pool: tree.backends(pool), missed=MISSED)
        assert found.get(gone, "down") == "down", found
        until(f"the others in {pool}", lambda pool=pool: others(tree, pool, gone) == {"up"}, 60, missed=MISSED)
    for barman in tree.group("barman"):
        assert gone not in tree.shell(barman, "cat /etc/barman.d/*.conf")
    assert "active" not in states(tree, gone)
    assert tree.execute(gone, "ls", "/var/lib/postgresql/17/main/PG_VERSION")
    # Barman's receiver, for one, was restarted a moment ago.
    tree.until_well()


def others(tree: Living, pool: str, gone: str) -> set[str]:
    """Status of a pgpool's backends but one."""
    return {status for name, status in tree.backends(pool).items() if name != gone}


@pytest.mark.more
def test_nothing_is_left_to_do(tree: Living, before: dict[str, Node]) -> None:
    run = tree.site()
    assert run.rc == 0, run
    assert run.changed == {}, run


@pytest.fixture(scope="module")
def back(tree: Living, gone: str, host: dict[str, Any], before: dict[str, Node]) -> str:
    """The node, which is in the inventory again and was made a member by the site playbook."""
    tree.group("postgres")[gone] = host
    run = tree.site()
    assert run.rc == 0, run
    tree.until_streaming(gone)
    return gone


@pytest.mark.more
def test_in_the_inventory_again_it_joins(tree: Living, gone: str, host: dict[str, Any], back: str) -> None:
    row = tree.records()[gone]
    assert (row["active"], row["node_id"], row["type"]) == (True, host["node_id"], "standby")
    for pool in tree.group("pgpool"):
        until(f"{gone} to be up in {pool}", lambda pool=pool: tree.backends(pool).get(gone) == "up", 90, missed=MISSED)


@pytest.mark.more
def test_a_dead_one_leaves_too(tree: Living, gone: str, host: dict[str, Any], back: str) -> None:
    """Its host stays off, as one that has burnt."""
    tree.stop(gone)
    run = tree.site(playbook=REMOVE, extra={"cluster_remove": gone})
    del tree.group("postgres")[gone]
    assert run.rc == 0, run
    assert gone not in tree.records()
    slot = f"repmgr_slot_{host['node_id']}"
    assert all(slot not in names for names in tree.everywhere(SLOTS).values())
    tree.until_well()
