# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The objects of a cluster of pods, as data: each variable has its effect, and what must hold holds in each of them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory.build import CONTROL_ONLY, build
from pgherd.inventory.variables import Host
from pgherd.model import AGENT_ROLE, PCP_USER, SYSTEM_ROLES, Cluster
from pgherd.places.pod import texts
from pgherd.places.pod.objects.all import objects
from pgherd.places.pod.objects.config import namespace
from pgherd.places.pod.objects.merge import merged
from pgherd.places.pod.objects.secret import roles
from pgherd.places.pod.objects.wishes import Wishes

VALUES: dict[str, Any] = {"cluster_name": "demo", "cluster_users": [{"name": "app"}]}


def pod(name: str, group: str, **variables: Any) -> Host:
    return Host(name, (group,), {"place": "pod", **variables})


HOSTS = [
    pod("pg-0", "postgres", node_id=1),
    pod("pg-1", "postgres", node_id=2, upstream="pg-0"),
    pod("pg-2", "postgres", node_id=3, upstream="pg-0"),
    pod("far-0", "postgres", node_id=4, upstream="pg-1", priority=0),
    pod("eye-0", "witness", node_id=5),
    pod("pool", "pgpool", replicas=3),
    pod("other", "pgpool"),
    pod("barman-0", "barman"),
]
DEFAULTS = {f"cluster_{kind}_settings": {} for kind in ("postgres", "pgpool", "barman")}


def cluster(**values: Any) -> Cluster:
    return build(HOSTS, {**DEFAULTS, **VALUES, **values})


def secrets(world: Cluster) -> dict[str, Any]:
    return {
        "passwords": {role: f"password of {role}" for role in (*SYSTEM_ROLES, PCP_USER, "app")},
        "authority": "the authority",
        "hosts": {host.name: (f"certificate of {host.name}", f"key of {host.name}") for host in world.hosts},
    }


def made(**values: Any) -> list[dict[str, Any]]:
    world = cluster(**values)
    return objects(world, Wishes.of({**VALUES, **values}), secrets(world))


MADE = made()


def one(kind: str, name: str, among: list[dict[str, Any]] = MADE) -> dict[str, Any]:
    found = [item for item in among if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, (kind, name)
    return found[0]


def templates(among: list[dict[str, Any]] = MADE) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item["spec"]["template"] for item in among if "template" in item.get("spec", {})}


