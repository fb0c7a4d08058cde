# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How many tasks each data node of the demo meets in a run of the site playbook that has nothing to do.

Ansible itself plays and counts, as for tests/bench/site.py; the playbook, the roles, and what is decided on the control machine
are the real ones. What would go to a host is answered here as hosts of a finished cluster do.
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
# docs/figures.md.
MOST = 25
ADDRESS = {f"pg{at}": f"172.30.80.{10 + at}" for at in range(1, 6)}
FILES: dict[str, Any] = {"changed_paths": [], "before": {}, "after": {}}


def said(host: str, primary: str) -> dict[str, dict[str, Any]]:
    """By module, what it says on the *host*."""
    role = "primary" if host == primary else "standby"
    instance = {"name": host, "data": "cluster", "running": True, "role": role, "pending": {}}
    ways = {name: {"sources": {address: ADDRESS[host]}, "why": ""} for name, address in ADDRESS.items()}
    return {
        "host_addresses": {"own": [ADDRESS[host]], "ways": ways, "distribution": "Debian", "release": "13"},
        "host_info": {"found": {"name": host}, "missing": []},
        "host_files": FILES,
        "postgres_instance_info": {"instance": instance},
        "postgres_instance": {"instance": instance, "writable": host == primary, "before": instance, "left_alone": ""},
        "repmgr_node": {"ansible_facts": {"repmgr_node": {"changed": False, "member": True, "repmgrd": "running"}}},
        **{name: {} for name in ("pg_roles", "pg_tablespaces", "cluster_identity", "host_units", "cluster_info")},
        "pg_extensions": {"waiting": []},
        "postgresql_db": {},
    }


ACTION = """\
import json, os
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        host, name = task_vars["inventory_hostname"], self._task.action.rpartition(".")[2]
        with open(os.environ["ASKED"], "a") as stream:
            stream.write(f"{host} {name}\\n")
        with open(os.environ["SAID"]) as stream:
            return {"changed": False, **json.load(stream)[host][name]}
"""


def put(place: Path, primary: str) -> None:
    """The collection in *place*, with what answers for hosts."""
    ours, others = (
        place / f"ansible_collections/{name}/plugins/action" for name in ("pgherd/cluster", "community/postgresql")
    )
    shutil.copytree(ROOT / "plugins", ours.parent, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("roles", "playbooks", "meta"):
        (ours.parents[1] / folder).symlink_to(ROOT / folder)
    others.mkdir(parents=True)
    answers = {host: said(host, primary) for host in ADDRESS}
    for name in answers["pg1"]:
        ((others if name == "postgresql_db" else ours) / f"{name}.py").write_text(ACTION)
    (others.parent / "modules").mkdir()
    (others.parent / "modules/postgresql_db.py").write_text("")
    (place / "said").write_text(json.dumps(answers))
    # The demo, without what is beside its nodes.
    inventory = yaml.safe_load((ROOT / "examples/demo/inventory.yml").read_text(encoding="utf-8"))
    del inventory["pgpool"], inventory["barman"]
    inventory["all"]["vars"] |= {"ansible_connection": "local", "cluster_become": False}
    (place / "inventory.yml").write_text(yaml.safe_dump(inventory))


def play(place: Path) -> tuple[dict[str, dict[str, int]], list[str]]:
    """What Ansible counted for each host, and what was asked, as "host module", in order."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(place),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_FORKS": "2",
        "ASKED": str(place / "asked"),
        "SAID": str(place / "said"),
    }
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.yml", "pgherd.cluster.site"]
    done = subprocess.run(
        argv, env={**own, **settings}, cwd=place, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])["stats"], (place / "asked").read_text().splitlines()


@pytest.mark.parametrize("primary", ["pg1", "pg5"])
def test_no_data_node_meets_more_tasks_than_the_figure_says(tmp_path: Path, primary: str) -> None:
    put(tmp_path, primary)
    stats, asked = play(tmp_path)
    counted = {host: one["ok"] + one["skipped"] for host, one in stats.items()}
    assert max(counted.values()) <= MOST, counted
    # No node before one that it may follow, and no repmgrd before the nodes.
    nodes = [line.split()[0] for line in asked if line.endswith("repmgr_node")]
    assert [nodes[0], sorted(nodes[1:3]), sorted(nodes[3:])] == ["pg1", ["pg2", "pg4"], ["pg3", "pg5"]]
    assert [line.split()[1] for line in asked].index("host_units") > max(
        asked.index(f"{host} repmgr_node") for host in nodes
    )
    assert [line for line in asked if line.endswith("pg_extensions")] == [f"{primary} pg_extensions"]
