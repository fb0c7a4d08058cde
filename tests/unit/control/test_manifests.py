# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Objects as files: what is read from them is what would be applied, and no secret is among them unless it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import test_kubernetes
import yaml
from ansible.errors import AnsibleError
from ansible_collections.pgherd.cluster.plugins.lookup.manifests import LookupModule
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import Wanted
from ansible_collections.pgherd.cluster.plugins.plugin_utils._manifests import manifests, stale
from test_kubernetes import HOSTS

task = test_kubernetes.task
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-write"}}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "db"}}
MANY_LINES = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "demo"},
    "data": {"cluster.json": '{\n "a": "yes",\n "b": [1]\n}\n', "on": "true", "number": "5432"},
}


def files(variables: dict[str, Any], what: str = "files", **given: Any) -> Any:
    for name in HOSTS:
        variables["hostvars"][name].update({f"cluster_manifests_{key}": value for key, value in given.items()})
    return LookupModule().run([what], variables)[0]


def test_the_namespace_comes_first() -> None:
    found = manifests("demo", [SERVICE, MANY_LINES, NAMESPACE])
    assert sorted(found) == ["0-namespace-db.yml", "configmap-demo.yml", "service-demo-write.yml"]


def test_what_is_read_is_what_was_written() -> None:
    (text,) = manifests("demo", [MANY_LINES]).values()
    assert yaml.safe_load(text) == MANY_LINES
    # A change of one line is one line for who reads the change.
    assert '\n     "a": "yes",\n' in text


def test_only_files_of_its_own_are_stale(tmp_path: Path) -> None:
    for name, text in {**manifests("demo", [SERVICE, NAMESPACE]), **manifests("other", [MANY_LINES])}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "kustomization.yml").write_text("resources: []\n")
    (tmp_path / "service-demo-write.txt").write_text("# Written by pgherd's playbook manifests, of cluster demo.\n")
    os.mkdir(tmp_path / "folder.yml")
    assert stale(str(tmp_path), "demo", ["0-namespace-db.yml"]) == ["service-demo-write.yml"]
    assert stale(str(tmp_path), "demo", []) == ["0-namespace-db.yml", "service-demo-write.yml"]
    assert stale(str(tmp_path / "nowhere"), "demo", []) == []


def test_all_that_would_be_applied_is_written(task: dict[str, Any], tmp_path: Path) -> None:
    wanted = Wanted(task)
    without = files(task, directory=str(tmp_path / "out"))
    read = [yaml.safe_load(text) for text in without.values()]
    assert read == [wanted.namespace, *wanted.objects(secret=False)]
    assert not any(item["kind"] == "Secret" for item in read)
    with_secrets = files(task, directory=str(tmp_path / "out"), secrets=True)
    read = [yaml.safe_load(text) for text in with_secrets.values()]
    assert read == [wanted.namespace, *wanted.objects(secret=False), *wanted.objects(secret=True)]
    assert {name for name in with_secrets if name not in without} == {
        "secret-demo-nodes.yml",
        "secret-demo-pgpool.yml",
        "secret-demo-barman.yml",
    }


def test_secrets_do_not_stay(task: dict[str, Any], tmp_path: Path) -> None:
    for name, text in files(task, directory=str(tmp_path), secrets=True).items():
        (tmp_path / name).write_text(text)
    assert files(task, "stale", directory=str(tmp_path), secrets=True) == []
    assert files(task, "stale", directory=str(tmp_path), secrets=False) == [
        "secret-demo-barman.yml",
        "secret-demo-nodes.yml",
        "secret-demo-pgpool.yml",
    ]


def test_a_directory_is_named(task: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleError, match="Name the directory to write into"):
        files(task)
    monkeypatch.chdir(tmp_path)
    assert files(task, "directory", directory="out") == str(tmp_path / "out")
