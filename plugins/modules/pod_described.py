#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pod_described."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_described
short_description: Wait until all that decides in a pod goes by a description
description:
  - Runs in a node's pod. Pods see a changed description by themselves, each at its own moment. What is counted before a
    promotion may change again only when nobody goes by what was before; see docs/safety.md.
  - Waits until the pod's own file has it, its agent says that it goes by it, and no command is left that began by another one.
    An agent that does not get there within a minute is restarted.
  - Changes nothing. In check mode it waits for nothing.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster
options:
  node:
    description: The node of this pod.
    type: str
    required: true
  digest:
    description: The SHA-256 of the description.
    type: str
    required: true
seealso:
  - module: pgherd.cluster.cluster_counting
"""

EXAMPLES = r"""
- name: All go by the stage before the next one begins
  pgherd.cluster.pod_described:
    cluster: "{{ cluster_model }}"
    node: "{{ inventory_hostname }}"
    digest: "{{ lookup('pgherd.cluster.kubernetes', 'digest', stage=stage) }}"
"""

RETURN = r"""
steps:
  description: Nothing is done here.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import Discreet, cluster_spec, reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.description import DIGITS, digest_of
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import CLUSTER_FILE, Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import here
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.taken_up import agent_says, wait


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **cluster_spec(),
            "node": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given = module.params
        cluster = Cluster.from_dict(given["cluster"])
        if not module.check_mode:
            place = here(cluster, given["node"])
            wait(
                place.me,
                given["digest"][:DIGITS],
                lambda: digest_of(CLUSTER_FILE),
                lambda: agent_says(place.node.address, cluster.options.agent_port),
                place.services,
            )
        module.exit_json(changed=False, steps=[])


if __name__ == "__main__":
    main()
