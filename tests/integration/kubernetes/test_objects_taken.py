# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The API server takes all objects, and lets their pods into a namespace of restricted Pod Security. Nothing is made but that."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pgherd.inventory.build import build
from pgherd.inventory.variables import Host
from pgherd.model import PCP_USER, SYSTEM_ROLES, Cluster
from pgherd.places.pod.objects.all import objects
from pgherd.places.pod.objects.begun import versioned
from pgherd.places.pod.objects.config import namespace
from pgherd.places.pod.objects.wishes import Wishes
from small_pods import asked as kubectl
from small_pods import reachable

ROOT = Path(__file__).resolve().parents[3]
# More of everything than one would want at once.
MORE: dict[str, Any] = {
    "cluster_image_pull_secrets": ["login"],
    "cluster_pod_labels": {"example.org/team": "data"},
    "cluster_pod_annotations": {"example.org/scrape": True},
    "cluster_pod_spread": "required",
    "cluster_pod_template": {
        "spec": {"tolerations": [{"key": "data", "operator": "Exists"}], "nodeSelector": {"kubernetes.io/os": "linux"}}
    },
    "cluster_pgpool_resources": {"requests": {"cpu": "100m"}},
    "cluster_barman_resources": {"limits": {"memory": "1Gi"}},
    "cluster_services": {
        "write": {"type": "NodePort"},
        "read": {"type": "LoadBalancer", "annotations": {"example.org/a": "b"}},
    },
    "cluster_storage_access_mode": "ReadWriteOncePod",
    "cluster_storage_class": "fast",
    "cluster_wal_storage_size": "1Gi",
    "cluster_wal_directory": "/var/lib/postgresql-wal/wal",
    "cluster_agent_plain_listen": ["0.0.0.0"],
    "cluster_password_secrets": {"repmgr": "logins", "app": {"name": "app-login", "key": "password"}},
    "cluster_certificate_secrets": {
        name: f"{name}-tls" for name in ("pg-0", "pg-1", "pg-2", "pg-3", "far-0", "eye-0", "pool", "barman-0")
    },
    "cluster_authority_secret": "roots",
}


@pytest.fixture(scope="module")
def where() -> Iterator[str]:
    """A namespace of the tests' own, gone afterwards."""
    reachable()
    name = f"objects-{uuid.uuid4().hex[:8]}"
    wishes = Wishes.of({"cluster_name": "demo", "cluster_namespace": name})
    made = kubectl("create", "-f", "-", told=json.dumps(namespace(described({}), wishes)))
    assert made.returncode == 0, made.stderr
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def described(more: dict[str, Any]) -> Cluster:
    """The example's cluster, and a witness and a node in another set."""
    inventory = yaml.safe_load((ROOT / "examples/pods/inventory.yml").read_text(encoding="utf-8"))
    common = inventory.pop("all")["vars"]
    inventory["witness"] = {"hosts": {"eye-0": {"node_id": 9}}}
    inventory["postgres"]["hosts"]["far-0"] = {"node_id": 8, "upstream": "pg-1", "priority": 0}
    defaults = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))
    hosts = [
        Host(name, (group,), {**common, **(own or {}), **more})
        for group, entry in inventory.items()
        for name, own in entry["hosts"].items()
    ]
    return build(hosts, defaults)


def all_of(name: str, more: dict[str, Any]) -> list[dict[str, Any]]:
    world = described(more)
    secrets = {
        "passwords": dict.fromkeys((*SYSTEM_ROLES, PCP_USER, "app"), "secret"),
        "authority": "the authority",
        "hosts": {host.name: ("certificate", "key") for host in world.hosts},
    }
    return objects(world, Wishes.of({"cluster_name": world.name, **more, "cluster_namespace": name}), secrets)


@pytest.mark.parametrize("more", [{}, MORE], ids=["plain", "more"])
def test_the_api_server_takes_all_objects(where: str, more: dict[str, Any]) -> None:
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": all_of(where, more)})
    found = kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-", told=whole
    )
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == len(all_of(where, more))


