# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pods in an inventory: what follows from their names, and one sentence for each mistake."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory import pods
from pgherd.inventory.addresses import parse, settled
from pgherd.inventory.build import build
from pgherd.inventory.settings import pgpool_sessions
from pgherd.inventory.values import value_problems
from pgherd.inventory.variables import Host
from pgherd.model import Cluster, Origins
from pgherd.options import Options
from test_inventory import DEFAULTS


def pod(name: str, group: str, **variables: Any) -> Host:
    return Host(name, (group,), {"place": "pod", **variables})


def three(**extra: Host) -> list[Host]:
    """Three data nodes, a witness, two pgpools of one name and a Barman. *extra*: others in the place of some, by name with _."""
    hosts = [
        pod("pg-0", "postgres", node_id=1),
        pod("pg-1", "postgres", node_id=2, upstream="pg-0"),
        pod("pg-2", "postgres", node_id=3, upstream="pg-0"),
        pod("eye-0", "witness", node_id=4),
        pod("pool", "pgpool", replicas=2),
        pod("barman-0", "barman"),
    ]
    return [extra.pop(host.name.replace("-", "_"), host) for host in hosts] + list(extra.values())


def made(hosts: list[Host] | None = None, **values: Any) -> Cluster:
    return build(hosts or three(), {**DEFAULTS, **values})


def test_what_follows_from_a_name() -> None:
    found = made(cluster_namespace="db", cluster_domain="k8s.example")
    assert {host.name: host.address for host in found.hosts} == {
        "pg-0": "pg-0.pg.db.svc.k8s.example",
        "pg-1": "pg-1.pg.db.svc.k8s.example",
        "pg-2": "pg-2.pg.db.svc.k8s.example",
        "eye-0": "eye-0.eye.db.svc.k8s.example",
        "pool": "pool.db.svc.k8s.example",
        "barman-0": "barman-0.barman.db.svc.k8s.example",
    }
    assert {host.place for host in found.hosts} == {"pod"}
    assert Cluster.from_dict(found.to_dict()) == found


def test_the_namespace_is_called_as_the_cluster() -> None:
    assert made().nodes[0].address == "pg-0.pg.demo.svc.cluster.local"


def test_the_users_address_stands() -> None:
    hosts = three(pool=pod("pool", "pgpool", address="db.example.org"))
    assert made(hosts).pgpools[0].address == "db.example.org"


@pytest.mark.parametrize(
    ("given", "networks"),
    [([], ("0.0.0.0/0", "::/0")), (["10.244.0.0/16", "10.9.8.7"], ("10.244.0.0/16", "10.9.8.7/32"))],
)
def test_where_pods_come_from(given: list[str], networks: tuple[str, ...]) -> None:
    found = made(cluster_pod_networks=given)
    assert {host.origins for host in found.hosts} == {Origins(networks)}
    # Nobody is asked for a pod's addresses, and what is said of others does not change them.
    assert settled(found, parse({})) == found


@pytest.mark.parametrize(
    ("image", "asked", "version"),
    [
        ("", None, 17),
        ("localhost/pgherd:0.1.0-trixie", None, 17),
        ("registry.example:5000/a/pgherd:1-bookworm", None, 15),
        ("registry.example/pgherd:1-bookworm@sha256:00ff", 15, 15),
        ("registry.example/mine:latest", 17, 17),
    ],
)
def test_the_image_says_which_postgresql(image: str, asked: int | None, version: int) -> None:
    found = made(cluster_image=image, cluster_postgres_version=asked)
    assert {host.version for host in found.with_postgres} == {version}


def test_replicas_count_where_sessions_do() -> None:
    found = made()
    assert found.pgpools[0].replicas == 2
    one = made(three(pool=pod("pool", "pgpool")))
    assert one.pgpools[0].replicas == 1
    assert pgpool_sessions(found) == 2 * pgpool_sessions(one)


