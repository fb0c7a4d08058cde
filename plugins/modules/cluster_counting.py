#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module cluster_counting."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_counting
short_description: Tell the way to other electable nodes, or see that its next stage may begin
description:
  - Who is electable is counted by the agents, before a promotion, and named in C(synchronous_standby_names), by which
    commits are acknowledged. Where the inventory says another set of nodes or another number than the nodes do, this
    module says in which stages both change so that no acknowledged commit is at risk at any moment; see docs/safety.md.
  - That is said on the control machine, from what each host said of itself.
  - With O(stage) it waits, on the host, until the stage may begin.
  - Refuses where a node that counts is not in the inventory any more.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster
options:
  found:
    description:
      - What the nodes said of themselves, as RV(pgherd.cluster.postgres_instance_info#module:instance), by name.
      - A data node that is missing here counts as one that could not be asked.
    type: dict
    default: {}
  initialize_blind:
    description: A new cluster may be made although not every data node could be asked.
    type: bool
    default: false
  stage:
    description: One of RV(stages), the next one.
    type: dict
  via:
    description: The node on this host, with O(stage).
    type: str
    default: ""
requirements:
  - with O(stage), psycopg 3.1 or later, and the agent of this collection on the nodes
seealso:
  - module: pgherd.cluster.cluster_removal
"""

EXAMPLES = r"""
- name: Who is electable now, and the way to what the inventory says
  pgherd.cluster.cluster_counting:
    cluster: "{{ cluster_model }}"
    found: "{{ what_the_nodes_said }}"
  register: way

- name: The first stage may begin
  pgherd.cluster.cluster_counting:
    cluster: "{{ cluster_model }}"
    stage: "{{ way.stages[0] }}"
    via: pg1
"""

RETURN = r"""
start:
  description:
    - What is safe with what was found. C(counted) by the agents, C(named) in C(synchronous_standby_names), each with
      C(names) of nodes and how many are C(needed).
  returned: without O(stage)
  type: dict
stages:
  description: What comes after it, one after the other on all nodes, as RV(start). Empty where nothing is to change.
  returned: without O(stage)
  type: list
  elements: dict
nodes:
  description: Nodes that have to be members, with their hosts reached, before and while the stages change them.
  returned: without O(stage)
  type: list
  elements: str
log:
  description: What was seen.
  returned: with O(stage)
  type: list
  elements: str
before:
  description: Empty, nothing is changed here.
  returned: with O(stage)
  type: dict
after:
  description: The same.
  returned: with O(stage)
  type: dict
steps:
  description: One sentence per step.
  returned: with O(stage)
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    cluster_spec,
    conclude,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members import counting, counting_apply
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import links_from


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **cluster_spec(),
            "found": {"type": "dict", "default": {}},
            "initialize_blind": {"type": "bool", "default": False},
            "stage": {"type": "dict"},
            "via": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
        required_by={"stage": ("via",)},
    )
    with reporting_errors(module):
        given, log = module.params, []
        if given["stage"]:
            cluster = Cluster.from_dict(given["cluster"])
            todo = counting_apply.plan(cluster, given["stage"])
            links = links_from(cluster, given["via"])
            conclude(module, todo, counting_apply.CountingExecutor(cluster, links, log.append), log=log)
        # Not reached in a playbook: the action plugin of this name answers, on the control machine.
        answer = counting.answer(given["cluster"], given["found"], given["initialize_blind"])
        module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
