# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Kubernetes cannot give, or does not let a person do, is told in a sentence, soon, and in words of its own too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook import Run
from small_pods import SmallPods, kubectl, reachable

pytestmark = pytest.mark.more
PATIENCE = 20  # seconds that a run waits for pods


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallPods]:
    """A namespace that is not there yet."""
    reachable()
    cluster = SmallPods(tmp_path, {"cluster_pod_timeout": PATIENCE})
    yield cluster
    cluster.remove()


def refusal(small: SmallPods, extra: dict[str, Any]) -> str:
    """What the run said in the end."""
    return next(iter(refused(small, extra).failed.values()))


def refused(small: SmallPods, extra: dict[str, Any]) -> Run:
    """The run, which failed on the control machine alone."""
    run = small.play("site", extra)
    assert run.rc != 0, run
    assert set(run.failed) == {"localhost"}, run
    # Nobody's pods are waited for any longer than was said.
    assert run.seconds < 10 * PATIENCE, run
    return run


def first_machine() -> str:
    return str(json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"])


def one_machine() -> dict[str, Any]:
    chosen = {"nodeSelector": {"kubernetes.io/hostname": first_machine()}}
    return {"cluster_pod_spread": "required", "cluster_pod_template": {"spec": chosen}}


WAITS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "an image that is nowhere": (
        lambda: {"cluster_image": "localhost/pgherd:nowhere"},
        r"pg-0: its container own waits, \w+: .*localhost/pgherd:nowhere",
    ),
    "a storage class that is nowhere": (
        lambda: {"cluster_storage_class": "nowhere"},
        r'pg-0: it has no machine, .*Kubernetes says of data-pg-\d, \w+: storageclass\S* "nowhere" not found',
    ),
    "fewer machines than pods that have to be apart": (
        one_machine,
        r"pg-[01]: it has no machine, .*anti-affinity",
    ),
}


@pytest.mark.parametrize("case", WAITS)
def test_what_is_waited_for_is_told(small: SmallPods, case: str) -> None:
    wishes, sentence = WAITS[case]
    run = refused(small, wishes())
    (said,) = run.failed.values()
    # While it lasted too.
    shown = [line for line in run.said.splitlines() if line.startswith(("pg-0: it", "pg-1: it"))]
    assert shown, run
    assert all(line in said for line in shown[:1]), run
    assert said.startswith(f"After {PATIENCE} s in the namespace {small.space}: ")
    assert re.search(sentence, said, re.DOTALL), said
    assert said.endswith("run again with -e cluster_pod_timeout=SECONDS.")


def test_a_context_that_is_not_there(small: SmallPods) -> None:
    assert "nowhere" in refusal(small, {"cluster_kube_context": "nowhere"})


def test_who_may_do_nothing(small: SmallPods) -> None:
    """By a token of an account that has no rights."""
    kubectl("create", "namespace", small.space)
    small.kubectl("create", "serviceaccount", "nobody")
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": small.kubectl("create", "token", "nobody").strip()}
    small.directory.mkdir(parents=True, exist_ok=True)
    path = small.directory / "nobody.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    said = refusal(small, {"cluster_kubeconfig": str(path)})
    assert "forbidden" in said.lower()
    assert f"{small.space}" in said
    assert "nobody" in said
