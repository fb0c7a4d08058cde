# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the role asks of which node when settings wait for a restart, and one of the nodes does not come back from its own.

The role's own tasks run, with a module in the place of postgres_instance that writes down what it is asked.
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

ROOT = Path(__file__).resolve().parents[3]
MODULE = """\
from ansible.module_utils.basic import AnsibleModule
import json, os
types = {"cluster": "dict", "node": "str", "postgres_version": "int", "restart": "bool", "previous": "dict", "always": "bool"}
spec = {**{name: {"type": kind} for name, kind in types.items()}, "failed": {"type": "list", "elements": "str"}}
module = AnsibleModule(argument_spec=spec)
asked = module.params
with open(os.environ["ASKED"], "a") as stream:
    stream.write(json.dumps(asked) + "\\n")
if asked["restart"] and asked["node"] == os.environ["FAILS"]:
    module.fail_json(msg="did not start")
module.exit_json(changed=True, instance={"name": asked["node"], "limits": {}})
"""
LOOKUP = """\
from ansible.plugins.lookup import LookupBase

class LookupModule(LookupBase):
    def run(self, terms, variables=None, **options):
        return [variables[terms[0]]] if terms else [17]
"""
# By node, what main.yml has learned before.
STATE = """
- hosts: all
  gather_facts: false
  connection: local
  vars:
    cluster_model: {}
    cluster_restart_primary: true
  tasks:
    - ansible.builtin.set_fact:
        postgres_files: {before: {/etc/postgresql/17/main/postgresql.conf: {kind: file, content: old}}}
        postgres_state:
          left_alone: ""
          instance:
            name: "{{ inventory_hostname }}"
            role: "{{ 'primary' if inventory_hostname == 'pg1' else 'standby' }}"
            lowered: []
            pending: {huge_pages: try -> on}
    - ansible.builtin.include_role: {name: pgherd.cluster.postgres, tasks_from: restart}
"""


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    place = tmp_path / "ansible_collections/pgherd/cluster"
    shutil.copytree(ROOT / "roles/postgres", place / "roles/postgres")
    for folder, name, text in (
        ("modules", "postgres_instance", MODULE),
        ("lookup", "variable", LOOKUP),
        ("lookup", "postgres_version", LOOKUP),
    ):
        (place / "plugins" / folder).mkdir(parents=True, exist_ok=True)
        (place / "plugins" / folder / f"{name}.py").write_text(text)
    hosts = {name: {"ansible_python_interpreter": sys.executable} for name in ("pg1", "pg2", "pg3")}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (tmp_path / "play.yml").write_text(STATE)
    return tmp_path


def play(place: Path, fails: str) -> tuple[int, list[dict[str, Any]]]:
    """The run's exit code, and what it asked of the module, in order."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(place), "ASKED": str(place / "asked"), "FAILS": fails}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.yml", "play.yml"]
    done = subprocess.run(
        argv, env={**own, **settings}, cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    assert (place / "asked").exists(), done.stdout + done.stderr
    return done.returncode, [json.loads(line) for line in (place / "asked").read_text().splitlines()]


def test_one_after_the_other_and_the_primary_last(collection: Path) -> None:
    rc, asked = play(collection, fails="nobody")
    assert rc == 0
    assert [(one["node"], one["restart"], one["failed"]) for one in asked] == [
        ("pg2", True, None),
        ("pg3", True, None),
        ("pg1", True, None),
    ]
    # Each could go back.
    assert all(one["previous"] for one in asked)


def test_those_that_wait_go_back_where_one_did_not_come_back(collection: Path) -> None:
    rc, asked = play(collection, fails="pg2")
    assert rc == 2
    assert (asked[0]["node"], asked[0]["restart"]) == ("pg2", True)
    # pg3 had no turn and the primary no restart: a crash of either finds a file that it has started with.
    assert sorted((one["node"], one["restart"], one["failed"]) for one in asked[1:]) == [
        ("pg1", None, ["pg2"]),
        ("pg3", None, ["pg2"]),
    ]
    assert all(one["previous"] for one in asked)
