# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the role asks of which node, in which order, when settings wait for a restart, and one of the nodes does not come back
from its own.

The role's own tasks run, with modules in the place of those that touch a host, which write down what they are asked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import plain

ROOT = Path(__file__).resolve().parents[3]
NODES = ("pg1", "pg2", "pg3", "w1")
MODULE = """\
from ansible.module_utils.basic import AnsibleModule
import json, os
types = {"cluster": "dict", "node": "str", "restart": "bool", "previous": "dict", "always": "bool", "files_changed": "bool"}
spec = {**{name: {"type": kind} for name, kind in types.items()}, "failed": {"type": "list", "elements": "str"}}
module = AnsibleModule(argument_spec=spec)
asked = module.params
del asked["cluster"]
with open(os.environ["ASKED"], "a") as stream:
    stream.write(json.dumps(asked) + "\\n")
if asked["restart"] and asked["node"] == os.environ["FAILS"]:
    module.fail_json(msg="did not start")
# What is read after a lower limit of the primary's waits for a restart, on standbys.
role = "standby" if asked["node"] in ("pg2", "pg3") else "primary"
pending = {} if asked["restart"] else {"max_connections": "200 -> 100"}
instance = {"name": asked["node"], "role": role, "pending": pending, "limits": {"max_connections": 100}}
module.exit_json(changed=True, instance=instance)
"""
INFO = """\
from ansible.module_utils.basic import AnsibleModule
import json, os
module = AnsibleModule(argument_spec={"cluster": {"type": "dict"}, "node": {"type": "str"}})
with open(os.environ["ASKED"], "a") as stream:
    stream.write(json.dumps({"node": module.params["node"], "looked": True}) + "\\n")
role = "standby" if module.params["node"] in ("pg2", "pg3") else "primary"
module.exit_json(instance={"name": module.params["node"], "role": role, "limits": {"max_connections": 100}}, left_alone="")
"""
FILES = """\
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={"files": {"type": "list", "elements": "dict"}})
module.exit_json(changed=True, before={"/etc/postgresql/17/main/postgresql.conf": {"kind": "file", "content": "old"}})
"""
LOOKUP = """\
from ansible.plugins.lookup import LookupBase

class LookupModule(LookupBase):
    def run(self, terms, variables=None, **options):
        return [[]]
"""
# What role cluster does: the run knows this cluster.
KNOW = """\
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import remember

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        remember("cluster_model", self._task.args["cluster"])
        return {"ansible_facts": {"cluster_model": self._task.args["cluster"]}}
"""
# By node, what main.yml has learned before.
STATE = """
- hosts: all
  gather_facts: false
  connection: local
  vars:
    lowered: []
    waits: true
  tasks:
    - pgherd.cluster.know: {cluster: "{{ model }}"}
    - ansible.builtin.set_fact:
        postgres_way: {start: {named: {names: [pg1, pg2], needed: 1}}}
        postgres_files: {before: {/etc/postgresql/17/main/postgresql.conf: {kind: file, content: old}}}
        postgres_state:
          left_alone: ""
          instance:
            name: "{{ inventory_hostname }}"
            role: "{{ 'primary' if inventory_hostname in ['pg1', 'w1'] else 'standby' }}"
            lowered: "{{ lowered if inventory_hostname == 'pg1' else [] }}"
            pending: "{{ {'huge_pages': 'try -> on'} if waits or inventory_hostname == 'pg1' else {} }}"
    - ansible.builtin.include_role: {name: pgherd.cluster.postgres, tasks_from: restart}
"""

# What the playbook imports besides, in the place of what asks hosts.
REACH = """
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.group_by: {key: reachable}
"""
LATER = """
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.debug: {msg: "comes to %s"}
      run_once: true
"""


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    place = tmp_path / "ansible_collections/pgherd/cluster"
    shutil.copytree(ROOT / "roles", place / "roles")
    shutil.copytree(ROOT / "plugins", place / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in (
        ("modules/postgres_instance.py", MODULE),
        ("modules/postgres_instance_info.py", INFO),
        ("modules/host_files.py", FILES),
        ("lookup/files.py", LOOKUP),
        ("action/know.py", KNOW),
    ):
        (place / "plugins" / path).write_text(text)
    hosts = {name: {"ansible_python_interpreter": sys.executable} for name in NODES}
    groups = {"postgres": {name: hosts[name] for name in NODES[:3]}, "witness": {"w1": hosts["w1"]}}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({name: {"hosts": some} for name, some in groups.items()}))
    (tmp_path / "play.yml").write_text(STATE)
    return tmp_path


def model() -> dict[str, Any]:
    below = [Host(name, ("postgres",), {"node_id": int(name[2:]), "upstream": "pg1"}) for name in NODES[1:3]]
    hosts = [Host("pg1", ("postgres",), {"node_id": 1}), *below, Host("w1", ("witness",), {"node_id": 9})]
    return dict(plain(build(hosts, {"cluster_name": "demo"}).to_dict()))


