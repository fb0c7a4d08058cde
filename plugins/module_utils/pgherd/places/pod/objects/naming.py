# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How objects are called and labelled, and which of a cluster's hosts are one set of pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....inventory.pods import split
from ....model import Cluster, Node, Peer, Pgpool
from .wishes import Wishes

POSTGRES, WITNESS, PGPOOL, BARMAN = "postgres", "witness", "pgpool", "barman"
# Who a pod is in its cluster, which its container `api` sets; whether it takes reads; and of which set it is.
ROLE, READ, SET = "pgherd.io/role", "pgherd.io/read", "pgherd.io/set"
# What a pod's Secret held when it was made.
SECRETS = "pgherd.io/secrets"
# Of which kind of host an object is.
COMPONENT = "app.kubernetes.io/component"
# The main container of every pod.
MAIN = "node"


def component(host: Peer) -> str:
    """What of a cluster the *host* is."""
    if isinstance(host, Node):
        return POSTGRES if host.kind == "postgres" else WITNESS
    return PGPOOL if isinstance(host, Pgpool) else BARMAN


def set_of(host: Peer) -> str:
    """The StatefulSet of the pod *host*, or its Deployment."""
    found = split(host.name)
    return found[0] if found and not isinstance(host, Pgpool) else host.name


def sets(cluster: Cluster) -> dict[str, list[Peer]]:
    """The hosts of each set of pods, by its name."""
    found: dict[str, list[Peer]] = {}
    for host in cluster.hosts:
        found.setdefault(set_of(host), []).append(host)
    return found


def secret_name(cluster: Cluster, what: str) -> str:
    """The Secret that pods of a component have."""
    return f"{cluster.name}-{'nodes' if what == POSTGRES else what}"


def record_name(cluster: Cluster) -> str:
    """The ConfigMap in which agents note that the cluster was made; the playbook never writes it."""
    return f"{cluster.name}-record"


def common(cluster: Cluster) -> dict[str, str]:
    """The labels by which all that is the cluster's is found."""
    return {"app.kubernetes.io/name": "pgherd", "app.kubernetes.io/instance": cluster.name}


def labels(cluster: Cluster, what: str = "", of: str = "") -> dict[str, str]:
    """The same of one component *what*, and of one set *of* pods."""
    return {
        **common(cluster),
        **({COMPONENT: what} if what else {}),
        **({SET: of} if of else {}),
    }


def texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Labels and annotations are texts, whatever YAML has made of them."""
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}


def built(
    kind: str, cluster: Cluster, wishes: Wishes, name: str, *, api: str = "v1", what: str = "", **parts: Any
) -> dict[str, Any]:
    """An object of a *kind* called *name*, with the *parts* that it has beside its metadata. *what*: of which component it is."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": wishes.namespace,
        "labels": {**texts(wishes.pod_labels), **labels(cluster, what)},
    }
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **parts}
