#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action cluster_addresses; all of it runs on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_addresses
short_description: Decide where each host comes from, and refuses where one would not be found
description:
  - Takes what each host said of itself and of the names of the others, and puts the hosts' addresses into the cluster's
    model, by which pg_hba.conf and pool_hba.conf let them in. A host's C(ip) goes before what it says.
  - Refuses, before anything is written, with one sentence for each name that leads nowhere, to the asking host itself or to
    another's address, and for each host that the others would reject.
  - Puts PostgreSQL's major version on each node and Barman into the model too, by what the hosts said of their distributions
    where the user does not ask for one, and refuses distributions that are not known, or that would give data nodes different
    versions.
  - Connects to no host.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
  - pgherd.cluster.cluster
options:
  said:
    description: What M(pgherd.cluster.host_addresses) returned, by host. A host that is missing here could not be asked.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Know where each host comes from (a task of role cluster)
  pgherd.cluster.cluster_addresses:
    cluster: "{{ cluster_model }}"
    said: "{{ what_the_hosts_said }}"
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: C(cluster_model), with addresses and versions.
  returned: always
  type: dict
"""
