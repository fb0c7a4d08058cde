# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""apt is asked where a package is missing and nowhere else, and what prepares for packages is stated in every run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.pgherd.cluster.plugins.action import host_info
from ansible_collections.pgherd.cluster.plugins.lookup import files
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster, _run

ROLE = Path(__file__).resolve().parents[3] / "roles/cluster/tasks"
MODEL: dict[str, Any] = _cluster.plain(
    build(
        [Host("pg1", ("postgres",), {"node_id": 1}), Host("pool1", ("pgpool",))],
        {"cluster_name": "demo", "cluster_durability": "async", "cluster_postgres_version": 17},
    ).to_dict()
)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pg1", ["postgresql-17", "postgresql-17-repmgr", "sudo", "acl", "less"]),
        ("pool1", ["pgpool2", "acl", "less"]),
    ],
)
def test_each_host_is_asked_for_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, wanted: list[str]
) -> None:
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    _run.remember("cluster_model", MODEL)
    _run.remember("cluster_secrets_path", str(tmp_path / "secrets"))
    monkeypatch.setattr(host_info.ActionBase, "run", lambda *_given, **_more: {})
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        host_info.ActionModule, "_execute_module", lambda _self, **given: asked.update(given["module_args"]) or {}
    )
    one = {
        "inventory_hostname": name,
        "cluster_model": MODEL,
        "cluster_secrets_path": str(tmp_path / "secrets"),
        "cluster_packages_extra": "acl, less",
    }
    action = host_info.ActionModule.__new__(host_info.ActionModule)
    action._task = SimpleNamespace(args={}, check_mode=False)
    action.run(task_vars={"inventory_hostname": name, "hostvars": {name: one}})
    assert [package for package in asked["packages"] if not package.startswith("python3-")] == wanted


@pytest.mark.parametrize("missing", [[], ["acl"]])
def test_what_prepares_for_packages_is_stated_once(monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> None:
    """It has to be there before apt is asked; with nothing to install, a changed repository is written all the same."""
    monkeypatch.setattr(files.LookupModule, "run", lambda _self, terms, *_given, **_more: [list(terms)])
    loader = DataLoader()
    templar = Templar(loader, {"cluster_host": {"missing": missing}})
    packages = loader.load_from_file(str(ROLE / "packages.yml"), trusted_as_template=True)
    first = next(task for task in packages if task["name"] == "Prepare for the packages")
    install = next(task for task in packages if "block" in task)
    assert packages.index(first) < packages.index(install)
    base = loader.load_from_file(str(ROLE / "base.yml"), trusted_as_template=True)[0]
    chapters = loader.load_from_file(str(ROLE / "host.yml"), trusted_as_template=True)
    assert ["packages.yml" in chapter.values() for chapter in chapters] == [True, False]
    needed = templar.evaluate_conditional(chapters[0]["when"])
    assert needed == bool(missing)
    stated = []
    for task in (first, base) if needed else (base,):
        stated += templar.template(task["pgherd.cluster.host_files"]["files"])
    assert stated == ["repository", "base"]
    assert not {"when"} & {*first, *install, *base}
