# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Objects that were written as files are enough for pods to make a cluster by themselves, whatever comes first; the playbook then
adds what is inside PostgreSQL. One story: each test goes on where the one before it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from machine import LabError, until
from small_pods import SmallPods, kubectl, reachable

pytestmark = pytest.mark.more


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPods]:
    """A cluster of which only files are there."""
    reachable()
    cluster = SmallPods(tmp_path_factory.mktemp("by-hand"))
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def files(small: SmallPods) -> dict[str, Path]:
    """What the playbook wrote, by file name, the namespace first. Nobody asked Kubernetes for it."""
    out = small.directory / "out"
    extra = {"cluster_manifests_directory": str(out), "cluster_manifests_secrets": True}
    run = small.play("manifests", extra, {"KUBECONFIG": "/nowhere"})
    assert run.rc == 0, run
    return {path.name: path for path in sorted(out.iterdir())}


def test_without_a_word_no_secret_is_written(small: SmallPods) -> None:
    out = small.directory / "public"
    run = small.play("manifests", {"cluster_manifests_directory": str(out)}, {"KUBECONFIG": "/nowhere"})
    assert run.rc == 0, run
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in out.iterdir()}
    assert {"StatefulSet", "ConfigMap"} <= kinds
    assert "Secret" not in kinds


def apply(*paths: Path) -> str:
    """As docs/kubernetes.md says. Raises LabError."""
    return kubectl("apply", "--server-side", *(word for path in paths for word in ("-f", str(path))))


def test_nobody_initialises_while_one_is_silent(small: SmallPods, files: dict[str, Path]) -> None:
    """In an order in which nothing has what it needs: what pods read comes last. One of the two pods is not made at all."""
    space, *others = files.values()
    apply(space)
    for path in reversed(others):
        described = yaml.safe_load(path.read_text())
        if described["kind"] == "StatefulSet":
            described["spec"]["replicas"] = 1
        kubectl("apply", "--server-side", "-f", "-", told=yaml.safe_dump(described))
    waits = "nobody initialises the cluster: pg-1 cannot be asked whether it holds data"
    until("pg-0 to say for whom it waits", lambda: waits in small.log("pg-0"), 180, 1.0)
    assert not small.record().get("by")
    assert set(small.uids()) == {"pg-0"}


def test_when_all_are_there_exactly_one_initialises(small: SmallPods, files: dict[str, Path]) -> None:
    before = small.uids()
    # The number of pods is now what the file says, whoever said otherwise.
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(files["statefulset-pg.yml"]))
    record = until("the record", lambda: small.record() if small.record().get("system_id") else None, 240, 1.0)
    assert record["by"] == "pg-0"
    assert small.uids()["pg-0"] == before["pg-0"]
    assert "first: begin" not in small.log("pg-1")


def test_the_playbook_completes_it(small: SmallPods) -> None:
    before, record = small.uids(), small.record()
    run = small.play("site")
    assert run.rc == 0, run
    assert "primary pg-0" in run.last_line, run
    assert small.uids() == before
    assert small.record()["system_id"] == record["system_id"]


def test_files_that_are_applied_again_change_nothing(small: SmallPods, files: dict[str, Path]) -> None:
    """As GitOps does, all the time."""

    def sets() -> dict[str, object]:
        return {item["metadata"]["name"]: item["metadata"]["generation"] for item in small.found("statefulsets")}

    before = sets(), small.uids()
    for path in files.values():
        # The playbook's fields are the playbook's: where both say the same there is no conflict.
        apply(path)
    assert (sets(), small.uids()) == before


def test_a_namespace_that_holds_another_cluster_of_the_name_is_refused(small: SmallPods, tmp_path: Path) -> None:
    before = small.uids()
    run = small.play("site", {"cluster_secrets_directory": str(tmp_path / "secrets")})
    assert run.rc != 0, run
    (sentence,) = run.failed.values()
    assert "cluster_new_secrets=true" in sentence
    assert small.space in sentence
    assert small.uids() == before


def test_pods_that_are_scaled_to_nothing_come_back_without_a_playbook(small: SmallPods) -> None:
    record = small.record()
    small.inside("pg-0", "psql", "-XU", "postgres", "-c", "CREATE TABLE kept AS SELECT 42 AS answer")
    small.kubectl("scale", "statefulset", "pg", "--replicas=0")
    until("no pod", lambda: not small.uids(), 180, 1.0)
    small.kubectl("scale", "statefulset", "pg", "--replicas=2")

    def answers() -> bool:
        return small.inside("pg-0", "psql", "-XAtU", "postgres", "-c", "TABLE kept").strip() == "42"

    until("the row to be there", answers, 240, 1.0, (LabError,))
    assert small.record()["system_id"] == record["system_id"]
