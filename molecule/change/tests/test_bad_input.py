# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every mistake in the inventory or on the command line ends the run before a host is touched, in one sentence that names
the host and the cure. The hosts here do not exist: whoever touched one would be told that it is unreachable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook import SITE, ansible_playbook

TREE = """
all:
  vars: {cluster_name: tree, cluster_users: [{name: app}]}
postgres:
  hosts:
    pg1: {node_id: 1, ansible_host: 192.0.2.1}
    pg2: {node_id: 2, ansible_host: 192.0.2.2, upstream: pg1}
    pg3: {node_id: 3, ansible_host: 192.0.2.3, upstream: pg2, priority: 50}
    pg4: {node_id: 4, ansible_host: 192.0.2.4, upstream: pg1}
witness: {hosts: {w1: {node_id: 9, ansible_host: 192.0.2.5}}}
pgpool: {hosts: {pool1: {ansible_host: 192.0.2.6}}}
barman: {hosts: {backup1: {ansible_host: 192.0.2.7}}}
"""
Inventory = dict[str, Any]


def host(name: str, **variables: Any) -> Callable[[Inventory], object]:
    return lambda inventory: inventory["postgres"]["hosts"][name].update(variables)


def everywhere(**variables: Any) -> Callable[[Inventory], object]:
    return lambda inventory: inventory["all"]["vars"].update(variables)


def group(name: str, member: str) -> Callable[[Inventory], object]:
    return lambda inventory: inventory[name]["hosts"].update({member: {}})


def settle(tmp_path: Path, change: Callable[[Inventory], object]) -> Path:
    inventory = yaml.safe_load(TREE)
    change(inventory)
    inventory["all"]["vars"]["cluster_secrets_directory"] = str(tmp_path / "secrets")
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory))
    return path


CASES = {
    "misspelt for all": (
        everywhere(cluster_durabilty="async"),
        "the inventory or the command line: there is no variable cluster_durabilty; did you mean cluster_durability?",
    ),
    "misspelt for one host": (
        host("pg3", cluster_postgres_setings={"work_mem": "8MB"}),
        "pg3: there is no variable cluster_postgres_setings; did you mean cluster_postgres_settings?",
    ),
    "misspelt host variable": (
        lambda inventory: inventory["postgres"]["hosts"].update(pg3={"node_id": 3, "upsteam": "pg2"}),
        "pg3: there is no host variable upsteam; did you mean upstream?",
    ),
    "wrong type": (everywhere(cluster_port="five"), "mend cluster_port where it is set"),
    "wrong type on one host": (
        host("pg2", cluster_postgres_settings=["work_mem"]),
        "pg2: ",
        "mend cluster_postgres_settings where it is set",
    ),
    "wrong choice": (everywhere(cluster_durability="paranoid"), "strict, async", "paranoid", "mend cluster_durability"),
    "node id is no number": (host("pg2", node_id="two"), "pg2: node_id must be a whole number", "'two'"),
    "node id twice": (host("pg4", node_id=2), "pg4: node_id 2 is pg2's already; give it another number."),
    "node id missing": (
        lambda inventory: inventory["postgres"]["hosts"]["pg4"].pop("node_id"),
        "pg4: it has no node_id; give it a whole number",
    ),
    "upstream missing": (
        host("pg3", upstream="pg22"),
        "pg3: its upstream pg22 is not a node of this cluster; did you mean pg2?",
    ),
    "upstream is a witness": (
        host("pg3", upstream="w1"),
        "pg3: its upstream w1 is a witness, which has no data to give",
    ),
    "cycle": (
        host("pg2", upstream="pg3"),
        "pg2: following its upstreams leads back to itself; give one of them another.",
    ),
    "two roots": (
        lambda inventory: inventory["postgres"]["hosts"]["pg4"].pop("upstream"),
        "pg1, pg4: they have no upstream, so each would be a primary; name an upstream for all but one.",
    ),
    "two groups": (
        group("pgpool", "pg2"),
        "pg2: it is in the groups pgpool and postgres, which exclude each other; use two hosts.",
    ),
    "data node and witness": (
        group("witness", "pg2"),
        "pg2: it is in the groups postgres and witness, which exclude each other; take it out of one.",
    ),
    "too few electable nodes": (
        host("pg4", priority=0),
        "cluster_durability strict needs three electable nodes, and there are two (pg1, pg2)",
        "or choose cluster_durability: async",
    ),
    "wipe names nobody": (everywhere(cluster_wipe=["pg11"]), "cluster_wipe: there is no node pg11 in this cluster"),
    "two values for one cluster": (
        lambda inventory: (everywhere(cluster_port=5432)(inventory), host("pg2", cluster_port=5433)(inventory)),
        "cluster_port holds for the whole cluster, but pg1 says 5432 and pg2 says 5433",
        "set it once, for all hosts",
    ),
    "a value for the cluster on one host": (
        host("pg2", cluster_sync_standbys=2),
        "pg2: cluster_sync_standbys holds for the whole cluster and cannot differ by host; set it for all hosts",
    ),
    "a number that pgpool does not know": (host("pg4", node_id=129), "pg4: pgpool knows backends 0 to 127", "not 129"),
}


def refusal(path: Path, extra: dict[str, Any] | None = None) -> str:
    """What the run said, which touched nothing: not even the control machine's secrets are made."""
    run = ansible_playbook(path, SITE, extra=extra)
    assert run.rc == 2, run
    assert len(run.events) == 1, run
    assert not run.unreachable
    assert not (path.parent / "secrets").exists()
    (message,) = set(run.failed.values())
    return message


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, tmp_path: Path) -> None:
    change, *others = CASES[case]
    message = refusal(settle(tmp_path, change))
    for expected in others:
        assert expected in message


def test_misspelt_on_the_command_line(tmp_path: Path) -> None:
    message = refusal(settle(tmp_path, lambda inventory: None), extra={"cluster_restart_primry": True})
    assert "there is no variable cluster_restart_primry; did you mean cluster_restart_primary?" in message


def test_misspelt_in_group_vars(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/pgpool.yml").write_text("cluster_pgpool_setings: {num_init_children: 32}\n")
    message = refusal(settle(tmp_path, lambda inventory: None))
    assert "pool1: there is no variable cluster_pgpool_setings; did you mean cluster_pgpool_settings?" in message


def test_the_check_without_its_role(tmp_path: Path) -> None:
    """Without the role's defaults it would keep the secrets in a directory called ``{{ inventory_dir }}``."""
    inventory = yaml.safe_load(TREE)
    path, play = tmp_path / "inventory.yml", tmp_path / "play.yml"
    path.write_text(yaml.safe_dump(inventory))
    task = {"pgherd.cluster.cluster_topology": {}, "run_once": True}
    play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    run = ansible_playbook(path, str(play))
    (message,) = set(run.failed.values())
    assert "cluster_secrets_directory cannot be told outside of role pgherd.cluster.cluster" in message
    assert sorted(item.name for item in tmp_path.iterdir()) == ["inventory.yml", "play.yml"]


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    message = refusal(settle(tmp_path, host("pg4", node_id=2, upstream="pg9")))
    assert "node_id 2 is pg2's already" in message
    assert "its upstream pg9 is not a node of this cluster" in message
