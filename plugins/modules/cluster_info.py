#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module cluster_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: Observe a whole cluster and say what is wrong with it
description:
  - Asks every node, pgpool and barman of a cluster at once and returns what they say as data, a list of problems in
    words with the command that cures each, one line of health, and a picture. No problems means healthy.
  - Sets side by side what PostgreSQL, repmgr's metadata and each pgpool say of a node.
  - Any host of the cluster can be asked, and one is enough. It needs to be root there, since it reads the monitoring
    role's password. What does not answer within three seconds is described so and hides nothing else.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
  - pgherd.cluster.cluster.described
options:
  display:
    description:
      - What the control machine prints, as it is and in colour, besides returning it.
      - The one line of health ends every playbook of the collection.
    type: str
    choices: [none, line, picture]
    default: none
  fail_from:
    description:
      - From which health on the task fails. V(critical) includes unknown.
    type: str
    choices: [never, critical, warning]
    default: never
  missing:
    description: Hosts that the play itself could not reach; the line of health names them.
    type: list
    elements: str
    default: []
  waiting:
    description: What the run left for when the primary has been restarted; the line of health ends with it.
    type: list
    elements: str
    default: []
  width:
    description: Columns that the picture may take, 100 at most.
    type: int
    default: 100
requirements:
  - psycopg 3.1 or later on the host that runs the module
"""

EXAMPLES = r"""
- name: Fail when the cluster is in a critical state
  pgherd.cluster.cluster_info:
    fail_from: critical
  become: true
  run_once: true

- name: Look at the cluster
  pgherd.cluster.cluster_info:
  become: true
  run_once: true
  register: info

- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ info.problems | map(attribute='text') }}"
"""

RETURN = r"""
schema:
  description: Version of the document that RV(health), RV(exit_code), RV(line), RV(problems) and RV(topology) make up.
  returned: always
  type: int
  sample: 1
health:
  description: V(healthy), V(degraded), V(critical) or V(unknown).
  returned: always
  type: str
  sample: healthy
exit_code:
  description: 0 healthy, 1 warning, 2 critical, 3 unknown.
  returned: always
  type: int
  sample: 0
line:
  description: One line of health.
  returned: always
  type: str
  sample: demo  HEALTHY  primary pg1 (TL 1)  standbys 4/4  sync 2/1  failover armed 6/6  backup 3h12m ok
picture:
  description: The status picture, without colour.
  returned: always
  type: str
problems:
  description: What is wrong, the worst first.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: A stable name, explained in docs/status.md.
      type: str
      sample: node-down
    severity:
      description: V(critical), V(warning) or V(unknown).
      type: str
    node:
      description: The host it is about, or empty for the cluster.
      type: str
    text:
      description: What is wrong, in words.
      type: str
    cure:
      description: The C(command) that ends it, and C(on), the host whose root runs it, empty for the control machine.
      type: dict
    since:
      description: When it began, in seconds since the epoch, if known.
      type: float
topology:
  description: What was observed. Its form is docs/status.schema.json in the collection.
  returned: always
  type: dict
"""

import os

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    described_spec,
    fail,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.observe.gather import observe
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.words import words_of
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.status.report import read_cluster, report


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **described_spec(),
            "display": {"type": "str", "choices": ["none", "line", "picture"], "default": "none"},
            "fail_from": {"type": "str", "choices": ["never", "critical", "warning"], "default": "never"},
            "missing": {"type": "list", "elements": "str", "default": []},
            "waiting": {"type": "list", "elements": "str", "default": []},
            "width": {"type": "int", "default": 100},
        },
        supports_check_mode=True,
    )
    if module.check_mode and not os.path.exists(module.params["cluster_file"]):
        module.exit_json(changed=False, skipped=True, msg="There is no cluster yet.")  # a dry run of the first day
    with reporting_errors(module):
        cluster = read_cluster(module.params["cluster_file"])
        found = report(
            cluster,
            observe(cluster),
            words_of(cluster),
            missing=module.params["missing"],
            waiting=module.params["waiting"],
        )
        result = {**found.document(), "picture": found.picture(module.params["width"])}
        codes = {"never": (), "critical": (2, 3), "warning": (1, 2, 3)}[module.params["fail_from"]]
        if found.exit_code in codes:
            fail(module, found.line(), **result)
        module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
