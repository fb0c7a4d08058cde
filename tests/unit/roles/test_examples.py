# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every inventory that people copy, and the README's, describes a cluster that pgherd takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pgherd.inventory.build import GROUPS, build
from pgherd.inventory.variables import Host

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*/inventory.yml"))
DEFAULTS = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text())


def hosts(text: str) -> list[Host]:
    """The hosts of a YAML inventory with groups at the top or below all, as Ansible merges their variables."""
    data: dict[str, Any] = yaml.safe_load(text)
    common = data.get("all", {}).get("vars", {})
    groups = {**data.get("all", {}).get("children", {}), **data}
    found: dict[str, Host] = {}
    for group in GROUPS:
        entry = groups.get(group) or {}
        for name, own in (entry.get("hosts") or {}).items():
            variables = {**common, **(entry.get("vars") or {}), **(own or {})}
            before = found.get(name, Host(name, (), {}))
            found[name] = Host(name, (*before.groups, group), {**before.variables, **variables})
    return list(found.values())


def readme() -> str:
    match = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert match is not None
    return match[1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_example_is_taken(path: Path) -> None:
    cluster = build(hosts(path.read_text()), DEFAULTS)
    assert cluster.data_nodes
    assert {key for key in hosts(path.read_text())[0].variables if key.startswith("cluster_")} <= set(DEFAULTS)


def test_readme_inventory_is_taken() -> None:
    cluster = build(hosts(readme()), DEFAULTS)
    assert [node.name for node in cluster.electable] == ["db1", "db2", "db3"]
    assert len(readme().strip().splitlines()) <= 12
