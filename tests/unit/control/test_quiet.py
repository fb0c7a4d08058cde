# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A run that is right prints no warning, whichever groups an inventory has; one without a host of ours ends in a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pgherd.cluster.plugins.action import cluster_model

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
INVENTORIES = [
    *ROOT.glob("examples/*/inventory.yml"),
    *ROOT.glob("molecule/*/inventory.yml"),
    ROOT / "tests/faults/tree.yml",
]
NODES_ONLY = "[postgres]\npg1 node_id=1\npg2 node_id=2 upstream=pg1\n"
NOBODY = "[db]\npg1 node_id=1\n"


def shape(path: Path) -> tuple[str, ...]:
    """Which of our groups an inventory has: those with the same ones warn of the same."""
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {*data, *data.get("all", {}).get("children", {})}
    return tuple(sorted(found & {"postgres", "witness", "pgpool", "barman"}))


SHAPES = {shape(path): path for path in sorted(INVENTORIES)}


def play(collections: str, inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
        "COLUMNS": "500",
    }
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    argv = [str(program), "-i", str(inventory), *words]
    return subprocess.run(argv, env={**own, **settings}, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def collections() -> str:
    """Where conftest.py has made the collection known."""
    return str(Path(cluster_model.__file__).parents[5])


@pytest.mark.parametrize("groups", [*sorted(SHAPES), ("postgres",)], ids="-".join)
def test_no_playbook_warns(collections: str, tmp_path: Path, groups: tuple[str, ...]) -> None:
    inventory = SHAPES.get(groups, tmp_path / "nodes.ini")
    if groups not in SHAPES:
        inventory.write_text(NODES_ONLY)
    done = play(collections, inventory, *map(str, PLAYBOOKS), "--list-tasks")
    assert (done.returncode, done.stderr) == (0, "")
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_group_is_named_that_may_not_be_there(path: Path) -> None:
    """Groups that a run makes, too: Ansible warns of a pattern that is no group."""
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert re.match(
            r"localhost$|\{\{.*(default\(\[\]\)|select\('in', groups\)|lookup\('pgherd.cluster.pods'\))",
            entry.get("hosts", "{{ default([])"),
            re.DOTALL,
        )


@pytest.mark.parametrize("name", ["site", "status"])
def test_an_inventory_without_a_host_of_ours_is_told(collections: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "inventory").write_text(NOBODY)
    done = play(collections, tmp_path / "inventory", str(ROOT / f"playbooks/{name}.yml"))
    assert done.returncode == 2
    assert "No host is in any of the groups postgres, witness, pgpool, barman" in done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
