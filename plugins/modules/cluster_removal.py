#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module cluster_removal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_removal
short_description: Take a node out of the cluster, from the host of any other
description:
  - Says what the cluster is without the node, refuses where that is not safe, lets those that follow the node follow
    another, and takes its record and its slots away everywhere. Nothing on the host that leaves is needed.
  - The hosts that stay have to be told in between, which the playbook C(pgherd.cluster.remove) does; see
    docs/removing.md for the order and why.
  - In check mode it says what it would do.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster
options:
  node:
    description:
      - The node that leaves, by its name in the model.
      - Once this run has looked, O(cluster) may be the model without it as well, as RV(ansible_facts) has it then.
    type: str
    required: true
  via:
    description: The node on this host, another one.
    type: str
    required: true
  reached:
    description: The nodes whose hosts this run configures.
    type: list
    elements: str
    required: true
  stages:
    description:
      - V(leave) is what comes before the other hosts are told, when C(synchronous_standby_names) has lost the node -
        the standbys that are left have all that was acknowledged, and nobody follows the node any more.
      - V(forget) is what comes after it - its record and its slots are gone.
    type: list
    elements: str
    choices: [leave, forget]
    default: [leave, forget]
requirements:
  - psycopg 3.1 or later, and the agent of this collection on the nodes
seealso:
  - module: pgherd.cluster.repmgr_node
  - module: pgherd.cluster.cluster_primary
"""

EXAMPLES = r"""
- name: Whether pg5 may leave, and what would be done
  pgherd.cluster.cluster_removal:
    cluster: "{{ cluster_model }}"
    node: pg5
    via: pg1
    reached: [pg1, pg2, pg3, pg4]
  check_mode: true
  register: removal
  delegate_to: pg1
"""

RETURN = r"""
cluster:
  description: The cluster that has the node still.
  returned: always
  type: dict
rest:
  description: The same without the node.
  returned: always
  type: dict
way:
  description:
    - By whom agents count and whom PostgreSQL names on the way there, as RV(pgherd.cluster.cluster_counting#module:start) and
      RV(pgherd.cluster.cluster_counting#module:stages). The first stage has other names, the second one other agents, and the
      last one names who has come to be electable.
  returned: always
  type: dict
primary:
  description: The primary.
  returned: always
  type: str
advice:
  description: What to change in the inventory afterwards.
  returned: always
  type: str
ansible_facts:
  description: C(cluster_model) is RV(rest), for the roles that tell the hosts that stay.
  returned: always
  type: dict
log:
  description: What was done.
  returned: always
  type: list
  elements: str
before:
  description: C(registered), C(slot_on) with the nodes that have its slot, and C(followers) of the node.
  returned: always
  type: dict
after:
  description: The same, afterwards.
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    cluster_spec,
    conclude,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members import removal, removal_apply
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import links_from


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **cluster_spec(),
            "node": {"type": "str", "required": True},
            "via": {"type": "str", "required": True},
            "reached": {"type": "list", "elements": "str", "required": True},
            "stages": {
                "type": "list",
                "elements": "str",
                "choices": list(removal.STAGES),
                "default": list(removal.STAGES),
            },
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given, log = module.params, []
        cluster, name = Cluster.from_dict(given["cluster"]), given["node"]
        removal.known(cluster, name)
        links = links_from(cluster, given["via"])
        found = removal_apply.look(cluster, links, given["reached"], name)
        todo = removal.plan(cluster, name, found, given["stages"])
        executor = removal_apply.RemovalExecutor(cluster, links, log.append)
        # The action plugin of this name adds, on the control machine, what follows from who is primary.
        conclude(module, todo, executor, primary=found.primary, log=log)


if __name__ == "__main__":
    main()
