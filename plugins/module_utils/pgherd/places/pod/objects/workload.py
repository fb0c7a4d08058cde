# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""StatefulSets and Deployments: what keeps as many pods as the inventory has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....model import Cluster, Peer, Pgpool
from .naming import PGPOOL, built, component, labels, set_of
from .template import template
from .volumes import claims
from .wishes import Wishes


def stateful_set(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer], secrets: str = "") -> dict[str, Any]:
    """The StatefulSet of *hosts*, a pod each. All start at once: each waits by itself for whom it needs. Claims stay when it or
    a pod of it goes. *secrets*: see template()."""
    what, name = component(hosts[0]), set_of(hosts[0])
    spec = {
        "replicas": len(hosts),
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "selector": {"matchLabels": labels(cluster, what, name)},
        "template": template(cluster, wishes, hosts, secrets),
        "volumeClaimTemplates": [
            _claim(cluster, wishes, what, name, volume, size) for volume, (_path, size) in claims(wishes, what).items()
        ],
    }
    return built("StatefulSet", cluster, wishes, name, api="apps/v1", what=what, spec=spec)


def _claim(cluster: Cluster, wishes: Wishes, what: str, name: str, volume: str, size: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": volume, "labels": labels(cluster, what, name)},
        "spec": {
            "accessModes": [wishes.storage_access_mode],
            "resources": {"requests": {"storage": str(size)}},
            **({"storageClassName": wishes.storage_class} if wishes.storage_class else {}),
        },
    }


def deployment(cluster: Cluster, wishes: Wishes, host: Pgpool, secrets: str = "") -> dict[str, Any]:
    """The pods of one pgpool. A new one serves before an old one ends. *secrets*: see template()."""
    spec = {
        "replicas": host.replicas,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": labels(cluster, PGPOOL, host.name)},
        "template": template(cluster, wishes, [host], secrets),
    }
    return built("Deployment", cluster, wishes, host.name, api="apps/v1", what=PGPOOL, spec=spec)