def test_a_description_of_a_release_before_has_no_replicas() -> None:
    described = made().to_dict()
    described["pgpools"] = [
        {key: item for key, item in one.items() if key != "replicas"} for one in described["pgpools"]
    ]
    assert Cluster.from_dict(described).pgpools[0].replicas == 1


def test_the_names_that_certificates_have() -> None:
    found = made()
    assert pods.names(found, found.node("pg-1")) == [
        "pg-1",
        "pg-1.pg",
        "pg-1.pg.demo",
        "pg-1.pg.demo.svc",
        "pg-1.pg.demo.svc.cluster.local",
        *(
            f"demo-{service}{rest}"
            for service in ("write", "read")
            for rest in ("", ".demo", ".demo.svc", ".demo.svc.cluster.local")
        ),
    ]
    assert pods.names(found, found.pgpools[0]) == ["pool", "pool.demo", "pool.demo.svc", "pool.demo.svc.cluster.local"]
    own = made(three(pool=pod("pool", "pgpool", address="db.example.org")))
    assert pods.names(own, own.pgpools[0]) == ["pool", "db.example.org"]


TLS = {name: f"{name}-tls" for name in ("pg-0", "pg-1", "pg-2", "eye-0", "pool", "barman-0")}
MISTAKES = [
    # Which host instead of which, which variables, and what the one sentence begins with.
    (
        {"pg_0": Host("pg-0", ("postgres",), {"node_id": 1})},
        {},
        "pg-1, pg-2, eye-0, pool, barman-0: place is pod, and pg-0",
    ),
    ({"pg_2": pod("pg-3", "postgres", node_id=3, upstream="pg-0")}, {}, "pg-*: pods are numbered from 0 up"),
    ({"pg_2": pod("pg-02", "postgres", node_id=3, upstream="pg-0")}, {}, "pg-02: a pod is called PREFIX-NUMBER"),
    ({"pg_2": pod("pg2", "postgres", node_id=3, upstream="pg-0")}, {}, "pg2: a pod is called PREFIX-NUMBER"),
    ({"pg_2": pod("DB-0", "postgres", node_id=3, upstream="pg-0")}, {}, "DB-0: a pod is called PREFIX-NUMBER"),
    ({"eye_0": pod("pg-3", "witness", node_id=4)}, {}, "pg-*: pods of one prefix are of one kind"),
    ({"eye_0": pod(f"{'e' * 53}-0", "witness", node_id=4)}, {}, f"{'e' * 53}-0: what is before a pod's number"),
    ({"pool": pod("pool.db", "pgpool")}, {}, "pool.db: a pgpool of place pod is called as its service"),
    ({"pool": pod("pg", "pgpool")}, {}, "the pods pg-* and the pgpool pg: both would have the service pg"),
    ({"pool": pod("demo-read", "pgpool")}, {}, "the service of standbys and the pgpool demo-read: both"),
    ({"pool": pod("pool", "pgpool", replicas=0)}, {}, "pool: replicas is a whole number from 1 up, not 0"),
    ({"pool": pod("pool", "pgpool", replicas="many")}, {}, "pool: replicas is a whole number from 1 up, not many"),
    ({"pg_1": pod("pg-1", "postgres", node_id=2, upstream="pg-0", replicas=2)}, {}, "pg-1: replicas is for a pgpool"),
    (
        {"pg_1": pod("pg-1", "postgres", node_id=2, upstream="pg-0", ip="10.0.0.9")},
        {},
        "pg-1: a pod has no ip that stays",
    ),
    ({}, {"cluster_name": "my_db"}, "cluster_name my_db: services of pods are called by it"),
    ({}, {"cluster_name": "d" * 58}, f"cluster_name {'d' * 58}: services of pods are called by it"),
    ({}, {"cluster_namespace": "My"}, "cluster_namespace My is not a namespace's name"),
    (
        {},
        {"cluster_image": "x/pgherd:latest"},
        "cluster_image x/pgherd:latest: its tag ends in none of trixie, bookworm",
    ),
    ({}, {"cluster_postgres_version": 15}, "cluster_postgres_version is 15, and cluster_image of this release has 17"),
    (
        {},
        {"cluster_data_directory": "/srv/data"},
        "cluster_data_directory, /srv/data, is not below /var/lib/postgresql",
    ),
    ({}, {"cluster_wal_storage_size": "1Gi"}, "cluster_wal_storage_size: set cluster_wal_directory too"),
    (
        {},
        {"cluster_wal_storage_size": "1Gi", "cluster_wal_directory": "/var/lib/postgresql/wal"},
        "cluster_wal_directory, /var/lib/postgresql/wal, is not below /var/lib/postgresql-wal",
    ),
    ({}, {"cluster_password_secrets": {"nobody": "s"}}, "cluster_password_secrets: there is no role nobody"),
    (
        {},
        {"cluster_password_secrets": {"repmgr": "s"}, "cluster_passwords": {"repmgr": "p"}},
        "cluster_password_secrets: repmgr has a password in the variables too",
    ),
    (
        {},
        {"cluster_password_secrets": {"app": "s"}, "cluster_users": [{"name": "app", "password": "p"}]},
        "cluster_password_secrets: app has a password in the variables too",
    ),
    ({}, {"cluster_authority_secret": "ca"}, "cluster_authority_secret: name the Secrets with the hosts' certificates"),
    (
        {},
        {"cluster_certificate_secrets": {**TLS, "pg-0": "pool-tls"}},
        "cluster_certificate_secrets: pool-tls is of more than one host",
    ),
    (
        {},
        {"cluster_certificate_secrets": {name: TLS[name] for name in ("pg-0", "pg-1", "pool", "barman-0")}},
        "cluster_certificate_secrets names no Secret for pg-2, eye-0: ",
    ),
    (
        {},
        {"cluster_certificate_secrets": {**TLS, "db-7": "db-tls"}},
        "cluster_certificate_secrets: db-7 is no host, nor a pod that a set here may get",
    ),
    (
        {},
        {"cluster_certificate_secrets": TLS, "cluster_ca_certificate": "/a"},
        "cluster_ca_certificate: certificates come from cluster_certificate_secrets",
    ),
    ({}, {"cluster_barman_directory": "/srv/b"}, "cluster_barman_directory, /srv/b, is not in /var/lib/barman"),
]


