# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""All objects of a cluster of pods, in the order in which they are applied: what pods read, and by what they are found, first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ....model import Cluster, Peer, Pgpool
from . import config, guards, monitor, rights, secret, service
from .naming import component, sets
from .wishes import Wishes
from .workload import deployment, stateful_set


def objects(
    cluster: Cluster,
    wishes: Wishes,
    secrets: Mapping[str, Any] | None = None,
    told: Cluster | None = None,
    kept: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The objects of *cluster*, all of whose hosts are pods, without its namespace. *secrets*: see secret.Secrets; without any
    there is no Secret among them. *told*: what the pods are told for now, where that is something else. *kept*: by component
    the digest of a Secret that its pods have, where what is theirs in it has not changed. Raises ConfigError for what of the
    user's cannot be, and for missing secrets."""
    known = None if secrets is None else secret.Secrets.of(secrets)
    kinds: dict[str, list[Peer]] = {}
    for host in cluster.hosts:
        kinds.setdefault(component(host), []).append(host)
    digests = {what: secret.digest(cluster, wishes, hosts, known) for what, hosts in kinds.items()}
    digests.update(kept or {})
    found = [
        config.config_map(told or cluster, wishes),
        *(secret.secret(cluster, wishes, hosts, known, digests[what]) for what, hosts in kinds.items() if known),
        rights.account(cluster, wishes),
        rights.role(cluster, wishes),
        rights.binding(cluster, wishes),
        *guards.policies(cluster, wishes),
        service.write(cluster, wishes),
        service.read(cluster, wishes),
    ]
    workloads = []
    for hosts in sets(cluster).values():
        first, digest = hosts[0], digests[component(hosts[0])]
        if isinstance(first, Pgpool):
            found.append(service.pgpool(cluster, wishes, first))
            workloads.append(deployment(cluster, wishes, first, digest))
        else:
            found.append(service.headless(cluster, wishes, hosts))
            workloads.append(stateful_set(cluster, wishes, hosts, digest))
        if wishes.service_monitor:
            found.append(monitor.monitor(cluster, wishes, hosts))
    # As data that is nobody else's: no part of one is a part of another, or of what was given.
    plain: list[dict[str, Any]] = json.loads(json.dumps([*found, *guards.budgets(cluster, wishes), *workloads]))
    return plain
