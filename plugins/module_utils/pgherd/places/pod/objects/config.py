# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The ConfigMap: the cluster's description alone, which holds no secret of pgherd's own."""

from __future__ import annotations

from typing import Any

from ....model import Cluster
from ....render import conf_cluster
from ..texts import DESCRIPTION
from .naming import built
from .wishes import Wishes


def config_map(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """The description of *cluster*, by which all pods go; where who is counted is to change, in one of its stages."""
    return built("ConfigMap", cluster, wishes, cluster.name, data={DESCRIPTION: conf_cluster.text(cluster)})


def namespace(cluster: Cluster, wishes: Wishes) -> dict[str, Any]:
    """The namespace, where it has to be made, with what Kubernetes itself refuses in it."""
    made = built("Namespace", cluster, wishes, wishes.namespace)
    del made["metadata"]["namespace"]
    made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted"
    return made
