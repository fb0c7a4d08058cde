#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module host_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell what of a cluster a host holds already
description:
  - Reads which cluster the last run was for, PostgreSQL clusters wherever they lie, what Barman and Pgpool-II serve, and which
    authority and passwords are in use. M(pgherd.cluster.cluster_secrets) compares that with the inventory.
  - Changes nothing, and works on a host that has no package of the cluster yet.
  - An action of the same name fills in all options from the inventory and the secrets; give none.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
options:
  cluster:
    description: The cluster's model, the fact C(cluster_model) of M(pgherd.cluster.cluster_model).
    type: dict
  host:
    description: This host's name in the model.
    type: str
  data_directory:
    description: Where a node's data would be.
    type: str
    default: ""
  packages:
    description: The packages that the host needs.
    type: list
    elements: str
    default: []
  passfile:
    description: Salt and digest of the monitoring role's password, to be compared with the host's.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See what the host holds already (a task of role cluster)
  pgherd.cluster.host_info:
  register: host
"""

RETURN = r"""
found:
  description: >-
    C(described) (the cluster that the host is of, or none), C(servers) (PostgreSQL clusters, with directory, version, port and
    system identifier), C(authority) (certificates that are trusted, as PEM), C(passwords) (V(same), V(other) or empty), C(note),
    C(barman), C(backups) and C(pgpool).
  returned: always
  type: dict
missing:
  description: Those of O(packages) that are not installed, or only because another one needs them.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import Discreet, reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.found import observe
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host import dpkg
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            "cluster": {"type": "dict"},
            "host": {"type": "str"},
            "data_directory": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "passfile": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given = module.params
        found = observe(given["host"], Cluster.from_dict(given["cluster"]), given["data_directory"], given["passfile"])
        missing = dpkg.missing(given["packages"], LocalRunner())
        module.exit_json(changed=False, found=found.to_dict(), missing=missing)


if __name__ == "__main__":
    main()
