# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the control machine knows of hosts that are pods, and of their way through Kubernetes. **PRIVATE**."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import GROUPS
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.hosts import placed
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.pods import namespace
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import POD
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given

# The container of every pod in which its process 1 is, and commands are run.
CONTAINER = "node"


def names(variables: Mapping[str, Any]) -> list[str]:
    """The hosts of the inventory that are pods. *variables*: a task's."""
    # Where a playbook is only parsed, or its hosts or tasks are listed, there are no variables of hosts.
    groups, hostvars = variables["groups"], variables.get("hostvars")
    if hostvars is None:
        return []
    known = dict.fromkeys(name for group in GROUPS for name in groups.get(group, ()))
    return [name for name in known if placed({"place": hostvars[name].get("place")}) == POD]


def values(variables: Mapping[str, Any], *wanted: str) -> dict[str, Any]:
    """The *wanted* variables by name, as a pod has them: they hold for the whole cluster. Raises ConfigError."""
    mine = variables["hostvars"][names(variables)[0]]
    return {name: given(mine, name) for name in wanted}


def ways(variables: Mapping[str, Any]) -> list[dict[str, str]]:
    """How each host that is a pod is reached, see the lookup pods. Raises ConfigError."""
    found = names(variables)
    if not found:
        return []
    said = values(variables, "cluster_name", "cluster_namespace", "cluster_kubeconfig", "cluster_kube_context")
    pgpools = variables["groups"].get("pgpool", ())
    return [
        {
            "name": name,
            "namespace": namespace(said),
            # Any of a pgpool's pods, which have no names that stay.
            "pod": f"deployment/{name}" if name in pgpools else str(name),
            "container": CONTAINER,
            "kubeconfig": str(said["cluster_kubeconfig"] or ""),
            "context": str(said["cluster_kube_context"] or ""),
        }
        for name in found
    ]
