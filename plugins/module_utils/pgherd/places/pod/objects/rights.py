# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the container `api` of a data node may do, by names of its own cluster's objects. Nothing else in a pod may anything."""

from __future__ import annotations

from typing import Any

from ....model import Cluster
from .naming import POSTGRES, built, record_name
from .wishes import Wishes

_GROUP = "rbac.authorization.k8s.io"


def account(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """Whom the data nodes' pods are to the API server."""
    return built("ServiceAccount", cluster, wishes, cluster.name, what=POSTGRES, automountServiceAccountToken=False)


def role(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """Labels of the data nodes' pods, the record of how the cluster began, and events. What is made cannot be named before."""
    pods = sorted(node.name for node in cluster.data_nodes)
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": pods, "verbs": ["get", "patch"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [record_name(cluster)],
            "verbs": ["get", "update"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    return built("Role", cluster, wishes, cluster.name, api=f"{_GROUP}/v1", what=POSTGRES, rules=rules)


def binding(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """Gives the role to the account."""
    return built(
        "RoleBinding",
        cluster,
        wishes,
        cluster.name,
        api=f"{_GROUP}/v1",
        what=POSTGRES,
        roleRef={"apiGroup": _GROUP, "kind": "Role", "name": cluster.name},
        subjects=[{"kind": "ServiceAccount", "name": cluster.name, "namespace": wishes.namespace}],
    )
