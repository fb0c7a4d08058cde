#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action cluster_model; all of it runs on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_model
short_description: Check the inventory and make the cluster's model
description:
  - Reads the inventory groups C(postgres), C(witness), C(pgpool) and C(barman), the host variables and all C(cluster_*)
    variables, and fails with one sentence for each thing that is wrong, with the host and the cure.
  - Reads the secrets that are there, and makes none; M(pgherd.cluster.cluster_secrets) does, once the hosts have been asked what
    they hold.
  - Connects to no host. Role P(pgherd.cluster.cluster#role) runs it first, with C(run_once); outside of that role, whose
    defaults it needs, it refuses.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
options:
  only:
    description:
      - V(variables) only checks the names and types of all C(cluster_*) variables, for playbooks that need no role, and
        makes and returns nothing.
    type: str
    choices: [all, variables]
    default: all
"""

EXAMPLES = r"""
- name: Check the inventory before anything is touched (a task of role cluster)
  pgherd.cluster.cluster_model:
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: >-
    C(cluster_model), the whole cluster without secrets, and C(cluster_secrets_path), where the secrets are kept on the
    control machine.
  returned: always
  type: dict
"""
