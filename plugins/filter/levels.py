# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter levels."""

from __future__ import annotations

DOCUMENTATION = r"""
name: levels
short_description: The nodes in the order in which they can be cloned
description:
  - Lists the names of a cluster's nodes, level by level of the first day's tree. The primary comes first; each other
    node comes after its upstream, and each witness after the primary.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _input:
    description: The cluster's model, the fact C(cluster_model) of M(pgherd.cluster.cluster_model).
    type: dict
    required: true
  upto:
    description:
      - A node's name. The last level is that node's, so that a host meets no task of levels behind its own. What hosts include
        for their levels one after the other stays in this order.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Upstreams first
  ansible.builtin.include_tasks: node.yml
  loop: "{{ cluster_model | pgherd.cluster.levels(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: One list of names for each level.
  type: list
  elements: list
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.node import levels


def of_model(cluster: Mapping[str, Any], upto: str = "") -> list[list[str]]:
    """The levels of a cluster given as plain data, all or *upto* a node's."""
    return levels(Cluster.from_dict(cluster), upto)


class FilterModule:
    """Front of the core's node.levels()."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"levels": of_model}
