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
  - pgherd.cluster.attributes.info
  - pgherd.cluster.cluster
  - pgherd.cluster.cluster.node
"""

EXAMPLES = r"""
- name: What this host holds
  pgherd.cluster.postgres_instance_info:
    cluster: "{{ cluster_model }}"
    node: "{{ inventory_hostname }}"
  register: instance
"""

RETURN = r"""
instance:
  description: >-
    C(data) (none, cluster, broken or other), C(standby), C(system_identifier), C(timeline), C(running), C(role) (none, primary or
    standby), C(stale) (files newer than what is loaded), C(pending) (settings that wait for a restart, with both values)
    C(lowered) (those of them that the primary must lower first), C(limits) (what a standby must have at least),
    C(obstacles) (why its directories cannot hold data or be copied), C(restoring) (a restored backup) and C(fresh) (no server
    has run on what initdb has made).
  returned: always
  type: dict
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import Discreet, node_spec, reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance import observe
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import here


def main() -> None:
    """Wire the module."""
    module = Discreet(argument_spec=node_spec(), supports_check_mode=True)
    with reporting_errors(module):
        cluster = Cluster.from_dict(module.params["cluster"])
        found = observe(here(cluster, module.params["node"], told=module.params["postgres_version"]))
        module.exit_json(changed=False, instance=found.to_dict())


if __name__ == "__main__":
    main()
