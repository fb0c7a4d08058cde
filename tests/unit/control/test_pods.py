# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How playbooks reach hosts that are pods: by what the inventory says of the cluster, and nothing that is Ansible's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pgherd.cluster.plugins.lookup.pods import LookupModule

ROLES = Path(__file__).resolve().parents[3] / "roles"


def reached(**said: Any) -> list[dict[str, str]]:
    """What the lookup says where each host has what is *said* for all."""
    groups = {"postgres": ["pg-0", "pg-1"], "pgpool": ["pool"], "barman": ["backup-0"]}
    hostvars = {name: dict(said) for names in groups.values() for name in names}
    return LookupModule().run([], {"groups": groups, "hostvars": hostvars, "inventory_hostname": "pg-0"})[0]


def test_where_no_host_is_a_pod_there_is_no_way() -> None:
    assert reached() == reached(place="host") == reached(place="") == []


@pytest.mark.parametrize(
    ("said", "namespace", "kubeconfig", "context"),
    [
        ({}, "pgherd", "", ""),
        ({"cluster_name": "orders"}, "orders", "", ""),
        ({"cluster_name": "orders", "cluster_namespace": "db"}, "db", "", ""),
        (
            {"cluster_kubeconfig": "/srv/admin.conf", "cluster_kube_context": "prod"},
            "pgherd",
            "/srv/admin.conf",
            "prod",
        ),
    ],
)
def test_ways(said: dict[str, str], namespace: str, kubeconfig: str, context: str) -> None:
    found = reached(place="pod", **said)
    assert {one["name"]: one["pod"] for one in found} == {
        "pg-0": "pg-0",
        "pg-1": "pg-1",
        "pool": "deployment/pool",
        "backup-0": "backup-0",
    }
    for one in found:
        assert (one["namespace"], one["kubeconfig"], one["context"]) == (namespace, kubeconfig, context)


def test_only_those_that_are_pods() -> None:
    variables = {
        "groups": {"postgres": ["pg-0", "pg1"]},
        "hostvars": {"pg-0": {"place": "pod"}, "pg1": {"place": "host"}},
    }
    assert [one["name"] for one in LookupModule().run([], variables)[0]] == ["pg-0"]


def test_where_ansible_only_lists_nothing_is_known_of_hosts() -> None:
    assert LookupModule().run([], {"groups": {"postgres": ["pg-0"]}}) == [[]]


def test_all_of_a_way_is_told_to_the_connection() -> None:
    which, task = yaml.safe_load((ROLES / "cluster/tasks/pods.yml").read_text(encoding="utf-8"))
    told = "".join(str(value) for value in task["ansible.builtin.add_host"].values())
    assert {key for key in reached(place="pod")[0] if f"pod.{key} " not in told} == set()
    assert task["ansible.builtin.add_host"]["ansible_become"] is False
    # Nobody gets a way to pods before that.
    assert "pgherd.cluster.cluster_kubernetes" in which
