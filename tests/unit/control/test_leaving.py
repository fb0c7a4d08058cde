# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node leaves in the order of docs/removing.md, by the names of the core's stages, from hosts that can do it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.pgherd.cluster.plugins.action import cluster_removal
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import Host, build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members import removal

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOK = ROOT / "playbooks/remove.yml"
NAMES = "PostgreSQL knows its configuration"
ORDER = [
    "Whether the node may leave",
    NAMES,
    "What it has acknowledged is elsewhere too, and nobody follows it",
    "What serves is attached, and what does not is not",
    "PostgreSQL stops",
    "Repmgrd and the agent run with their files as they stand",
    NAMES,
    "Its record and its slots are gone",
    "WAL is received and a backup is there; the first one copies all data",
]


def loaded(path: Path) -> Any:
    return DataLoader().load_from_file(str(path), trusted_as_template=True)


def test_the_order_is_the_one_that_loses_nothing() -> None:
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(Path(cluster_removal.__file__).parents[5]), "COLUMNS": "500"}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "--list-tasks"]
    argv += ["-i", str(ROOT / "examples/demo/inventory.yml"), str(PLAYBOOK)]
    done = subprocess.run(argv, env={**own, **settings}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    tasks = re.findall(r"^      (?:pgherd\.cluster\.\w+ : )?(.*)\tTAGS", done.stdout, re.MULTILINE)
    assert [task for task in tasks if task in ORDER] == ORDER


def test_what_is_done_once_is_done_from_a_data_node() -> None:
    """The first host of the play: the one that leaves and hosts without a data node's passwords are none."""
    groups = {
        "postgres": ["pg3", "pg1", "pg2"],
        "witness": ["a1"],
        "pgpool": ["a2"],
        "staying": ["a1", "a2", "pg1", "pg2"],
        "leaving": ["pg3"],
    }
    verbs = {"postgres/leave", "repmgr/forget"}
    found = {}
    for play in loaded(PLAYBOOK):
        for task in play.get("tasks", ()):
            role = task.get("ansible.builtin.import_role") or {}
            verb = f"{str(role.get('name')).rpartition('.')[2]}/{role.get('tasks_from')}"
            if verb in verbs:
                found[verb] = Templar(DataLoader(), {"groups": groups}).template(play["hosts"])
    assert found == {verb: ["pg1", "pg2", "a1"] for verb in verbs}


def test_who_is_new_is_not_named_before_agents_are_told() -> None:
    """pg3 is below pg2 and becomes electable when that leaves."""
    below = {"pg2": "pg1", "pg3": "pg2", "pg4": "pg1", "pg5": "pg1"}
    nodes = [Host(name, ("postgres",), {"node_id": int(name[2:]), "upstream": above}) for name, above in below.items()]
    cluster = build([Host("pg1", ("postgres",), {"node_id": 1}), *nodes], {"cluster_name": "demo"})
    facts = {"cluster_removal": removal.models(cluster, "pg2", "pg1")}
    first, pods = [task for task in loaded(ROOT / "roles/postgres/tasks/leave.yml") if "vars" in task]
    templar = Templar(DataLoader(), {**facts, "cluster_remove": "pg2"})
    named = {"names": ["pg1", "pg4", "pg5"], "needed": 1}
    assert templar.template(first["vars"]) == {"postgres_named": named}
    told = templar.template(pods["vars"])
    assert (told["postgres_leaving"], told["postgres_stage"]["named"]) == ("pg2", named)
    assert "pg2" in told["postgres_stage"]["counted"]["names"]
    forget = loaded(ROOT / "roles/repmgr/tasks/forget.yml")
    # Pods count it, then name it.
    stages = [*loaded(ROOT / "roles/repmgr/tasks/pod_forget.yml")[1:], *forget]
    found = [
        templar.template(task["vars"])["postgres_stage"] for task in stages if "postgres_stage" in task.get("vars", ())
    ]
    assert [("pg3" in stage["counted"]["names"], "pg3" in stage["named"]["names"]) for stage in found] == [
        (True, False),
        (True, True),
    ]
    (last,) = [task for task in forget if task["name"] == "PostgreSQL"]
    assert last["ansible.builtin.import_role"]["tasks_from"] == "tell"
    assert "vars" not in last
    assert removal.rest(cluster, "pg2", "pg1").electable_names == ("pg1", "pg3", "pg4", "pg5")
