# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Services: one without an address for each StatefulSet, by which its pods have names; those of the primary and of reads, whose
pods the agents' labels say; and each pgpool's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....model import Cluster, Node, Peer
from .naming import PGPOOL, POSTGRES, READ, ROLE, SET, built, component, labels, set_of
from .wishes import Wishes


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}


def headless(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer]) -> dict[str, Any]:
    """The names of the pods of one StatefulSet. They hold before a pod is ready: it has to be reached to become that."""
    name, what, options = set_of(hosts[0]), component(hosts[0]), cluster.options
    ports = [_port("agent", options.agent_port)]
    if isinstance(hosts[0], Node):
        ports = [_port("postgres", cluster.port), *ports, _port("peer", options.peer_port)]
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": labels(cluster, what, name),
        "ports": ports,
    }
    made = built("Service", cluster, wishes, name, what=what, spec=spec)
    # By which a ServiceMonitor finds it.
    made["metadata"]["labels"][SET] = name
    return made


def write(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """To the primary, or to nobody."""
    selector = {**labels(cluster, POSTGRES), ROLE: "primary"}
    return _for_clients(cluster, wishes, "write", f"{cluster.name}-write", POSTGRES, selector, cluster.port)


def read(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """To standbys that stream; to the primary where there is none."""
    selector = {**labels(cluster, POSTGRES), READ: "true"}
    return _for_clients(cluster, wishes, "read", f"{cluster.name}-read", POSTGRES, selector, cluster.port)


def pgpool(cluster: Cluster, wishes: Wishes, host: Peer) -> dict[str, Any]:
    """To the pgpools of one name, and to one of their agents."""
    selector = labels(cluster, PGPOOL, host.name)
    made = _for_clients(cluster, wishes, "pgpool", host.name, PGPOOL, selector, cluster.pgpool_port)
    made["spec"]["ports"].append(_port("agent", cluster.options.agent_port))
    made["metadata"]["labels"][SET] = host.name
    return made


def _for_clients(
    cluster: Cluster, wishes: Wishes, wish: str, name: str, what: str, selector: dict[str, str], port: int
) -> dict[str, Any]:
    """A service that clients use, and from outside where the user wishes it so."""
    given = wishes.services.get(wish) or {}
    entry = _port("postgres", port)
    if given.get("node_port") is not None:
        entry["nodePort"] = int(given["node_port"])
    kind = given.get("type") or ("NodePort" if "nodePort" in entry else "ClusterIP")
    made = built(
        "Service", cluster, wishes, name, what=what, spec={"type": kind, "selector": selector, "ports": [entry]}
    )
    if given.get("annotations"):
        own = {str(key): str(value) for key, value in given["annotations"].items()}
        made["metadata"]["annotations"] = {**made["metadata"].get("annotations", {}), **own}
    return made
