# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a living cluster in pods cannot become is refused in a sentence, and nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faults.cluster import Cluster
from faults.suite.test_pods_serving import kubectl

pytestmark = pytest.mark.pods
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "smaller claims": (
        {"cluster_storage_size": "512Mi"},
        "cluster_storage_size is 512Mi, and the claim data-pg-0 has 1Gi",
    ),
    "more claims": ({"cluster_wal_storage_size": "1Gi"}, "pg: its pods would have other claims (wal)"),
    "another class": ({"cluster_storage_class": "another"}, "pg: claims cannot get another cluster_storage_class"),
    "another durability": ({"cluster_durability": "async"}, "cluster_durability is strict in this cluster"),
    "another cluster of the name": ({"cluster_secrets_directory": "DIRECTORY"}, "have another authority"),
}


def marks(cluster: Cluster) -> dict[str, str]:
    """By object the version in which Kubernetes has it; pods change by themselves."""
    kinds = "statefulsets,deployments,secrets,persistentvolumeclaims,poddisruptionbudgets,networkpolicies,services"
    items = json.loads(kubectl(cluster, "get", kinds, "-o", "json"))["items"]
    found = {f"{item['kind']} {item['metadata']['name']}": item["metadata"] for item in items}
    return {name: str(one.get("generation") or one["resourceVersion"]) for name, one in found.items()}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_changed(cluster: Cluster, tmp_path: Path, case: str) -> None:
    extra, sentence = CASES[case]
    told = {name: str(tmp_path) if value == "DIRECTORY" else value for name, value in extra.items()}
    before = marks(cluster)
    run = cluster.play("site", told)
    assert run.rc != 0, run
    assert sentence in " ".join(run.failed.values()), run
    assert marks(cluster) == before
