#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module cluster_identity."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_identity
short_description: State the tables that say which data directory counts under each node's name
description:
  - Makes, in database C(repmgr) of the primary, the schema C(pgherd) with the cluster's own id and epoch, and the table of
    admitted data directories, which the agents fill. What is there is left as it is.
  - The login role must be a superuser. All is committed locally, without waiting for a synchronous standby.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.login
  - pgherd.cluster.attributes
notes:
  - In check mode, a server whose socket or database does not exist counts as an empty one.
seealso:
  - module: pgherd.cluster.pg_roles
"""

EXAMPLES = r"""
- name: The cluster has an identity
  pgherd.cluster.cluster_identity:
    login_port: 5432
"""

RETURN = r"""
before:
  description: By part, whether it was there.
  returned: always
  type: dict
after:
  description: The same afterwards.
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
  sample: ["make schema pgherd, table pgherd.cluster, table pgherd.member, the cluster's id"]
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    conclude,
    login_spec,
    reporting_errors,
    sessions,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.objects.identity import IdentityExecutor, look, plan


def main() -> None:
    """Wire the module."""
    module = Discreet(argument_spec=login_spec(), supports_check_mode=True)
    with reporting_errors(module), sessions(module) as server:
        found = look(server) if server else {}
        conclude(module, plan(found), IdentityExecutor(server))


if __name__ == "__main__":
    main()
