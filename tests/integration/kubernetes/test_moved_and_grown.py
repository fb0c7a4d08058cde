# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Claims grow where their class lets them, above pods that run on; and a cluster is not looked for in another Kubernetes. One
story: each test goes on where the one before it ended.

What the storage makes of a larger claim is not seen here: the lab's makes nothing of it, whatever the class says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from small_pods import SmallPods, asked, kubectl, reachable

pytestmark = pytest.mark.more
LATER = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPods]:
    """A namespace that is not there yet, and a storage class of its own, as the default one but that it lets claims grow."""
    reachable()
    cluster = SmallPods(tmp_path_factory.mktemp("grown"), {"cluster_pod_timeout": 240})
    classes = json.loads(kubectl("get", "storageclasses", "-o", "json"))["items"]
    mark = "storageclass.kubernetes.io/is-default-class"
    (usual,) = [one for one in classes if (one["metadata"].get("annotations") or {}).get(mark) == "true"]
    own = {**usual, "metadata": {"name": cluster.space}, "allowVolumeExpansion": True}
    kubectl("create", "-f", "-", told=json.dumps(own))
    cluster.variables["cluster_storage_class"] = cluster.space
    yield cluster
    cluster.remove()
    asked("delete", "storageclass", cluster.space, "--ignore-not-found")


def sizes(small: SmallPods) -> dict[str, str]:
    """By claim, and by StatefulSet, what it asks for."""
    wanted = {item["metadata"]["name"]: item["spec"] for item in small.found("pvc")}
    for item in small.found("statefulsets"):
        (wanted[item["metadata"]["name"]],) = (claim["spec"] for claim in item["spec"]["volumeClaimTemplates"])
    return {name: spec["resources"]["requests"]["storage"] for name, spec in wanted.items()}


def all_of(size: str) -> dict[str, str]:
    return dict.fromkeys(("data-pg-0", "data-pg-1", "pg"), size)


def refused(small: SmallPods, playbook: str = "site", extra: dict[str, Any] | None = None) -> str:
    run = small.play(playbook, extra)
    assert run.rc != 0, run
    return " ".join(run.failed.values())


def test_a_cluster_is_made(small: SmallPods) -> None:
    run = small.play("site")
    assert run.rc == 0, run
    assert sizes(small) == all_of("1Gi")


def test_claims_do_not_shrink(small: SmallPods) -> None:
    said = refused(small, extra={"cluster_storage_size": "512Mi"})
    assert said == "cluster_storage_size is 512Mi, and the claim data-pg-0 has 1Gi: claims cannot shrink; set 1Gi."
    assert sizes(small) == all_of("1Gi")


def test_claims_grow_above_pods_that_run_on(small: SmallPods) -> None:
    before = small.uids()
    small.variables["cluster_storage_size"] = "2Gi"
    run = small.play("site", None, None, "--check")
    assert run.rc == 0, run
    assert sizes(small) == all_of("1Gi")
    run = small.play("site")
    assert run.rc == 0, run
    assert sizes(small) == all_of("2Gi")
    assert small.uids() == before
    run = small.play("site")
    assert (run.rc, run.changed) == (0, {}), run
    assert small.uids() == before


def test_a_class_that_lets_none_grow(small: SmallPods) -> None:
    kubectl("patch", "storageclass", small.space, "-p", '{"allowVolumeExpansion": false}')
    said = refused(small, extra={"cluster_storage_size": "3Gi"})
    assert f"the claim data-pg-0 cannot grow: its storage class {small.space} lets none grow; set 2Gi" in said
    assert sizes(small) == all_of("2Gi")


def test_another_kubernetes_is_refused(small: SmallPods) -> None:
    """As it is seen by the control machine: this one has another UID than the last."""
    kept = small.secrets / "kubernetes.json"
    told = json.loads(kept.read_text())
    assert told["system"] == json.loads(kubectl("get", "namespace", "kube-system", "-o", "json"))["metadata"]["uid"]
    assert told["uid"] == json.loads(kubectl("get", "namespace", small.space, "-o", "json"))["metadata"]["uid"]
    assert small.play("status").rc == 0
    kept.write_text(json.dumps({**told, "system": LATER}))
    for playbook in ("site", "status", "switchover"):
        assert f"UID {told['system']}, and that of the last time" in refused(small, playbook)
    kept.unlink()
    assert small.play("status").rc == 0
    assert not kept.exists()
    run = small.play("site")
    assert run.rc == 0, run
    assert json.loads(kept.read_text()) == told


def test_with_rights_in_the_namespace_alone(small: SmallPods) -> None:
    """By the token of an account that administers it."""
    small.kubectl("create", "serviceaccount", "only-here")
    small.kubectl(
        "create", "rolebinding", "only-here", "--clusterrole=admin", f"--serviceaccount={small.space}:only-here"
    )
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": small.kubectl("create", "token", "only-here").strip()}
    path = small.directory / "only-here.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    own = {"cluster_kubeconfig": str(path)}
    assert asked("--kubeconfig", str(path), "get", "namespace", "kube-system").returncode != 0
    run = small.play("status", own)
    assert run.rc == 0, run
    kept = small.secrets / "kubernetes.json"
    told = json.loads(kept.read_text())
    kept.write_text(json.dumps({**told, "uid": LATER}))
    assert f"or the namespace was made anew: its namespace {small.space} has the UID {told['uid']}" in refused(
        small, "status", own
    )
    kept.write_text(json.dumps(told))
