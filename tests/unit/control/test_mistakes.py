# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every mistake in the inventory or on the command line ends the site playbook's first task, in one sentence that names the
host and the cure.

The task reads the inventory as Ansible does: files, group_vars, extra variables, the role's defaults. That the run ends there,
before a host is touched, is seen in molecule/change/tests/test_bad_input.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.block import Block
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.pgherd.cluster.plugins.action import cluster_model
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _run

SITE = Path(__file__).resolve().parents[3] / "playbooks/site.yml"
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
    "a setting that is the cluster's own": (
        host("pg2", cluster_postgres_settings={"Port": 5433}),
        "pg2: cluster_postgres_settings: port is not to be set there: set cluster_port.",
    ),
    "a place that there is not": (
        host("pg3", place="vm"),
        "pg3: place is host or pod, where it runs, and not vm; mend it.",
    ),
    "a pod": (
        lambda inventory: inventory["pgpool"].update(vars={"place": "pod"}),
        "pool1: place is pod, and pg1, pg2, pg3, pg4, w1, backup1 run on hosts; a cluster of both cannot be made yet",
    ),
    "a variable that has another name now": (
        everywhere(cluster_platform="host"),
        "there is no variable cluster_platform; did you mean place, of a host or a group?",
    ),
    "a version that was never tried": (
        everywhere(cluster_postgres_version="18"),
        "cluster_postgres_version: this release was tried with PostgreSQL 15 and 17, and never with 18; ask for one of those, "
        "or take the risk by cluster_postgres_untried: true.",
    ),
    "a number that pgpool does not know": (host("pg4", node_id=129), "pg4: pgpool knows backends 0 to 127", "not 129"),
}


@pytest.fixture(autouse=True)
def _own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))


def tasks(block: Block) -> Iterator[Task]:
    for item in block.block:
        if isinstance(item, Block):
            yield from tasks(item)
        elif item.action != "meta":
            yield item


def first_task(inventory: Path, extra: dict[str, Any] | None = None, playbook: Path = SITE) -> dict[str, Any]:
    """What the first task of the playbook answers, which runs once, on the first host."""
    loader = DataLoader()
    hosts = InventoryManager(loader=loader, sources=[str(inventory)])
    variables = VariableManager(loader=loader, inventory=hosts)
    variables._extra_vars = extra or {}
    variables.hostvars = HostVars(hosts, variables, loader)
    play = Playbook.load(str(playbook), variable_manager=variables, loader=loader).get_plays()[0]
    task = next(task for block in play.compile() for task in tasks(block))
    assert (task.action, task.run_once) == ("pgherd.cluster.cluster_model", True)
    values = variables.get_vars(play=play, host=hosts.get_hosts()[0], task=task)
    # No host can be asked through this one.
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    action = cluster_model.ActionModule(task, connection, None, loader, Templar(loader, values), None)
    return action.run(task_vars=values)


def refusal(inventory: Path, extra: dict[str, Any] | None = None) -> str:
    """What it said, which has made nothing: not even the control machine's secrets."""
    with pytest.raises(AnsibleActionFail) as caught:
        first_task(inventory, extra)
    assert not (inventory.parent / "secrets").exists()
    return str(caught.value)


def test_what_is_right_is_taken(tmp_path: Path) -> None:
    made = first_task(settle(tmp_path, lambda inventory: None), extra={"cluster_remove": "pg4"})["ansible_facts"]
    assert [node["name"] for node in made["cluster_model"]["nodes"]] == ["pg1", "pg2", "pg3", "pg4", "w1"]
    assert made["cluster_secrets_path"] == str(tmp_path / "secrets")


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, tmp_path: Path) -> None:
    change, *sentences = CASES[case]
    message = refusal(settle(tmp_path, change))
    for sentence in sentences:
        assert sentence in message


@pytest.mark.parametrize(
    "asked", [{"cluster_postgres_version": "15"}, {"cluster_postgres_version": "18", "cluster_postgres_untried": "yes"}]
)
def test_a_version_may_be_asked_for(tmp_path: Path, asked: dict[str, Any]) -> None:
    assert first_task(settle(tmp_path, lambda inventory: None), extra=asked)["ansible_facts"]["cluster_model"]


def test_misspelt_on_the_command_line(tmp_path: Path) -> None:
    message = refusal(settle(tmp_path, lambda inventory: None), extra={"cluster_restart_primry": True})
    assert "there is no variable cluster_restart_primry; did you mean cluster_restart_primary?" in message


@pytest.mark.parametrize(
    ("name", "why"), [("pg44", "did you mean pg4?"), ("pool1", "pool1 is no node"), ("backup1", "backup1 is no node")]
)
def test_who_leaves_is_no_node(tmp_path: Path, name: str, why: str) -> None:
    assert why in refusal(settle(tmp_path, lambda inventory: None), extra={"cluster_remove": name})


def test_misspelt_in_group_vars(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/pgpool.yml").write_text("cluster_pgpool_setings: {num_init_children: 32}\n")
    message = refusal(settle(tmp_path, lambda inventory: None))
    assert "pool1: there is no variable cluster_pgpool_setings; did you mean cluster_pgpool_settings?" in message


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    message = refusal(settle(tmp_path, host("pg4", node_id=2, upstream="pg9")))
    assert "node_id 2 is pg2's already" in message
    assert "its upstream pg9 is not a node of this cluster" in message


def test_the_check_without_its_role(tmp_path: Path) -> None:
    """Without the role's defaults it would keep the secrets in a directory called ``{{ inventory_dir }}``."""
    path, play = tmp_path / "inventory.yml", tmp_path / "play.yml"
    path.write_text(TREE)
    task = {"pgherd.cluster.cluster_model": {}, "run_once": True}
    play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    with pytest.raises(AnsibleActionFail, match=r"cannot be told outside of role pgherd\.cluster\.cluster"):
        first_task(path, playbook=play)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["inventory.yml", "play.yml", "run"]
