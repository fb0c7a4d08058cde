#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module postgres_instance."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_instance
short_description: State that a node's PostgreSQL is initialised, running and knows its configuration
description:
  - Makes a new cluster where the first day's primary has no data and no other node holds the cluster, goes on with one that
    was made and never started, starts a stopped instance where that is safe, makes a running one read changed files, and
    restarts it for settings that need it where that is asked for.
  - Never replaces a data directory and never makes a second primary. An instance that was primary while another node is
    primary now stays stopped; RV(left_alone) says why.
  - A standby without data is left to M(pgherd.cluster.repmgr_node), which clones it.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster
  - pgherd.cluster.cluster.node
options:
  peers:
    description:
      - What the other data nodes said of themselves, as RV(instance) of M(pgherd.cluster.postgres_instance_info), by name.
      - A data node that is missing here counts as one that could not be asked.
    type: dict
    default: {}
  files_changed:
    description: Whether the configuration on disk has just changed, or would in check mode.
    type: bool
    default: false
  initialize_blind:
    description: Make a new cluster although not every data node could be asked.
    type: bool
    default: false
  previous:
    description:
      - The configuration files that were changed just now, as they were, RV(pgherd.cluster.host_files#module:before).
      - They are put back when PostgreSQL cannot take the new ones, or does not come up with them after a restart, which
        then starts it with those before them.
    type: dict
    default: {}
  restart:
    description: Restart when settings wait for it.
    type: bool
    default: false
  always:
    description: Restart in any case, with O(restart=true). This is an act and no state; it is always a change.
    type: bool
    default: false
  start:
    description:
      - Whether a server that does not run is started, or made. A pod's agent does both by itself, and nobody else may.
    type: bool
    default: true
  failed:
    description:
      - Nodes that did not come back from their restart. Where settings wait for a restart here, the files in O(previous) are put
        back, so that a server that crashes later starts.
    type: list
    elements: str
    default: []
  wipe:
    description:
      - Whether this node's data may be replaced. While another node is primary, a server that does not answer is then
        neither started nor waited for - M(pgherd.cluster.repmgr_node) clones it.
    type: bool
    default: false
seealso:
  - module: pgherd.cluster.repmgr_node
"""

EXAMPLES = r"""
- name: PostgreSQL runs
  pgherd.cluster.postgres_instance:
    cluster: "{{ cluster_model }}"
    node: "{{ inventory_hostname }}"
    peers: "{{ what_the_others_said }}"
"""

RETURN = r"""
instance:
  description: The instance as it is afterwards, as M(pgherd.cluster.postgres_instance_info) returns it.
  returned: always
  type: dict
left_alone:
  description: Why a stopped instance was not started, or not as the primary that it had been; empty where there is no reason.
  returned: always
  type: str
writable:
  description: >-
    Whether the server takes writes for its cluster, as the primary or as a witness's own, or in check mode would.
  returned: always
  type: bool
before:
  description: Data, running, and settings that waited for a restart, before.
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
    apply_plan,
    finish,
    node_spec,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance import (
    Instance,
    made_a_standby,
    observe,
    plan,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance_apply import InstanceExecutor
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.writable import writable
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import here


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **node_spec(),
            "peers": {"type": "dict", "default": {}},
            "files_changed": {"type": "bool", "default": False},
            "initialize_blind": {"type": "bool", "default": False},
            "previous": {"type": "dict", "default": {}},
            "restart": {"type": "bool", "default": False},
            "always": {"type": "bool", "default": False},
            "start": {"type": "bool", "default": True},
            "failed": {"type": "list", "elements": "str", "default": []},
            "wipe": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given = module.params
        cluster, name = Cluster.from_dict(given["cluster"]), given["node"]
        mine = here(cluster, name, told=given["postgres_version"])
        said = {
            node.name: Instance.from_dict(given["peers"][node.name]) if given["peers"].get(node.name) else None
            for node in cluster.data_nodes
            if node.name != name
        }
        before = observe(mine)
        todo, left_alone = plan(
            cluster,
            before,
            said,
            files_changed=given["files_changed"],
            initialize_blind=given["initialize_blind"],
            restart=given["restart"],
            always=given["always"],
            wipe=given["wipe"],
            failed=given["failed"] if given["previous"] else (),
            start=given["start"],
        )
        apply_plan(module, todo, InstanceExecutor(mine, given["previous"]))
        after = observe(mine)
        unlike = made_a_standby(before, todo, after)
        if unlike:
            module.warn(unlike)
        why = left_alone or unlike
        takes = writable(before, todo, after, why, module.check_mode)
        finish(module, todo, instance=after.to_dict(), left_alone=why, writable=takes)


if __name__ == "__main__":
    main()
