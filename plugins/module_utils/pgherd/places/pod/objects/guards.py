# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What keeps others away from a cluster: how many of its pods may be moved at once, and who reaches which port."""

from __future__ import annotations

from typing import Any

from ....model import Cluster
from .naming import BARMAN, COMPONENT, PGPOOL, POSTGRES, WITNESS, built, common, labels
from .wishes import Wishes


def budgets(cluster: Cluster, wishes: Wishes) -> list[dict[str, Any]]:
    """One at a time of all that vote, and one at a time of each pgpool's pods."""
    voters = {
        "matchLabels": common(cluster),
        "matchExpressions": [{"key": COMPONENT, "operator": "In", "values": [POSTGRES, WITNESS]}],
    }
    found = [(f"{cluster.name}-nodes", POSTGRES, voters)]
    found += [
        (f"{cluster.name}-{pgpool.name}", PGPOOL, {"matchLabels": labels(cluster, PGPOOL, pgpool.name)})
        for pgpool in cluster.pgpools
        if pgpool.replicas > 1
    ]
    return [
        built(
            "PodDisruptionBudget",
            cluster,
            wishes,
            name,
            api="policy/v1",
            what=what,
            spec={"maxUnavailable": 1, "selector": selector},
        )
        for name, what, selector in found
    ]


def policies(cluster: Cluster, wishes: Wishes) -> list[dict[str, Any]]:
    """The cluster's own pods reach each other; everybody else the ports for clients alone, and the agents' for health."""
    health = [cluster.options.agent_port]
    if cluster.options.agent_plain_listen:
        health.append(cluster.options.agent_plain_port)
    open_ports = {POSTGRES: [cluster.port, *health], PGPOOL: [cluster.pgpool_port, *health]}
    there = {POSTGRES: cluster.data_nodes, WITNESS: cluster.witnesses, PGPOOL: cluster.pgpools, BARMAN: cluster.barmans}
    return [
        built(
            "NetworkPolicy",
            cluster,
            wishes,
            f"{cluster.name}-{what}",
            api="networking.k8s.io/v1",
            what=what,
            spec={
                "podSelector": {"matchLabels": labels(cluster, what)},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {"from": [{"podSelector": {"matchLabels": common(cluster)}}]},
                    {"ports": [{"protocol": "TCP", "port": port} for port in open_ports.get(what, health)]},
                ],
            },
        )
        for what, hosts in there.items()
        if hosts and wishes.network_policy
    ]