@pytest.mark.parametrize(("hosts", "values", "begins"), MISTAKES, ids=[begins[:50] for _h, _v, begins in MISTAKES])
def test_one_sentence_for_each_mistake(hosts: dict[str, Host], values: dict[str, Any], begins: str) -> None:
    with pytest.raises(ConfigError) as raised:
        made(three(**hosts), **values)
    assert len(raised.value.problems) == 1, raised.value.problems
    assert raised.value.problems[0].startswith(begins)
    assert raised.value.problems[0].endswith(".")


def test_secrets_of_ones_own_may_name_pods_to_come() -> None:
    given = {"cluster_certificate_secrets": {**TLS, "pg-3": "pg-3-tls"}, "cluster_password_secrets": {"repmgr": "s"}}
    assert made(**given) == made()


@pytest.mark.parametrize("name", ["password_secrets", "certificate_secrets", "authority_secret"])
def test_secrets_of_ones_own_are_for_pods(name: str) -> None:
    with pytest.raises(ConfigError, match=f"cluster_{name} is for pods, and no host is one; take it out"):
        build(
            [Host("a", ("postgres",), {"node_id": 1})],
            {**DEFAULTS, "cluster_durability": "async", f"cluster_{name}": "ca" if "auth" in name else {"a": "b"}},
        )


def test_where_there_is_no_pod_nothing_of_pods_is_judged() -> None:
    hosts = [
        Host(name.replace("-", "x"), (group,), {"node_id": 1} if group == "postgres" else {})
        for name, group in [("a", "postgres")]
    ]
    assert build(hosts, {**DEFAULTS, "cluster_name": "my_db", "cluster_durability": "async"}).name == "my_db"


