#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module cluster_primary."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_primary
short_description: Make another node the primary
description:
  - O(how=switchover) hands over from the running primary. That is fenced, the target gets all its WAL and is promoted,
    and the old primary becomes its standby. No node needs a shell on another.
  - The node's running agent does it. What has begun goes on when this task ends. Where no agent runs, this module does it.
  - O(how=promote) promotes the node on this host where no primary answers and repmgrd rightly did not. It says what may
    be lost, and does that only with O(accept_loss=true).
  - Refused, with every reason, when it cannot be safe. Aborted anywhere, it leaves one primary; see docs/safety.md.
  - In check mode it chooses, checks, and says what it would do.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster.described
  - pgherd.cluster.cluster.steps
options:
  node:
    description: The node on this host, by its name in the inventory.
    type: str
    required: true
  to:
    description:
      - The node that is to be primary; empty takes the best standby. Without check mode it has to be O(node).
    type: str
    default: ""
  how:
    description: From a running primary, or without one.
    type: str
    choices: [switchover, promote]
    default: switchover
  accept_loss:
    description: Whether commits that only missing nodes have may be lost, for O(how=promote).
    type: bool
    default: false
  force:
    description: Whether to switch over though something speaks against it; RV(against) then says what did.
    type: bool
    default: false
  max_lag:
    description: Bytes that the target may be behind.
    type: int
    default: 16777216
  max_transaction:
    description: Seconds that a transaction may have been running on the primary; it is lost.
    type: float
    default: 60.0
  max_unarchived:
    description: WAL files that may wait to be archived on the primary, which does not stop before.
    type: int
    default: 16
requirements:
  - psycopg 3.1 or later, and the agent of this collection on the nodes
seealso:
  - module: pgherd.cluster.cluster_info
  - module: pgherd.cluster.repmgr_node
"""

EXAMPLES = r"""
- name: Who would take over, and does anything speak against it
  pgherd.cluster.cluster_primary:
    node: pg1
  check_mode: true
  register: choice

- name: Hand over
  pgherd.cluster.cluster_primary:
    node: "{{ choice.target }}"
    to: "{{ choice.target }}"
  delegate_to: "{{ choice.target }}"

- name: Promote the node of the remaining site by hand
  pgherd.cluster.cluster_primary:
    node: dr1
    how: promote
    accept_loss: true
"""

RETURN = r"""
target:
  description: The node that is or would be primary.
  returned: always
  type: str
against:
  description: What speaks against it, one sentence each.
  returned: always
  type: list
  elements: str
log:
  description: What was done, with times.
  returned: always
  type: list
  elements: str
before:
  description: C(primary) before.
  returned: always
  type: dict
after:
  description: C(primary) afterwards.
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    Steps,
    conclude,
    described_spec,
    reporting_errors,
    steps_spec,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.agent.asking import Asking
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import commands, links_from
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.promotion import change, choice, command
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.status.report import read_cluster


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            "node": {"type": "str", "required": True},
            "to": {"type": "str", "default": ""},
            "how": {"type": "str", "choices": ["switchover", "promote"], "default": "switchover"},
            "accept_loss": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "max_lag": {"type": "int", "default": 16777216},
            "max_transaction": {"type": "float", "default": 60.0},
            "max_unarchived": {"type": "int", "default": 16},
            **described_spec(),
            **steps_spec(),
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given, steps = module.params, Steps(module)
        cluster, me = read_cluster(given["cluster_file"]), given["node"]
        links = links_from(cluster, me)

        own = change.ChangeExecutor(cluster, me, links, steps.note)
        executor = Asking(me, commands(cluster, me), steps.say, {"switchover": own.switchover, "promote": own.promote})
        if given["how"] == "promote":
            todo, against = change.promotion(cluster, me, links, given["accept_loss"])
            target, against = me, [against] if against else []
        else:
            found, target = choice.look(cluster, links, given["to"])
            limits = choice.SwitchoverLimits(given["max_lag"], given["max_transaction"], given["max_unarchived"])
            todo, against = change.switchover(cluster, found, target, limits, given["force"])
            if not module.check_mode:
                command.refuse_elsewhere(me, target, todo.changed)
        conclude(module, todo, executor, target=target, against=against, log=steps.log)


if __name__ == "__main__":
    main()