@pytest.mark.parametrize("more", [{}, MORE], ids=["plain", "more"])
def test_restricted_pod_security_lets_the_pods_in(where: str, more: dict[str, Any]) -> None:
    templates = [item["spec"]["template"] for item in all_of(where, more) if "template" in item.get("spec", {})]
    assert len(templates) == 5
    for number, template in enumerate(templates):
        spec = {**template["spec"], "volumes": [*template["spec"]["volumes"], *claimed(template["spec"])]}
        # Its account is not there, and is no part of what is asked.
        spec.pop("serviceAccountName", None)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}", "namespace": where}, "spec": spec}
        found = kubectl("create", "--dry-run=server", "-f", "-", told=json.dumps(pod))
        assert found.returncode == 0, found.stderr
        spec["containers"][0]["securityContext"] = {}
        found = kubectl("create", "--dry-run=server", "-f", "-", told=json.dumps(pod))
        assert "violates PodSecurity" in found.stderr


def claimed(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Volumes in the place of the claims that a StatefulSet would give the pod."""
    wanted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    missing = sorted(wanted - {volume["name"] for volume in spec["volumes"]})
    return [{"name": name, "emptyDir": {}} for name in missing]


def test_a_description_is_replaced_as_it_was_seen_alone(where: str) -> None:
    """Of two runs at once the second is refused, whatever the first has done meanwhile."""
    (plain,) = [item for item in all_of(where, {}) if item["kind"] == "ConfigMap"]
    name = plain["metadata"]["name"]

    def seen() -> list[dict[str, Any]]:
        found = kubectl("-n", where, "get", "configmap", name, "-o", "json", "--ignore-not-found")
        return [json.loads(found.stdout)] if found.stdout.strip() else []

    def apply(text: str, there: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        told = json.dumps(versioned({**plain, "data": {"cluster.json": text}}, there))
        return kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=pgherd", "-f", "-", told=told)

    def says() -> list[str]:
        return [one["data"]["cluster.json"] for one in seen()]

    made = apply("first", [])
    assert (made.returncode, says()) == (0, ["first"]), made.stderr
    # It was made meanwhile.
    assert apply("second", []).returncode
    before = seen()
    same = apply("first", before)
    assert same.returncode == 0, same.stderr
    assert seen()[0]["metadata"]["resourceVersion"] == before[0]["metadata"]["resourceVersion"]
    changed = apply("third", before)
    assert (changed.returncode, says()) == (0, ["third"]), changed.stderr
    # It was changed meanwhile.
    late = apply("fourth", before)
    assert "Conflict" in late.stderr or "has been modified" in late.stderr
    before = seen()
    kubectl("-n", where, "delete", "configmap", name)
    # It is gone.
    assert apply("fifth", before).returncode
    assert says() == []
    # Made again, it is another one.
    assert apply("sixth", []).returncode == 0
    assert apply("seventh", before).returncode
    assert says() == ["sixth"]


RIGHTS = [
    # What is asked of the API server by a data node's container `api`, and whether it may.
    ("get", "pods/pg-0", True),
    ("patch", "pods/far-0", True),
    ("patch", "pods/eye-0", False),
    ("patch", "pods/another", False),
    ("delete", "pods/pg-0", False),
    ("list", "pods", False),
    ("create", "pods", False),
    ("create", "pods/exec", False),
    ("get", "configmaps/prod-record", True),
    ("update", "configmaps/prod-record", True),
    ("update", "configmaps/prod", False),
    ("create", "configmaps", True),
    ("delete", "configmaps/prod-record", False),
    ("get", "secrets/prod-nodes", False),
    ("list", "secrets", False),
    ("create", "events", True),
    ("patch", "services/prod-write", False),
    ("create", "serviceaccounts/token", False),
]


def test_a_pod_may_do_what_it_needs_and_nothing_else(where: str) -> None:
    kinds = ("ServiceAccount", "Role", "RoleBinding")
    wanted = [item for item in all_of(where, {}) if item["kind"] in kinds]
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    made = kubectl("apply", "--server-side", "-f", "-", told=whole)
    assert made.returncode == 0, made.stderr
    who = f"system:serviceaccount:{where}:prod"
    said = {
        (verb, what): kubectl("auth", "can-i", verb, *asked(what), "--namespace", where, "--as", who).stdout.strip()
        for verb, what, _may in RIGHTS
    }
    assert said == {(verb, what): "yes" if may else "no" for verb, what, may in RIGHTS}


def asked(what: str) -> list[str]:
    """A resource with its name, or with its part, as kubectl is asked for it."""
    kind, _slash, part = what.partition("/")
    return [kind, f"--subresource={part}"] if part in ("exec", "token") else [what]