def test_replicas_are_not_for_hosts() -> None:
    hosts = [Host("a", ("postgres",), {"node_id": 1}), Host("b", ("pgpool",), {"replicas": 2})]
    with pytest.raises(ConfigError, match="b: replicas is for a pgpool of place pod"):
        build(hosts, {**DEFAULTS, "cluster_durability": "async"})


@pytest.mark.parametrize(
    ("variable", "good", "bad"),
    [
        ("cluster_pod_networks", ["10.244.0.0/16"], ["pods"]),
        ("cluster_storage_size", "1.5Gi", "10 GB"),
        ("cluster_wal_storage_size", "", "much"),
        ("cluster_barman_storage_size", "100M", "-1Gi"),
        ("cluster_storage_class", "fast-ssd", "Fast SSD"),
        ("cluster_storage_access_mode", "ReadWriteOncePod", "ReadWriteMany"),
        ("cluster_image", "registry.example:5000/a/b:1-trixie@sha256:00ff", "a b"),
        ("cluster_image_pull_policy", "Never", "Sometimes"),
        ("cluster_image_pull_secrets", ["login"], ["a/b"]),
        ("cluster_domain", "cluster.local", "Cluster Local"),
        ("cluster_pod_spread", "required", "everywhere"),
        ("cluster_pod_grace", 30, 1),
        ("cluster_pod_timeout", 600, 0),
        ("cluster_resources", {"limits": {"cpu": "500m", "memory": "1Gi"}}, {"limit": {"cpu": 1}}),
        ("cluster_pgpool_resources", {"requests": {"cpu": 1}}, {"requests": {"cpu": "lots"}}),
        ("cluster_barman_resources", {}, {"requests": 1}),
        ("cluster_pod_labels", {"example.org/team": "a"}, {"app.kubernetes.io/name": "a"}),
        ("cluster_pod_annotations", {"example.org/a": "b"}, {"a b": "c"}),
        ("cluster_pod_template", {"spec": {"priorityClassName": "high"}}, {"tolerations": []}),
        ("cluster_services", {"write": {"type": "NodePort", "node_port": 30432}}, {"writes": {}}),
        ("cluster_services", {"pgpool": {"type": "LoadBalancer"}}, {"pgpool": {"type": "Ingress"}}),
        ("cluster_services", {"read": {"annotations": {"a": "b"}}}, {"read": {"port": 1}}),
        ("cluster_service_monitor_labels", {"release": "prometheus"}, {"pgherd.io/set": "a"}),
        ("cluster_authority_secret", "root-ca", "Root CA"),
        ("cluster_certificate_secrets", {"pg-0": "pg-0-tls"}, {"pg-0": "a/b"}),
        ("cluster_password_secrets", {"app": "login", "b": {"name": "x", "key": "password"}}, {"app": "a b"}),
        ("cluster_password_secrets", {"app": {"name": "login"}}, {"app": {"key": "password"}}),
        ("cluster_password_secrets", {}, {"app": {"name": "login", "field": "password"}}),
        ("cluster_password_secrets", {}, {"ca.crt": "login"}),
        ("cluster_password_secrets", {}, {"app": {"name": "login", "key": "a/b"}}),
        ("cluster_services", {"read": {"node_port": 30000}}, {"read": {"node_port": "x"}}),
    ],
)
def test_values(variable: str, good: Any, bad: Any) -> None:
    assert value_problems(variable, good) == []
    found = value_problems(variable, bad)
    assert len(found) == 1, found
    assert found[0].startswith(variable)


def test_pods_have_no_options_of_their_own() -> None:
    """What shapes objects changes no description, and restarts nothing."""
    assert made(cluster_storage_size="1Ti", cluster_pod_spread="none").options == Options.of(made().options.__dict__)
