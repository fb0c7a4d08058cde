# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""From what a user wrote in an inventory to a Cluster, or to one sentence for each thing that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..errors import ConfigError
from ..model import POD, Barman, Cluster, H, Node, Origins, Pgpool
from ..options import Options
from . import pods, versions
from .check import cluster_problems, leaver_problems, named_problems, tree_problems, version_problems
from .hosts import host_problems, ip_list, is_ip, is_others, network, placed
from .values import balancing, value_problems
from .variables import Host, one_value, unknown_host_keys

T = TypeVar("T", Node, Barman)

GROUPS = ("postgres", "witness", "pgpool", "barman")
# An integer of repmgr's tables.
MOST = 2**31 - 1
# Cluster's own fields; every other cluster_* variable that the core must know travels in Cluster.options.
FIELDS = {
    "name": "cluster_name",
    "port": "cluster_port",
    "pgpool_port": "cluster_pgpool_port",
    "pcp_port": "cluster_pcp_port",
    "durability": "cluster_durability",
    "sync_standbys": "cluster_sync_standbys",
    "replication_slots": "cluster_replication_slots",
}
PER_HOST = {
    "postgres": "cluster_postgres_settings",
    "witness": "cluster_postgres_settings",
    "pgpool": "cluster_pgpool_settings",
    "barman": "cluster_barman_settings",
}
# What is true of one host, and needs no agreement.
OF_A_HOST = ("cluster_become",)
# Known on the control machine only: secrets, paths there, and what single roles need and the core does not.
CONTROL_ONLY = (
    "cluster_become",
    "cluster_postgres_version",
    "cluster_postgres_untried",
    "cluster_secrets_directory",
    "cluster_passwords",
    "cluster_ca_certificate",
    "cluster_ca_key",
    "cluster_apt_repository",
    "cluster_packages_extra",
    # What shapes a cluster's objects in Kubernetes; see places/pod/objects/wishes.py.
    "cluster_domain",
    "cluster_image",
    "cluster_image_pull_policy",
    "cluster_image_pull_secrets",
    "cluster_kubeconfig",
    "cluster_kube_context",
    "cluster_pod_networks",
    "cluster_pod_grace",
    "cluster_pod_labels",
    "cluster_pod_annotations",
    "cluster_pod_spread",
    "cluster_pod_template",
    "cluster_network_policy",
    "cluster_resources",
    "cluster_services",
    "cluster_service_monitor",
    "cluster_service_monitor_labels",
    "cluster_password_secrets",
    "cluster_certificate_secrets",
    "cluster_authority_secret",
    "cluster_storage_access_mode",
    "cluster_storage_class",
    "cluster_storage_size",
    "cluster_wal_storage_size",
    "cluster_pgpool_resources",
    "cluster_barman_resources",
    "cluster_barman_storage_size",
)
# What is asked of one run, and no part of what the cluster is: hosts are not told, and nothing restarts for it.
OF_ONE_RUN = (
    "cluster_restart_primary",
    "cluster_initialize",
    "cluster_wipe",
    "cluster_replaced",
    "cluster_new_secrets",
    "cluster_switchover_to",
    "cluster_switchover_force",
    "cluster_switchover_max_lag",
    "cluster_switchover_max_transaction",
    "cluster_switchover_max_unarchived",
    "cluster_restart_in_place",
    "cluster_promote",
    "cluster_accept_loss",
    "cluster_remove",
    "cluster_pod_timeout",
    "cluster_manifests_directory",
    "cluster_manifests_secrets",
)