def containers(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    spec = template["spec"]
    return {item["name"]: item for item in (*spec["initContainers"], *spec["containers"])}


def leaves(value: Any, way: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{way}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, f"{way}[]")
    else:
        yield way, value


def containers_in(value: Any) -> Iterator[Any]:
    """All dictionaries and lists with something in them."""
    if isinstance(value, (dict, list)) and value:
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers_in(item)


def test_which_objects_there_are() -> None:
    assert [(item["kind"], item["metadata"]["name"]) for item in MADE] == [
        ("ConfigMap", "demo"),
        ("Secret", "demo-nodes"),
        ("Secret", "demo-witness"),
        ("Secret", "demo-pgpool"),
        ("Secret", "demo-barman"),
        ("ServiceAccount", "demo"),
        ("Role", "demo"),
        ("RoleBinding", "demo"),
        ("NetworkPolicy", "demo-postgres"),
        ("NetworkPolicy", "demo-witness"),
        ("NetworkPolicy", "demo-pgpool"),
        ("NetworkPolicy", "demo-barman"),
        ("Service", "demo-write"),
        ("Service", "demo-read"),
        ("Service", "pg"),
        ("Service", "far"),
        ("Service", "eye"),
        ("Service", "other"),
        ("Service", "pool"),
        ("Service", "barman"),
        ("PodDisruptionBudget", "demo-nodes"),
        ("PodDisruptionBudget", "demo-pool"),
        ("StatefulSet", "pg"),
        ("StatefulSet", "far"),
        ("StatefulSet", "eye"),
        ("Deployment", "other"),
        ("Deployment", "pool"),
        ("StatefulSet", "barman"),
    ]


def test_they_are_plain_and_the_same_again() -> None:
    assert made() == MADE
    assert json.loads(json.dumps(MADE)) == MADE
    parts = [id(part) for item in MADE for part in containers_in(item)]
    assert len(set(parts)) == len(parts), "no part of one is a part of another"


def test_all_are_labelled_and_in_the_namespace() -> None:
    for item in made(cluster_namespace="db"):
        assert item["metadata"]["namespace"] == "db"
        assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo"
        assert item["metadata"]["labels"]["app.kubernetes.io/name"] == "pgherd"
    assert one("RoleBinding", "demo", made(cluster_namespace="db"))["subjects"][0]["namespace"] == "db"


def test_the_namespace_itself() -> None:
    found = namespace(cluster(), Wishes.of({**VALUES, "cluster_namespace": "db"}))
    assert found["metadata"]["name"] == "db"
    assert "namespace" not in found["metadata"]
    assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("item", MADE, ids=lambda item: f"{item['kind']} {item['metadata']['name']}")
def test_secrets_are_in_secrets_alone(item: dict[str, Any]) -> None:
    text = json.dumps(item)
    assert ("password of" in text or "key of" in text) is False
    kept = (
        {key: base64.b64decode(text).decode() for key, text in item.get("data", {}).items()}
        if item["kind"] == "Secret"
        else {}
    )
    assert ("passwords.json" in kept) is (item["kind"] == "Secret")
    assert all("key of" in text for key, text in kept.items() if key.endswith(".key"))


def test_without_secrets_there_is_no_secret() -> None:
    found = objects(cluster(), Wishes.of(VALUES))
    assert {item["kind"] for item in MADE} - {item["kind"] for item in found} == {"Secret"}


@pytest.mark.parametrize(
    ("name", "hosts", "has", "lacks"),
    [
        (
            "demo-nodes",
            ("pg-0", "pg-1", "pg-2", "far-0"),
            {AGENT_ROLE, "repmgr", "pgherd_monitor"},
            {"barman", PCP_USER},
        ),
        ("demo-witness", ("eye-0",), {"repmgr", "pgherd_monitor"}, {AGENT_ROLE, "barman"}),
        ("demo-pgpool", ("pool", "other"), {PCP_USER, "pgpool_check", "pgherd_monitor", "app"}, {AGENT_ROLE, "barman"}),
        ("demo-barman", ("barman-0",), {"barman", "streaming_barman", "pgherd_monitor"}, {AGENT_ROLE, "repmgr"}),
    ],
)
def test_each_component_has_what_it_needs(name: str, hosts: tuple[str, ...], has: set[str], lacks: set[str]) -> None:
    data = {key: base64.b64decode(text).decode() for key, text in one("Secret", name)["data"].items()}
    passwords = json.loads(data.pop("passwords.json"))
    assert data.pop("ca.crt") == "the authority"
    assert data == {
        f"{host}.{end}": f"{what} of {host}" for host in hosts for end, what in (("crt", "certificate"), ("key", "key"))
    }
    assert has <= set(passwords)
    assert not lacks & set(passwords)
    assert all(text == f"password of {role}" for role, text in passwords.items())
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", key) for key in one("Secret", name)["data"])


def test_what_is_missing_is_named() -> None:
    world = cluster()
    given = secrets(world)
    del given["passwords"]["repmgr"], given["hosts"]["pg-2"]
    with pytest.raises(ConfigError, match="the password of repmgr, the certificate of pg-2"):
        objects(world, Wishes.of(VALUES), given)
    assert "repmgr" in roles(world, world.node("pg-0"))


def test_the_config_map_is_the_description_alone() -> None:
    data = one("ConfigMap", "demo")["data"]
    assert set(data) == {"cluster.json"}
    assert Cluster.from_dict(json.loads(data["cluster.json"])) == cluster()


def test_rights_go_by_names() -> None:
    rules = one("Role", "demo")["rules"]
    assert [(rule["resources"], rule.get("resourceNames"), rule["verbs"]) for rule in rules] == [
        (["pods"], ["far-0", "pg-0", "pg-1", "pg-2"], ["get", "patch"]),
        (["configmaps"], ["demo-record"], ["get", "update"]),
        # Of what is only made nobody knows the name before.
        (["configmaps"], None, ["create"]),
        (["events"], None, ["create"]),
    ]
    assert one("ServiceAccount", "demo")["automountServiceAccountToken"] is False


def test_who_reaches_which_port() -> None:
    expected = {"postgres": [5432, 8765], "witness": [8765], "pgpool": [9999, 8765], "barman": [8765]}
    for what, ports in expected.items():
        spec = one("NetworkPolicy", f"demo-{what}")["spec"]
        own, others = spec["ingress"]
        assert own["from"] == [
            {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "pgherd", "app.kubernetes.io/instance": "demo"}}}
        ]
        assert "ports" not in own
        assert [port["port"] for port in others["ports"]] == ports
        assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == what


