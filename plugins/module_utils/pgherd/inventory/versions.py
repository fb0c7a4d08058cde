# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""PostgreSQL's major version on each host, decided before anything is written. Pure.

It is each node's own, since a node may have two side by side while it goes from one to the next. What streams from one another
must have the same (manual, 26.2.1 "Planning").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import ConfigError
from ..model import Cluster


def asked(cluster: Cluster, version: int) -> Cluster:
    """The *cluster* with the *version* that its user asks for everywhere; 0: for none, so that settled() decides it."""
    return _with(cluster, {item.name: version for item in cluster.with_postgres})


def settled(cluster: Cluster, shipped: Mapping[str, int], before: Mapping[str, int]) -> Cluster:
    """The *cluster* with the versions of its nodes and Barmans: what the user asks for, or what a host's distribution has
    *shipped*, by host. Of a host that did not answer it is what it had *before*, and a data node's otherwise that of the others;
    0 where nobody knows.

    Raises ConfigError where data nodes would have different ones.
    """
    found = {
        item.name: item.version or shipped.get(item.name) or before.get(item.name) or 0
        for item in cluster.with_postgres
    }
    by_version: dict[int, list[str]] = {}
    for node in cluster.data_nodes:
        by_version.setdefault(found[node.name], []).append(node.name)
    unknown = by_version.pop(0, [])
    if len(by_version) > 1:
        differ = ", ".join(f"{version} on {', '.join(names)}" for version, names in sorted(by_version.items()))
        raise ConfigError(
            [
                f"PostgreSQL would be {differ}, as their distributions have it, and a standby needs the major version of its "
                "primary; set cluster_postgres_version for all (and cluster_apt_repository where a distribution lacks it)."
            ]
        )
    return _with(cluster, {**found, **{name: version for version in by_version for name in unknown}})


def _with(cluster: Cluster, versions: Mapping[str, int]) -> Cluster:
    return replace(
        cluster,
        nodes=tuple(replace(node, version=versions[node.name]) for node in cluster.nodes),
        barmans=tuple(replace(barman, version=versions[barman.name]) for barman in cluster.barmans),
    )
