#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module postgres_instance_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_instance_info
short_description: Tell what a host knows of its own PostgreSQL instance
description:
  - Looks at the data directory, pg_control and the socket of this host only. Works where PostgreSQL is not installed yet
    (then there are no data) and where it is stopped.
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
"""

EXAMPLES = r"""
- name: What holds this host
  pgherd.cluster.postgres_instance_info:
    cluster: "{{ cluster_model }}"
    node: "{{ inventory_hostname }}"
    postgres_version: 17
  register: instance
"""

RETURN = r"""
instance:
  description: >-
    C(data) (none, cluster or other), C(standby), C(system_identifier), C(timeline), C(running), C(role) (none, primary or
    standby), C(stale) (files newer than what is loaded), C(pending) (settings that wait for a restart, with both values)
    C(lowered) (those of them that the primary must lower first) and C(limits) (what a standby must have at least).
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance import observe
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "dict", "required": True},
            "node": {"type": "str", "required": True},
            "postgres_version": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        cluster = Cluster.from_dict(module.params["cluster"])
        found = observe(cluster, module.params["node"], module.params["postgres_version"], LocalRunner())
        module.exit_json(changed=False, instance=found.to_dict())


if __name__ == "__main__":
    main()