@pytest.mark.parametrize(
    ("name", "label"), [("write", {"pgherd.io/role": "primary"}), ("read", {"pgherd.io/read": "true"})]
)
def test_services_go_by_the_agents_labels(name: str, label: dict[str, str]) -> None:
    spec = one("Service", f"demo-{name}")["spec"]
    assert label.items() <= spec["selector"].items()
    assert spec["selector"]["app.kubernetes.io/instance"] == "demo"
    assert not spec.get("publishNotReadyAddresses")
    assert [port["port"] for port in spec["ports"]] == [5432]
    # The playbook never sets them: a template that did would make a primary of each new pod.
    assert all(not set(label) & set(template["metadata"]["labels"]) for template in templates().values())


def test_pods_have_names_before_they_are_ready() -> None:
    for name in ("pg", "far", "eye", "barman"):
        spec = one("Service", name)["spec"]
        assert spec["clusterIP"] == "None"
        assert spec["publishNotReadyAddresses"] is True
        assert one("StatefulSet", name)["spec"]["serviceName"] == name


@pytest.mark.parametrize(
    "item", [item for item in MADE if "template" in item.get("spec", {})], ids=lambda i: i["metadata"]["name"]
)
def test_selectors_find_their_own_pods_alone(item: dict[str, Any]) -> None:
    wanted = item["spec"]["selector"]["matchLabels"].items()
    found = [name for name, template in templates().items() if wanted <= template["metadata"]["labels"].items()]
    assert found == [item["metadata"]["name"]]


def test_as_many_pods_as_hosts() -> None:
    assert {name: one("StatefulSet", name)["spec"]["replicas"] for name in ("pg", "far", "eye", "barman")} == {
        "pg": 3,
        "far": 1,
        "eye": 1,
        "barman": 1,
    }
    assert {name: one("Deployment", name)["spec"]["replicas"] for name in ("pool", "other")} == {"pool": 3, "other": 1}


