# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""From what a user wrote in an inventory to a Cluster, or to one sentence for each thing that is wrong with it."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError
from .inventory_check import cluster_problems, tree_problems, wipe_problems
from .model import Barman, Cluster, Node, Pgpool

GROUPS = ("postgres", "witness", "pgpool", "barman")
HOST_KEYS = ("node_id", "upstream", "priority", "location", "address", "ip")
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
# Where else than at all hosts a variable that holds for the whole cluster may be set: at all hosts of one group.
HOMES = {"cluster_pgpool_": "pgpool", "cluster_pcp_": "pgpool", "cluster_barman_": "barman", "cluster_": "postgres"}
# Known on the control machine only: secrets, paths there, and what single roles need and the core does not.
CONTROL_ONLY = (
    "cluster_platform",
    "cluster_postgres_version",
    "cluster_secrets_directory",
    "cluster_passwords",
    "cluster_ca_certificate",
    "cluster_ca_key",
    "cluster_apt_repository",
    "cluster_packages_extra",
)
# What is asked of one run, and no part of what the cluster is: hosts are not told, and nothing restarts for it.
OF_ONE_RUN = (
    "cluster_restart_primary",
    "cluster_initialize",
    "cluster_wipe",
    "cluster_switchover_to",
    "cluster_switchover_force",
    "cluster_switchover_max_lag",
    "cluster_switchover_max_transaction",
    "cluster_switchover_max_unarchived",
    "cluster_restart_in_place",
    "cluster_promote",
    "cluster_accept_loss",
    "cluster_remove",
)


@dataclass(frozen=True)
class Host:
    """One inventory host: its *groups* among GROUPS, and all *variables* set for it (without role defaults)."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)


def unknown_variables(names: Iterable[str], known: Iterable[str], where: str) -> list[str]:
    """One sentence for each ``cluster_*`` name that no specification knows, with the name that was probably meant."""
    known = sorted(known)
    sentences = []
    for name in sorted(set(names)):
        if name.startswith("cluster_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else "see docs/variables.md for the names there are."
            sentences.append(f"{where}: there is no variable {name}; {hint}")
    return sentences


def unknown_host_keys(host: Host) -> list[str]:
    """One sentence for each host variable that is almost one of HOST_KEYS."""
    sentences = []
    for key in sorted(host.variables):
        if key in HOST_KEYS or key.startswith(("ansible_", "cluster_")):
            continue
        close = difflib.get_close_matches(key, HOST_KEYS, n=1, cutoff=0.8)
        if close and close[0] not in host.variables and key != close[0] + "s":
            sentences.append(f"{host.name}: there is no host variable {key}; did you mean {close[0]}?")
    return sentences


def one_value(variable: str, default: Any, hosts: Sequence[Host]) -> tuple[Any, list[str]]:
    """The value of a cluster-wide *variable*: what hosts say, else *default*. With a sentence where they do not agree, or
    where only some hosts have it, for whom alone it was perhaps meant."""
    said = [(host.name, host.variables[variable]) for host in hosts if variable in host.variables]
    if not said:
        return default, []
    first_host, value = said[0]
    for host, other in said[1:]:
        if other != value:
            return value, [
                f"{variable} holds for the whole cluster, but {first_host} says {value!r} and {host} says {other!r}; "
                "set it once, for all hosts."
            ]
    home = next(group for prefix, group in HOMES.items() if variable.startswith(prefix))
    names = {name for name, _value in said}
    at_home = {host.name for host in hosts if home in host.groups}
    if len(names) < len(hosts) and not (at_home and at_home <= names):
        return value, [
            f"{', '.join(name for name, _value in said)}: {variable} holds for the whole cluster and cannot differ by host; "
            f"set it for all hosts or for the group {home}."
        ]
    return value, []


def build(hosts: Sequence[Host], defaults: Mapping[str, Any]) -> Cluster:
    """The cluster that *hosts* and the role's *defaults* describe. *defaults* names every known ``cluster_*`` variable.

    Raises ConfigError with every problem found, in the order in which a person should mend them.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for variable, default in defaults.items():
        if variable not in PER_HOST.values():
            values[variable], wrong = one_value(variable, default, hosts)
            problems += wrong
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
    nodes = _ids_and_witness_upstreams(nodes)
    hidden = {*FIELDS.values(), *PER_HOST.values(), *CONTROL_ONLY, *OF_ONE_RUN}
    options = {name[len("cluster_") :]: value for name, value in values.items() if name not in hidden}
    options["users"] = [
        {key: value for key, value in user.items() if key != "password"} for user in options.get("users", ())
    ]
    cluster = Cluster(
        nodes=nodes,
        pgpools=tuple(Pgpool(**_common(host, "pgpool", defaults)) for host in hosts if "pgpool" in host.groups),
        barmans=tuple(Barman(**_common(host, "barman", defaults)) for host in hosts if "barman" in host.groups),
        options=options,
        **{name: values[variable] for name, variable in FIELDS.items() if variable in values},
    )
    problems = cluster_problems(cluster) + wipe_problems(cluster, values.get("cluster_wipe", ()))
    if problems:
        raise ConfigError(problems)
    return cluster


def _common(host: Host, group: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    variable = PER_HOST[group]
    given = str(host.variables.get("ip") or host.variables.get("ansible_host") or "")
    try:
        ip = str(ipaddress.ip_address(given))
    except ValueError:
        ip = ""
    return {
        "name": host.name,
        "address": str(host.variables.get("address") or host.name),
        "ip": ip,
        "settings": host.variables.get(variable, defaults.get(variable, {})),
    }


def _node(host: Host, kind: str, problems: list[str], defaults: Mapping[str, Any]) -> Node:
    numbers = {"node_id": 0, "priority": 0 if kind == "witness" else 100}
    for key in numbers:
        given = host.variables.get(key, numbers[key])
        if isinstance(given, bool) or not re.fullmatch(r"\d+", str(given)):
            problems.append(f"{host.name}: {key} must be a whole number from 0 up, not {given!r}.")
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
    from dataclasses import replace

    root = next(node.name for node in nodes if node.kind == "postgres" and not node.upstream)
    return tuple(
        replace(
            node,
            id=node.id or 1,
            upstream=root if node.kind == "witness" and not node.upstream else node.upstream,
        )
        for node in nodes
    )
