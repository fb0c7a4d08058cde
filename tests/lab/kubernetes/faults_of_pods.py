# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What can happen to a pod of the lab's Kubernetes, done past Kubernetes itself. A pod is called NAMESPACE/NAME."""

from __future__ import annotations

import json
import re
from typing import Any

import network
import nodes
from control import kubectl
from machine import LabError, until


def _described(pod: str) -> dict[str, Any]:
    space, _slash, name = pod.rpartition("/")
    return json.loads(kubectl("-n", space or "default", "get", "pod", name, "-o", "json"))


def node_of(pod: str) -> int:
    """Number of the node where it runs."""
    found = re.fullmatch(r"node(\d)", _described(pod)["spec"].get("nodeName", ""))
    if not found:
        raise LabError(f"{pod} runs nowhere")
    return int(found[1])


def task(pod: str, container: str) -> tuple[int, str]:
    """The node where a container runs, and containerd's number of it. Raises LabError where it does not run."""
    for status in _described(pod)["status"].get("containerStatuses", []):
        if status["name"] == container and "running" in status["state"]:
            return node_of(pod), status["containerID"].rpartition("/")[2]
    raise LabError(f"{pod} has no container {container} that runs")


def kill(pod: str, container: str, signal: str = "KILL") -> None:
    """Signal process 1 of a container; kubelet is not told."""
    node, number = task(pod, container)
    nodes.inside(node, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", f"SIG{signal.removeprefix('SIG')}", number)


def freeze(pod: str, container: str, frozen: bool = True) -> None:
    """All processes of a container stand still, or go on."""
    node, number = task(pod, container)
    nodes.inside(node, "ctr", "-n", "k8s.io", "tasks", "pause" if frozen else "resume", number)


def delete(pod: str, grace: int | None = None) -> None:
    """Delete a pod, with its own grace, or with one in seconds; 0: by force, so that nobody waits for its node's word."""
    space, _slash, name = pod.rpartition("/")
    words = ["--force", "--grace-period=0"] if grace == 0 else [] if grace is None else [f"--grace-period={grace}"]
    kubectl("-n", space or "default", "delete", "pod", name, "--wait=false", *words)


def part(one: str, other: str, both: bool = True) -> None:
    """Two pods do not hear each other any more, or *other* does not hear *one*; their addresses are those of this moment."""
    here, there = (_described(pod)["status"]["podIP"] for pod in (one, other))
    rules = [("forward", f"ip saddr {here} ip daddr {there} drop")]
    if both:
        rules.append(("forward", f"ip saddr {there} ip daddr {here} drop"))
    for node in sorted({node_of(one), node_of(other)}):
        network.rules(node, rules)


def scale(space: str, name: str, replicas: int) -> None:
    """Have a StatefulSet keep so many pods, as a person does past the playbook."""
    kubectl("-n", space, "scale", "statefulset", name, f"--replicas={replicas}")


def there(space: str, name: str) -> dict[str, str]:
    """By name the uid of each pod of a StatefulSet that Kubernetes has, ending or not."""
    words = ("-l", f"pgherd.io/set={name}", "-o", "json")
    items = json.loads(kubectl("-n", space, "get", "pods", *words))["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}


def orphan(space: str, name: str) -> None:
    """Delete a StatefulSet from above its pods, which live on."""
    kubectl("-n", space, "delete", "statefulset", name, "--cascade=orphan")


def roll(space: str, name: str) -> None:
    """Have all pods of a StatefulSet made anew, each when the one before is ready; returns when all are. Raises LabError."""
    kubectl("-n", space, "rollout", "restart", f"statefulset/{name}")
    kubectl("-n", space, "rollout", "status", f"statefulset/{name}", "--timeout=480s")


def claim(space: str, name: str) -> str:
    """The uid of a claim; '' where there is none."""
    return kubectl("-n", space, "get", "pvc", name, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}").strip()


def lose(space: str, name: str) -> None:
    """Delete a claim, which goes with all that it holds once no pod has it."""
    kubectl("-n", space, "delete", "pvc", name, "--wait=false")


def labels(pod: str) -> dict[str, str]:
    """The labels of a pod."""
    return dict(_described(pod)["metadata"].get("labels") or {})


def label(pod: str, *words: str) -> None:
    """Set labels of a pod (KEY=VALUE), or take some away (KEY-), whoever set them."""
    space, _slash, name = pod.rpartition("/")
    kubectl("-n", space or "default", "label", "pod", name, "--overwrite", *words)


def ready(pod: str) -> bool:
    """Whether Kubernetes takes a pod for ready."""
    conditions = _described(pod)["status"].get("conditions", [])
    return [one["status"] for one in conditions if one["type"] == "Ready"] == ["True"]


def drain(node: int) -> None:
    """Evict all pods of a node, as before its maintenance; budgets are kept. Nothing runs there until uncordon."""
    words = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
    kubectl("drain", f"node{node}", *words)


def uncordon(node: int) -> None:
    """Pods may run there again."""
    kubectl("uncordon", f"node{node}")


def cordoned() -> list[int]:
    """Numbers of the nodes where no more pods may run."""
    items = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    return [int(item["metadata"]["name"].removeprefix("node")) for item in items if item["spec"].get("unschedulable")]


def reborn(pod: str, identity: str, seconds: float = 120) -> None:
    """Wait until a pod of that name is ready that is another one than *identity* (its uid). Raises Late."""

    def there() -> bool:
        return _described(pod)["metadata"]["uid"] != identity and ready(pod)

    until(f"a new {pod} to be ready", there, seconds, missed=(LabError,))
