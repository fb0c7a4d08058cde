#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action cluster_secrets; all of it runs on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_secrets
short_description: See that hosts hold what the inventory asks for, and make missing secrets
description:
  - Compares what M(pgherd.cluster.host_info) found on the hosts with the inventory, and fails with one sentence for each living
    cluster that is another, lies elsewhere, has another version or port, or whose secrets are not here.
  - Then makes what is missing of passwords, certificate authority and host certificates, on the control machine. No lookup of
    this collection gives a secret before that.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
options:
  found:
    description: RV(pgherd.cluster.host_info#module:found) of every host that answered, by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Recognise what is there, and make missing secrets (a task of role cluster)
  pgherd.cluster.cluster_secrets:
    found: "{{ what_the_hosts_said }}"
  run_once: true
"""

RETURN = r"""
made:
  description: What was, or in check mode would be, made on the control machine.
  returned: always
  type: list
  elements: str
"""