def build(hosts: Sequence[Host], defaults: Mapping[str, Any]) -> Cluster:
    """The cluster that *hosts* and the role's *defaults* describe. *defaults* names every known ``cluster_*`` variable.

    Raises ConfigError with every problem found, in the order in which a person should mend them.
    """
    problems = _value_problems(hosts, defaults)
    if problems:
        # What is taken apart below is what it should be.
        raise ConfigError(problems)
    values: dict[str, Any] = {}
    for variable, default in defaults.items():
        if variable not in (*PER_HOST.values(), *OF_A_HOST):
            values[variable], wrong = one_value(variable, default, hosts)
            problems += wrong
    problems += pods.pod_problems(hosts, values)
    hosts = [_with_address(host, values) for host in hosts]
    problems += _alias_problems(hosts)
    for host in hosts:
        problems += unknown_host_keys(host)
        problems += _group_problems(host)
    nodes = tuple(
        _node(host, kind, problems, defaults)
        for kind in ("postgres", "witness")
        for host in hosts
        if kind in host.groups
    )
    problems += tree_problems(nodes)
    if problems:
        raise ConfigError(problems)
    reached = _reached_by(hosts)
    # By number and by name: the order in which an inventory names its hosts changes no file.
    nodes = tuple(
        sorted(
            (_by_way(node, reached) for node in _ids_and_witness_upstreams(nodes)),
            key=lambda node: (node.kind == "witness", node.id),
        )
    )
    pgpools = [
        _by_way(Pgpool(**_common(host, "pgpool", defaults), replicas=int(host.variables.get("replicas") or 1)), reached)
        for host in hosts
        if "pgpool" in host.groups
    ]
    barmans = [
        _by_way(Barman(**_common(host, "barman", defaults)), reached) for host in hosts if "barman" in host.groups
    ]
    hidden = {*FIELDS.values(), *PER_HOST.values(), *CONTROL_ONLY, *OF_ONE_RUN}
    options = {name[len("cluster_") :]: value for name, value in values.items() if name not in hidden}
    options["networks"] = [network(entry) for entry in options.get("networks") or ()]
    options["pgpool_read_balancing"] = balancing(options.get("pgpool_read_balancing"))
    options["users"] = [
        {key: value for key, value in user.items() if key != "password"} for user in options.get("users", ())
    ]
    cluster = Cluster(
        nodes=nodes,
        pgpools=tuple(sorted(pgpools, key=lambda pgpool: pgpool.name)),
        barmans=tuple(sorted(barmans, key=lambda barman: barman.name)),
        options=Options.of(options),
        **{name: values[variable] for name, variable in FIELDS.items() if variable in values},
    )
    version = values.get("cluster_postgres_version") or 0
    cluster = _pods(versions.asked(cluster, version), values)
    problems = cluster_problems(cluster)
    problems += version_problems(version, bool(values.get("cluster_postgres_untried", False)))
    for variable in ("cluster_wipe", "cluster_replaced"):
        problems += named_problems(cluster, variable, values.get(variable, ()))
    if values.get("cluster_remove"):
        problems += leaver_problems(cluster, values["cluster_remove"])
    if problems:
        raise ConfigError(problems)
    return cluster


def _with_address(host: Host, values: Mapping[str, Any]) -> Host:
    """A pod with the address that its name gives it, where it has none of the user's."""
    if placed(host.variables) != POD or host.variables.get("address"):
        return host
    return Host(host.name, host.groups, {**host.variables, "address": pods.address(host, values)})


def _pods(cluster: Cluster, values: Mapping[str, Any]) -> Cluster:
    """The *cluster* with what its pods are not asked: where they come from, and which PostgreSQL their image has."""
    image = str(values.get("cluster_image") or "")
    ships = pods.RELEASES.get(pods.release(image) if image else pods.RELEASE, 0)

    def known(item: H) -> H:
        return replace(item, origins=Origins(pods.networks(values))) if item.place == POD else item

    def versioned(item: T) -> T:
        return replace(item, version=item.version or ships) if item.place == POD else item

    return replace(
        cluster,
        nodes=tuple(versioned(known(node)) for node in cluster.nodes),
        pgpools=tuple(known(pgpool) for pgpool in cluster.pgpools),
        barmans=tuple(versioned(known(barman)) for barman in cluster.barmans),
    )


def _value_problems(hosts: Sequence[Host], defaults: Mapping[str, Any]) -> list[str]:
    """One sentence for each value that is not what it should be, with the hosts that have it."""
    wrong: dict[str, list[str]] = {}
    problems: list[str] = []
    for host in hosts:
        problems += host_problems(
            host.name, host.variables, any(group in host.groups for group in ("postgres", "witness"))
        )
        for variable in defaults:
            if variable in host.variables:
                for sentence in value_problems(variable, host.variables[variable]):
                    wrong.setdefault(sentence, []).append(host.name)
    for variable, default in defaults.items():
        for sentence in value_problems(variable, default):
            wrong.setdefault(sentence, [])
    for sentence, names in wrong.items():
        everywhere = len(names) in (0, len(hosts))
        problems.append(sentence if everywhere else f"{', '.join(names)}: {sentence}")
    return problems