def test_claims_stay() -> None:
    for name in ("pg", "far", "eye", "barman"):
        spec = one("StatefulSet", name)["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert spec["podManagementPolicy"] == "Parallel"


@pytest.mark.parametrize("name", list(templates()))
def test_restricted_pod_security_holds(name: str) -> None:
    """kubernetes.io/docs/concepts/security/pod-security-standards, Restricted; and what goes beyond it here."""
    template = templates()[name]
    spec, pod_wide = template["spec"], template["spec"]["securityContext"]
    assert pod_wide["runAsNonRoot"] is True
    assert (pod_wide["runAsUser"], pod_wide["runAsGroup"], pod_wide["fsGroup"]) == (5432, 5432, 5432)
    assert pod_wide["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod_wide["fsGroupChangePolicy"] == "OnRootMismatch"
    assert spec["automountServiceAccountToken"] is False
    allowed = {"configMap", "secret", "emptyDir", "projected"}
    assert all((set(volume) - {"name"}) <= allowed for volume in spec["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)
    for container in containers(template).values():
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own.get("runAsUser", 5432) != 0
        assert not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("name", list(templates()))
def test_who_sees_which_volume(name: str) -> None:
    template = templates()[name]
    seen = {
        container: {mount["name"] for mount in item["volumeMounts"]} for container, item in containers(template).items()
    }
    data_node = name in ("pg", "far")
    assert set(seen) == {"own", "node", *(["api"] if data_node else [])}
    assert [who for who, volumes in seen.items() if "secrets" in volumes] == ["own"]
    assert [who for who, volumes in seen.items() if "token" in volumes] == (["api"] if data_node else [])
    assert [who for who, volumes in seen.items() if "own" in volumes] == ["own", "node"]
    assert [who for who, volumes in seen.items() if "data" in volumes] == (
        [] if name in ("pool", "other") else ["node"]
    )
    there = {volume["name"] for volume in template["spec"]["volumes"]}
    claimed = {"data"} if name not in ("pool", "other") else set()
    assert set.union(*seen.values()) == there | claimed
    for item in containers(template).values():
        paths = [mount["mountPath"] for mount in item["volumeMounts"]]
        assert len(set(paths)) == len(paths)
    if data_node:
        assert containers(template)["api"]["securityContext"]["runAsUser"] == 5433
        authority = next(volume for volume in template["spec"]["volumes"] if volume["name"] == "authority")
        assert authority["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


@pytest.mark.parametrize("name", list(templates()))
def test_what_a_pod_runs(name: str) -> None:
    there = containers(templates()[name])
    host = name if name in ("pool", "other") else "$(POD_NAME)"
    assert there["own"]["command"] == ["/usr/bin/pgherd", "own", "--host", host]
    assert there["node"]["command"] == ["/usr/bin/pgherd", "pod", "--host", host, "--limit", "115"]
    assert ("lifecycle" in there["node"]) is (name in ("pg", "far"))
    env = {item["name"]: item.get("value") for item in there["node"]["env"]}
    assert env.get("PGPASSFILE") == ("/var/lib/barman/.pgpass" if name == "barman" else None)
    for probe, path in (("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")):
        assert there["node"][probe]["httpGet"] == {"path": path, "port": 8765, "scheme": "HTTPS"}


def test_a_changed_secret_makes_pods_anew() -> None:
    world = cluster()
    given = secrets(world)
    given["passwords"]["barman"] = "another"
    other = templates(objects(world, Wishes.of(VALUES), given))
    changed = {name for name, template in templates().items() if other[name] != template}
    assert changed == {"barman"}


# A variable, its value, in which objects something changes, and what stands there then, by the end of its way.
EFFECTS: list[tuple[str, Any, set[str], tuple[str, Any]]] = [
    ("namespace", "db", {"*"}, (".metadata.namespace", "db")),
    ("domain", "k8s.example", {"ConfigMap"}, ("", None)),
    (
        "image",
        "registry.example/x:1-trixie",
        {"StatefulSet", "Deployment"},
        ("[].image", "registry.example/x:1-trixie"),
    ),
    ("image_pull_policy", "Always", {"StatefulSet", "Deployment"}, (".imagePullPolicy", "Always")),
    ("image_pull_secrets", ["login"], {"StatefulSet", "Deployment"}, (".imagePullSecrets[].name", "login")),
    ("pod_networks", ["10.244.0.0/16"], {"ConfigMap"}, ("", None)),
    ("pod_grace", 60, {"StatefulSet", "Deployment"}, (".terminationGracePeriodSeconds", 60)),
    ("pod_labels", {"team": "a"}, {"*"}, (".labels.team", "a")),
    ("pod_annotations", {"scrape": True}, {"StatefulSet", "Deployment"}, (".annotations.scrape", "true")),
    (
        "pod_spread",
        "required",
        {"StatefulSet", "Deployment"},
        (".requiredDuringSchedulingIgnoredDuringExecution[].topologyKey", "kubernetes.io/hostname"),
    ),
    (
        "pod_template",
        {
            "spec": {
                "priorityClassName": "high",
                "containers": [{"name": "node", "env": [{"name": "TZ", "value": "UTC"}]}],
            }
        },
        {"StatefulSet", "Deployment"},
        (".priorityClassName", "high"),
    ),
    ("network_policy", False, {"NetworkPolicy"}, ("", None)),
    ("resources", {"limits": {"cpu": 2}}, {"StatefulSet"}, (".limits.cpu", "2")),
    ("pgpool_resources", {"requests": {"memory": "1Gi"}}, {"Deployment"}, (".requests.memory", "1Gi")),
    ("barman_resources", {"requests": {"memory": "2Gi"}}, {"StatefulSet"}, (".requests.memory", "2Gi")),
    ("services", {"write": {"type": "NodePort", "node_port": 30432}}, {"Service"}, (".nodePort", 30432)),
    ("services", {"read": {"type": "LoadBalancer"}}, {"Service"}, (".spec.type", "LoadBalancer")),
    ("service_monitor", True, {"ServiceMonitor"}, (".port", "agent")),
    ("services", {"pgpool": {"annotations": {"a": "b"}}}, {"Service"}, (".annotations.a", "b")),
    ("storage_access_mode", "ReadWriteOncePod", {"StatefulSet"}, (".accessModes[]", "ReadWriteOncePod")),
    ("storage_class", "fast", {"StatefulSet"}, (".storageClassName", "fast")),
    ("storage_size", "1Ti", {"StatefulSet"}, (".requests.storage", "1Ti")),
    ("wal_storage_size", "3Gi", {"StatefulSet"}, (".requests.storage", "3Gi")),
    ("barman_storage_size", "2Ti", {"StatefulSet"}, (".requests.storage", "2Ti")),
]


@pytest.mark.parametrize(("variable", "value", "kinds", "there"), EFFECTS, ids=[effect[0] for effect in EFFECTS])
def test_each_variable_has_its_effect(variable: str, value: Any, kinds: set[str], there: tuple[str, Any]) -> None:
    given = {f"cluster_{variable}": value}
    if variable == "wal_storage_size":
        given["cluster_wal_directory"] = "/var/lib/postgresql-wal/wal"
    found = made(**given)
    before = {(item["kind"], item["metadata"]["name"]): item for item in MADE}
    after = {(item["kind"], item["metadata"]["name"]): item for item in found}
    changed = {kind for kind, name in {*before, *after} if before.get((kind, name)) != after.get((kind, name))}
    # Where WAL is stands in the description too.
    changed -= {"ConfigMap"} if variable == "wal_storage_size" else set()
    assert changed == ({item["kind"] for item in MADE} if kinds == {"*"} else kinds)
    if there[0]:
        assert any(way.endswith(there[0]) and leaf == there[1] for item in found for way, leaf in leaves(item))
        assert not any(way.endswith(there[0]) and leaf == there[1] for item in MADE for way, leaf in leaves(item))


def test_a_claim_for_wal() -> None:
    found = made(cluster_wal_storage_size="3Gi", cluster_wal_directory="/var/lib/postgresql-wal/wal")
    mounted = {
        name: [mount["mountPath"] for mount in containers(template)["node"]["volumeMounts"] if mount["name"] == "wal"]
        for name, template in templates(found).items()
    }
    assert mounted == {
        "pg": ["/var/lib/postgresql-wal"],
        "far": ["/var/lib/postgresql-wal"],
        "eye": [],
        "pool": [],
        "other": [],
        "barman": [],
    }


def test_no_spread_where_none_is_wanted() -> None:
    assert all("affinity" not in template["spec"] for template in templates(made(cluster_pod_spread="none")).values())


def test_all_wishes_are_variables_and_have_an_effect() -> None:
    names = {item.name for item in fields(Wishes)}
    # Where it is, pods are told too.
    assert {f"cluster_{name}" for name in names} - {"cluster_namespace"} <= set(CONTROL_ONLY)
    # What these four do is below.
    below = {"password_secrets", "certificate_secrets", "authority_secret", "service_monitor_labels"}
    assert names <= {effect[0] for effect in EFFECTS} | below


def test_who_is_counted_stands_in_the_description() -> None:
    world = replace(cluster(), counted=("pg-0", "pg-1"))
    data = one("ConfigMap", "demo", objects(world, Wishes.of(VALUES)))["data"]
    assert json.loads(data["cluster.json"])["counted"] == ["pg-0", "pg-1"]


@pytest.mark.parametrize(
    ("base", "given", "whole"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        (
            [{"name": "x", "a": 1}],
            [{"name": "x", "b": 2}, {"name": "y"}],
            [{"name": "x", "a": 1, "b": 2}, {"name": "y"}],
        ),
        (
            [{"name": "v", "mountPath": "/a"}],
            [{"name": "v", "mountPath": "/b"}],
            [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}],
        ),
        ([1, 2], [3], [3]),
        ("a", "b", "b"),
        ({}, {"tolerations": [{"operator": "Exists"}]}, {"tolerations": [{"operator": "Exists"}]}),
    ],
)
def test_what_is_merged(base: Any, given: Any, whole: Any) -> None:
    assert merged(base, given) == whole


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"hostPID": True}, "hostPID"),
        ({"automountServiceAccountToken": True}, "automountServiceAccountToken"),
        ({"volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}]}, "volume etc is a directory of the machine"),
        ({"containers": [{"name": "node", "securityContext": {"privileged": True}}]}, "container node may become more"),
        ({"containers": [{"name": "mine", "image": "x"}]}, "container mine may become more"),
        (
            {"containers": [{"name": "node", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]},
            "has capabilities",
        ),
        ({"containers": [{"name": "node", "securityContext": {"capabilities": {"drop": []}}}]}, "has capabilities"),
        ({"containers": [{"name": "node", "securityContext": {"runAsUser": 0}}]}, "may run as root"),
        ({"securityContext": {"runAsNonRoot": False}}, "may run as root"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "has no seccomp profile"),
        ({"containers": [{"name": "node", "securityContext": {"procMount": "Unmasked"}}]}, "sees all of /proc"),
        (
            {"containers": [{"name": "node", "ports": [{"name": "agent", "hostPort": 1}]}]},
            "takes a port of the machine",
        ),
    ],
)
def test_no_template_of_the_users_weakens_a_pod(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        made(cluster_pod_template={"spec": spec})
    assert all(sentence.startswith("cluster_pod_template: ") for sentence in raised.value.problems)
    assert any(why in sentence for sentence in raised.value.problems)


def test_labels_of_the_template_do_not_hide_a_pod() -> None:
    found = made(cluster_pod_template={"metadata": {"labels": {"app.kubernetes.io/instance": "x", "mine": 1}}})
    assert templates(found)["pg"]["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo"
    assert templates(found)["pg"]["metadata"]["labels"]["mine"] == "1"


def test_pods_of_the_same_networks_have_one_line() -> None:
    """A host's file names each host; pods that come from the same networks are let in by the same line, and by one of it."""
    world = cluster(cluster_pod_networks=["10.244.0.0/16"], cluster_hba=["# mine", "# mine"])
    for node in world.nodes:
        lines = texts.of_node(world, node, 17)["pg_hba.conf"].splitlines()
        assert sorted({line for line in lines if lines.count(line) > 1}) == (
            ["# mine"] if node.kind == "postgres" else []
        )
        assert 'hostssl "repmgr" "repmgr" 10.244.0.0/16 scram-sha-256' in lines
    for pgpool in world.pgpools:
        lines = texts.of_pgpool(world, pgpool)["pool_hba.conf"].splitlines()
        assert len(set(lines)) == len(lines)


TLS = {host.name: f"{host.name}-tls" for host in HOSTS}
LOGINS = {"repmgr": "logins", "app": {"name": "app-login", "key": "password"}, "barman": "logins"}


def mounted(name: str, among: list[dict[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """The Secrets that pods of a set mount, each with the keys that are taken, or none where all are, and how they are called."""
    (volume,) = [item for item in templates(among)[name]["spec"]["volumes"] if item["name"] == "secrets"]
    assert volume["projected"]["defaultMode"] == 0o440
    sources = [item["secret"] for item in volume["projected"]["sources"]]
    # A pod says what is missing, and waits; another's that is missing does not keep it.
    assert [item.get("optional", False) for item in sources] == [False, *[True] * (len(sources) - 1)]
    return [(item["name"], {one["key"]: one["path"] for one in item.get("items", ())}) for item in sources]


def test_passwords_of_the_users_secrets_are_mounted_and_in_no_secret_of_ours() -> None:
    found = made(cluster_password_secrets=LOGINS)
    assert mounted("pg", found) == [("demo-nodes", {}), ("logins", {"repmgr": "repmgr"})]
    assert mounted("pool", found) == [("demo-pgpool", {}), ("app-login", {"password": "app"})]
    assert mounted("barman", found) == [("demo-barman", {}), ("logins", {"barman": "barman"})]
    held = {
        item["metadata"]["name"]: json.loads(base64.b64decode(item["data"]["passwords.json"]))
        for item in found
        if item["kind"] == "Secret"
    }
    assert not any(role in passwords for passwords in held.values() for role in LOGINS)
    assert set(held["demo-nodes"]) == {AGENT_ROLE, "pgherd_monitor"}


def test_no_password_of_the_users_secrets_has_to_be_known() -> None:
    world, given = cluster(), secrets(cluster())
    for role in LOGINS:
        del given["passwords"][role]
    wishes = Wishes.of({**VALUES, "cluster_password_secrets": LOGINS})
    assert objects(world, wishes, given) == made(cluster_password_secrets=LOGINS)


def test_certificates_of_the_users_secrets() -> None:
    found = made(cluster_certificate_secrets=TLS)
    own = [(f"pg-{number}-tls", {"tls.crt": f"pg-{number}.crt", "tls.key": f"pg-{number}.key"}) for number in range(3)]
    assert mounted("pg", found) == [("demo-nodes", {}), *own, ("pg-0-tls", {"ca.crt": "ca.crt"})]
    assert mounted("pool", found) == [
        ("demo-pgpool", {}),
        ("pool-tls", {"tls.crt": "pool.crt", "tls.key": "pool.key"}),
        ("pool-tls", {"ca.crt": "ca.crt"}),
    ]
    for item in found:
        if item["kind"] == "Secret":
            assert set(item["data"]) == {"passwords.json"}
    for name in ("pg", "far"):
        (authority,) = [item for item in templates(found)[name]["spec"]["volumes"] if item["name"] == "authority"]
        assert authority["secret"]["secretName"] == f"{name}-0-tls"
        assert authority["secret"]["optional"] is True
    one_for_all = made(cluster_certificate_secrets=TLS, cluster_authority_secret="root")
    assert all(mounted(name, one_for_all)[-1] == ("root", {"ca.crt": "ca.crt"}) for name in templates(one_for_all))


def test_pods_to_come_make_none_anew() -> None:
    """Their Secrets are mounted before they are there, in the order of their numbers."""
    named = {"pg-10": "j", "pg-3": "d", **TLS}
    found = made(cluster_certificate_secrets=named)
    assert [name for name, _keys in mounted("pg", found)][1:-1] == ["pg-0-tls", "pg-1-tls", "pg-2-tls", "d", "j"]
    world = build([*HOSTS, pod("pg-3", "postgres", node_id=6, upstream="pg-0")], {**DEFAULTS, **VALUES})
    more = objects(world, Wishes.of({**VALUES, "cluster_certificate_secrets": named}), secrets(world))
    assert templates(more) == templates(found)


@pytest.mark.parametrize("given", [{"password_secrets": LOGINS}, {"certificate_secrets": TLS}], ids=["p", "c"])
def test_what_is_the_users_is_taken_again(given: dict[str, Any]) -> None:
    found = made(**{f"cluster_{name}": value for name, value in given.items()})
    for name, template in templates(found).items():
        there = containers(template)
        host = name if name in ("pool", "other") else "$(POD_NAME)"
        renew = there["renew"]
        assert renew["command"] == ["/usr/bin/pgherd", "own", "--again", "--host", host]
        assert renew["volumeMounts"] == there["own"]["volumeMounts"]
        assert renew["securityContext"] == there["own"]["securityContext"]
        assert [who for who in there if any(one["name"] == "secrets" for one in there[who]["volumeMounts"])] == [
            "own",
            "renew",
        ]
    # By the API no pod reads one.
    assert one("Role", "demo", found) == one("Role", "demo")


def test_nobody_finds_out_a_password_by_its_digest() -> None:
    """Without a key among the contents, a salt is."""
    world, wishes = cluster(), Wishes.of({**VALUES, "cluster_certificate_secrets": TLS})
    found = [objects(world, wishes, {**secrets(world), "salt": salt}) for salt in ("a", "b")]
    notes = [template["metadata"]["annotations"] for all_ in found for template in (templates(all_)["pg"],)]
    assert notes[0] != notes[1]


def test_metrics_are_found_by_names_that_certificates_have() -> None:
    found = made(cluster_service_monitor=True, cluster_service_monitor_labels={"release": "x"}, cluster_domain="k8s.io")
    monitors = {item["metadata"]["name"]: item for item in found if item["kind"] == "ServiceMonitor"}
    assert set(monitors) == {f"demo-{name}" for name in templates()}
    for name in templates():
        item = monitors[f"demo-{name}"]
        assert item["apiVersion"] == "monitoring.coreos.com/v1"
        assert item["metadata"]["labels"]["release"] == "x"
        wanted = item["spec"]["selector"]["matchLabels"].items()
        services = [one for one in found if one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items()]
        assert [one["metadata"]["name"] for one in services] == [name]
        (endpoint,) = item["spec"]["endpoints"]
        assert endpoint["port"] in [port["name"] for port in services[0]["spec"]["ports"]]
        assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
    (nodes,), (pool,) = (monitors[f"demo-{name}"]["spec"]["endpoints"] for name in ("pg", "pool"))
    assert nodes["tlsConfig"] == {"ca": {"secret": {"name": "demo-nodes", "key": "ca.crt"}}}
    assert [one["replacement"] for one in nodes["relabelings"]] == ["$1.pg.demo.svc.k8s.io:8765"]
    assert pool["tlsConfig"] == {
        "ca": {"secret": {"name": "demo-pgpool", "key": "ca.crt"}},
        "serverName": "pool.demo.svc.k8s.io",
    }
    theirs = made(cluster_service_monitor=True, cluster_certificate_secrets=TLS)
    (endpoint,) = one("ServiceMonitor", "demo-barman", theirs)["spec"]["endpoints"]
    assert endpoint["tlsConfig"]["ca"]["secret"]["name"] == "barman-0-tls"


def test_an_address_of_ones_own_is_not_found() -> None:
    hosts = [
        replace(host, variables={**host.variables, "address": "x.y"}) if host.name == "pg-1" else host for host in HOSTS
    ]
    world = build(hosts, {**DEFAULTS, **VALUES})
    with pytest.raises(ConfigError, match=r"pg-\*: an address of yours stands there"):
        objects(world, Wishes.of({**VALUES, "cluster_service_monitor": True}))
