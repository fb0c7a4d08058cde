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
  - Makes a new cluster where the first day's primary has no data and no other node holds the cluster, starts a stopped
    instance where that is safe, makes a running one read changed files, and restarts it for settings that need it where
    that is asked for.
  - Never replaces a data directory and never makes a second primary. An instance that was primary while another node is
    primary now stays stopped; RV(left_alone) says why.
  - A standby without data is left to M(pgherd.cluster.repmgr_node), which clones it.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
options:
  cluster:
    description: The cluster's model, the fact C(cluster_model) of M(pgherd.cluster.cluster_topology).
    type: dict
    required: true
  node:
    description: The node on this host, by its name in the model.
    type: str
    required: true
  postgres_version:
    description: PostgreSQL's major version here.
    type: int
    required: true
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
      - They are put back when PostgreSQL cannot take the new ones.
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
    postgres_version: 17
    peers: "{{ what_the_others_said }}"
"""

RETURN = r"""
instance:
  description: The instance as it is afterwards, as M(pgherd.cluster.postgres_instance_info) returns it.
  returned: always
  type: dict
left_alone:
  description: Why a stopped instance was not started; empty where there is no reason.
  returned: always
  type: str
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import apply_plan, finish, reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance import Instance, observe, plan
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance_apply import Executor
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.service import SystemdService


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "dict", "required": True},
            "node": {"type": "str", "required": True},
            "postgres_version": {"type": "int", "required": True},
            "peers": {"type": "dict", "default": {}},
            "files_changed": {"type": "bool", "default": False},
            "initialize_blind": {"type": "bool", "default": False},
            "previous": {"type": "dict", "default": {}},
            "restart": {"type": "bool", "default": False},
            "always": {"type": "bool", "default": False},
            "wipe": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given = module.params
        cluster, runner = Cluster.from_dict(given["cluster"]), LocalRunner()
        name, version = given["node"], given["postgres_version"]
        said = {
            node.name: Instance.from_dict(given["peers"][node.name]) if given["peers"].get(node.name) else None
            for node in cluster.data_nodes
            if node.name != name
        }
        todo, left_alone = plan(
            cluster,
            observe(cluster, name, version, runner),
            said,
            files_changed=given["files_changed"],
            initialize_blind=given["initialize_blind"],
            restart=given["restart"],
            always=given["always"],
            wipe=given["wipe"],
        )
        service = SystemdService(runner)
        apply_plan(module, todo, Executor(cluster, name, version, runner, service, given["previous"]))
        finish(module, todo, instance=observe(cluster, name, version, runner).to_dict(), left_alone=left_alone)


if __name__ == "__main__":
    main()