def _common(host: Host, group: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    variable = PER_HOST[group]
    given = ip_list(host.variables.get("ip"))
    address = str(host.variables.get("address") or host.name)
    return {
        "name": host.name,
        "address": address,
        "origins": Origins.of(given, (given or [entry for entry in ip_list(address) if is_ip(entry)] or [""])[0]),
        "settings": host.variables.get(variable, defaults.get(variable, {})),
        "place": placed(host.variables),
    }


def _alias_problems(hosts: Sequence[Host]) -> list[str]:
    """Names and addresses by which two hosts would be taken for one another. PostgreSQL takes no heed of case where it counts
    standbys (SyncRepGetStandbyPriority() in syncrep.c), nor does DNS."""
    known: dict[str, list[str]] = {}
    for host in hosts:
        common = _common(host, "postgres", {})
        origins = common["origins"]
        for alias in {str(one).lower() for one in (host.name, common["address"], origins.known, *origins.addresses)}:
            if alias:
                known.setdefault(alias, []).append(host.name)
    return [
        f"{', '.join(names)}: {alias} would be each of them; give each host a name, an address and an ip of its own."
        for alias, names in known.items()
        if len(names) > 1
    ]


def _reached_by(hosts: Sequence[Host]) -> dict[str, str]:
    """The address by which Ansible reaches each host, where that can be the host's own: one that several have is a bastion's
    or this machine's, with a port for each."""
    found = {host.name: ip_list(host.variables.get("ansible_host"))[:1] for host in hosts}
    said = [ip for ips in found.values() for ip in ips]
    said += [ip for host in hosts for ip in ip_list(host.variables.get("ip"))]
    return {
        name: ip for name, ips in found.items() for ip in ips if is_ip(ip) and is_others(ip) and said.count(ip) == 1
    }


def _by_way(item: H, reached: Mapping[str, str]) -> H:
    """A host with the address by which Ansible reaches it, where nothing better is known."""
    origins = item.origins
    return replace(item, origins=replace(origins, known=origins.known or reached.get(item.name, "")))


def _node(host: Host, kind: str, problems: list[str], defaults: Mapping[str, Any]) -> Node:
    numbers = {"node_id": 0, "priority": 0 if kind == "witness" else 100}
    for key in numbers:
        given = host.variables.get(key, numbers[key])
        if isinstance(given, bool) or not re.fullmatch(r"\d+", str(given)):
            problems.append(f"{host.name}: {key} must be a whole number from 0 up, not {given!r}.")
        elif int(given) > MOST:
            problems.append(f"{host.name}: {key} is at most {MOST}, not {given}.")
        else:
            numbers[key] = int(given)
    return Node(
        kind=kind,
        id=numbers["node_id"],
        priority=numbers["priority"],
        upstream=str(host.variables.get("upstream") or ""),
        location=str(host.variables.get("location") or "default"),
        **_common(host, kind, defaults),
    )


def _group_problems(host: Host) -> list[str]:
    nodes = [group for group in host.groups if group in ("postgres", "witness")]
    if len(nodes) > 1:
        return [f"{host.name}: it is in the groups postgres and witness, which exclude each other; take it out of one."]
    if "witness" in host.groups and len(host.groups) > 1:
        return [f"{host.name}: a witness has the host to itself; take it out of {', '.join(host.groups)} or witness."]
    if "pgpool" in host.groups and len(host.groups) > 1:
        others = ", ".join(group for group in host.groups if group != "pgpool")
        return [f"{host.name}: it is in the groups pgpool and {others}, which exclude each other; use two hosts."]
    if "barman" in host.groups and "postgres" in host.groups:
        return [f"{host.name}: barman on a data node is lost with it; use two hosts."]
    return []


def _ids_and_witness_upstreams(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """A single node needs no number; a witness without an upstream watches the first primary."""
    root = next(node.name for node in nodes if node.kind == "postgres" and not node.upstream)
    return tuple(
        replace(
            node,
            id=node.id or 1,
            upstream=root if node.kind == "witness" and not node.upstream else node.upstream,
        )
        for node in nodes
    )