@pytest.fixture
def playbook(collection: Path) -> Path:
    """The playbook restart in the place of the role's tasks alone."""
    shutil.copy(ROOT / "playbooks/restart.yml", collection / "play.yml")
    (collection / "reachable.yml").write_text(REACH)
    for name in ("switchover", "health"):
        (collection / f"{name}.yml").write_text(LATER % name)
    role = collection / "ansible_collections/pgherd/cluster/roles/cluster/tasks/model.yml"
    role.write_text('- pgherd.cluster.know: {cluster: "{{ model }}"}\n')
    inventory = yaml.safe_load((collection / "inventory.yml").read_text())
    here = {"ansible_connection": "local", "cluster_become": False}
    inventory["all"] = {"vars": here}
    (collection / "inventory.yml").write_text(yaml.safe_dump(inventory))
    return collection


def play(place: Path, fails: str = "nobody", **variables: Any) -> tuple[int, list[dict[str, Any]], str]:
    """The run's exit code, what it asked of the modules, in order, and what it said."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(place), "ASKED": str(place / "asked"), "FAILS": fails}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.yml", "play.yml"]
    argv += ["-e", json.dumps({"model": model(), "cluster_restart_primary": True, **variables})]
    done = subprocess.run(
        argv, env={**own, **settings}, cwd=place, capture_output=True, text=True, timeout=300, check=False
    )
    assert (place / "asked").exists(), done.stdout + done.stderr
    said = done.stdout + done.stderr
    return done.returncode, [json.loads(line) for line in (place / "asked").read_text().splitlines()], said


def test_one_after_the_other_and_the_primary_last(collection: Path) -> None:
    rc, asked, said = play(collection)
    assert rc == 0, said
    assert [(one["node"], one["restart"], one["failed"]) for one in asked] == [
        ("pg2", True, None),
        ("pg3", True, None),
        ("w1", True, None),
        ("pg1", True, None),
    ]
    # Each could go back.
    assert all(one["previous"] for one in asked)


def test_those_that_wait_go_back_where_one_did_not_come_back(collection: Path) -> None:
    rc, asked, said = play(collection, fails="pg2")
    assert rc == 2, said
    assert (asked[0]["node"], asked[0]["restart"]) == ("pg2", True)
    # pg3 had no turn and the primary no restart: a crash of either finds a file that it has started with.
    assert sorted((one["node"], one["restart"], one["failed"]) for one in asked[1:]) == [
        ("pg1", None, ["pg2"]),
        ("pg3", None, ["pg2"]),
        ("w1", None, ["pg2"]),
    ]
    assert all(one["previous"] for one in asked)


def test_a_primary_that_may_not_be_restarted_is_told_of(collection: Path) -> None:
    rc, asked, said = play(collection, cluster_restart_primary=False)
    assert rc == 0, said
    assert [one["node"] for one in asked] == ["pg2", "pg3", "w1"]
    assert "pg1 still waits for a restart to take {'huge_pages': 'try -> on'}" in said
    assert "w1 still waits" not in said


def test_standbys_take_a_lower_limit_when_they_know_that_the_primary_has_it(collection: Path) -> None:
    rc, asked, said = play(collection, lowered=["max_connections"], waits=False)
    assert rc == 0, said
    assert (asked[0]["node"], asked[0]["restart"]) == ("pg1", True)
    looks, knows, restarts = asked[1:4], asked[4:6], asked[6:]
    assert sorted(one["node"] for one in looks if one.get("looked")) == ["pg1", "pg2", "pg3"]
    assert sorted((one["node"], one["files_changed"]) for one in knows) == [("pg2", True), ("pg3", True)]
    assert [(one["node"], one["restart"], bool(one["previous"])) for one in restarts] == [
        ("pg2", True, True),
        ("pg3", True, True),
    ]


def test_a_standby_that_does_not_come_back_with_a_lower_limit_is_the_last(collection: Path) -> None:
    rc, asked, said = play(collection, fails="pg2", lowered=["max_connections"], waits=False)
    assert rc == 2, said
    assert [(one["node"], one["restart"]) for one in asked if one.get("restart")] == [("pg1", True), ("pg2", True)]
    back = [(one["node"], one["failed"]) for one in asked if one.get("failed")]
    assert sorted(back) == [("pg1", ["pg2"]), ("pg3", ["pg2"]), ("w1", ["pg2"])]


def test_the_primary_hands_over_when_all_others_came_back(playbook: Path) -> None:
    rc, asked, said = play(playbook)
    assert rc == 0, said
    assert [one["node"] for one in asked if one.get("restart")] == ["pg2", "pg3", "w1"]
    assert "comes to switchover" in said
    assert "comes to health" in said


@pytest.mark.parametrize(("fails", "in_place"), [("pg2", False), ("w1", True)])
def test_no_primary_hands_over_or_is_restarted_when_one_did_not_come_back(
    playbook: Path, fails: str, in_place: bool
) -> None:
    rc, asked, said = play(playbook, fails=fails, cluster_restart_in_place=in_place)
    assert rc == 2, said
    turns = ["pg2", "pg3", "w1"]
    assert [one["node"] for one in asked if one.get("restart")] == turns[: turns.index(fails) + 1]
    assert f"{fails} did not come back from the restart" in said
    assert "comes to" not in said
