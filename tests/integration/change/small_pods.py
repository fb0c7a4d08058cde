# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A small cluster in pods in a namespace of its own, as a person describes it: two data nodes of the image that scenario
kubernetes has built. What became of it is read with kubectl, never from a run's results."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from machine import LabError
from playbook import Run, ansible_playbook

CHECKOUT = Path(__file__).resolve().parents[3]
TAKEN = ("place", "cluster_image", "cluster_image_pull_policy", "cluster_storage_size", "cluster_resources")
LOGIN = "app"


def asked(*words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    """kubectl in the context that the user has, or KUBECONFIG names."""
    return subprocess.run(["kubectl", *words], input=told, capture_output=True, text=True, timeout=300, check=False)


def kubectl(*words: str, told: str = "") -> str:
    """Its standard output. Raises LabError."""
    done = asked(*words, told=told)
    if done.returncode:
        raise LabError(f"kubectl {' '.join(words[:6])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def reachable() -> None:
    """Skips the tests where no Kubernetes is reached. In the scenario, which has started one, that is a failure."""
    try:
        said = asked("version", "--request-timeout=10s")
        why = "" if said.returncode == 0 else said.stderr.strip()
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why and os.environ.get("LAB_CLUSTER"):
        pytest.fail(f"no Kubernetes is reached: {why}")
    if why:
        pytest.skip(f"no Kubernetes is reached: {why}")


class SmallPods:
    """The cluster, with the *variables* beside those of scenario kubernetes; what belongs to it lies in *directory*."""

    name = "small"

    def __init__(self, directory: Path, variables: Mapping[str, Any] | None = None) -> None:
        described = yaml.safe_load((CHECKOUT / "molecule/kubernetes/inventory.yml").read_text(encoding="utf-8"))
        told = described["all"]["vars"]
        self.space = f"pgherd-{uuid.uuid4().hex[:8]}"
        self.directory = directory
        self.secrets = directory / "secrets"
        self.nodes = ["pg-0", "pg-1"]
        self.variables: dict[str, Any] = {
            **{name: told[name] for name in TAKEN},
            "cluster_name": self.name,
            "cluster_namespace": self.space,
            # Two cannot be strict, and there is no failover here.
            "cluster_durability": "async",
            "cluster_users": [{"name": LOGIN}],
            "cluster_databases": [{"name": LOGIN, "owner": LOGIN}],
            "cluster_secrets_directory": str(self.secrets),
            **(variables or {}),
        }

    def play(
        self, playbook: str, extra: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None, *words: str
    ) -> Run:
        """Run a playbook with the inventory as it is now."""
        self.directory.mkdir(parents=True, exist_ok=True)
        hosts = {"pg-0": {"node_id": 1}, "pg-1": {"node_id": 2, "upstream": "pg-0"}}
        path = self.directory / "inventory.yml"
        path.write_text(yaml.safe_dump({"all": {"vars": self.variables}, "postgres": {"hosts": hosts}}))
        return ansible_playbook(path, f"pgherd.cluster.{playbook}", *words, extra=extra, env=env)

    def kubectl(self, *words: str, told: str = "") -> str:
        """kubectl in its namespace. Raises LabError."""
        return kubectl("-n", self.space, *words, told=told)

    def found(self, *words: str) -> list[dict[str, Any]]:
        """Objects of its namespace."""
        return list(json.loads(self.kubectl("get", *words, "-o", "json"))["items"])

    def uids(self) -> dict[str, str]:
        """By name the uid of each of its pods."""
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in self.found("pods")}

    def log(self, pod: str, container: str = "node") -> str:
        """What a container has said; '' for one that is not there yet."""
        return asked("-n", self.space, "logs", pod, "-c", container).stdout

    def record(self) -> dict[str, str]:
        """What the pods have written down of the initialisation; nothing where they have not."""
        said = self.kubectl("get", "configmap", f"{self.name}-record", "--ignore-not-found", "-o", "json")
        return dict(json.loads(said).get("data") or {}) if said.strip() else {}

    def inside(self, pod: str, *words: str, told: str = "") -> str:
        """Standard output of a command in a pod. Raises LabError."""
        return self.kubectl("exec", "-i", pod, "-c", "node", "--", *words, told=told)

    def remove(self) -> None:
        """Its namespace, which is not waited for."""
        asked("delete", "namespace", self.space, "--ignore-not-found", "--wait=false")
