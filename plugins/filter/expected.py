# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter expected."""

from __future__ import annotations

DOCUMENTATION = r"""
name: expected
short_description: The data nodes that may still be waited for in this run
description:
  - Where this run has been at the nodes before, those that it left as members of the cluster; else all data nodes.
  - An empty list says that this run has failed on every node, so that whoever waits for one would wait in vain.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _input:
    description: The cluster's model, the fact C(cluster_model) of M(pgherd.cluster.cluster_model).
    type: dict
    required: true
  _hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Backups are taken
  pgherd.cluster.barman_server:
    cluster: "{{ cluster_model }}"
    host: "{{ inventory_hostname }}"
    wait: "{{ cluster_model | pgherd.cluster.expected(hostvars) | length > 0 }}"
"""

RETURN = r"""
_value:
  description: Names of nodes.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster


def expected(cluster: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """By what role postgres registers where it brings nodes up, and the facts that M(repmgr_node) leaves when it has."""
    names = [node.name for node in Cluster.from_dict(cluster).data_nodes]
    told = {name: hostvars[name] for name in names if name in hostvars}
    if not any("postgres_way" in variables for variables in told.values()):
        return names
    places = {name: (variables.get("ansible_facts") or {}).get("repmgr_node") or {} for name, variables in told.items()}
    return [name for name, place in places.items() if place.get("member")]


class FilterModule:
    """Front of expected()."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"expected": expected}
