#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module repmgr_node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: repmgr_node
short_description: State one node's place in a repmgr cluster
description:
  - Clones an empty node, starts it, registers it, registers it anew when its attributes changed, and lets it follow
    another upstream, as its state needs. Does nothing to a node that is right.
  - The primary is who all nodes say it is, never who one node's table or the inventory says.
  - A data directory that holds a cluster, or anything else, is replaced only with O(wipe=true), and only where the node
    cannot live as it is. An interrupted clone cannot be started by anybody; the next run makes it anew.
  - A stopped server that was a primary while another node is primary now is left alone; RV(left_alone) says what to do.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.cluster
  - pgherd.cluster.cluster.node
  - pgherd.cluster.cluster.steps
options:
  state:
    description:
      - V(member) is a member in its current role. A running primary stays the primary, a running standby keeps the upstream
        it has, an empty node is cloned from its upstream by the model or, where that does not stream from the live
        primary, from the primary. A witness by the model is a V(witness).
      - V(primary) is the primary, registered. Refused while another node is, and for a standby.
      - V(standby) is a standby of O(upstream), registered. Refused for the running primary.
      - V(witness) is a server of its own that knows the nodes and votes, registered.
      - V(absent) is not registered, stopped, and has no slot anywhere. Refused for the primary and for the upstream of
        others. Its data directory stays.
    type: str
    choices: [member, primary, standby, witness, absent]
    default: member
  upstream:
    description:
      - The node to stream from, by its name in the model; for O(state=standby) and O(state=member).
      - The leaf of a cascade goes back to its upstream by the model once that has streamed for a minute. Change the model to
        have it elsewhere for good.
    type: str
    default: ""
  wipe:
    description:
      - Whether a data directory that is in the way of a clone may be replaced. That of a standby whose server does not
        answer is, for nobody can tell whether it ever would.
    type: bool
    default: false
  replaced:
    description:
      - Whether the data directory that counted under this node's name is gone for good - its host, or its disk, will never
        run again - so that the one which is here may take its place. A person's word, see docs/safety.md.
    type: bool
    default: false
  rejoin:
    description:
      - Whether a former primary, or a node whose way back was interrupted, is brought back as a standby of the live
        primary - rewound, or cloned where that cannot be. What only it had is kept, see docs/safety.md. Its agent does it, or
        this module where no agent runs.
    type: bool
    default: false
  lost:
    description:
      - Nodes that this run could not reach, failed on or leaves out. Nobody waits for one of them to become ready.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for another node to be ready, and for this one to start or to stream.
    type: int
    default: 300
requirements:
  - psycopg 3.1 or later and repmgr 5.3 or later on the host
  - repmgr.conf, PostgreSQL's configuration and /etc/pgherd as the roles of this collection write them
seealso:
  - module: pgherd.cluster.postgres_instance
  - module: pgherd.cluster.pg_replication_slot
"""

EXAMPLES = r"""
- name: The node is a member in its current role
  pgherd.cluster.repmgr_node:
    cluster: "{{ cluster_model }}"
    node: "{{ inventory_hostname }}"

- name: The node follows pg2
  pgherd.cluster.repmgr_node:
    cluster: "{{ cluster_model }}"
    node: pg3
    state: standby
    upstream: pg2
"""

RETURN = r"""
left_alone:
  description: Why the node is not what it was asked to be, with what to do; empty where there is no reason.
  returned: always
  type: str
ansible_facts:
  description: What the tasks after this one must know.
  returned: always
  type: dict
  contains:
    repmgr_node:
      description:
        - C(changed), C(member), whether it runs as what it was asked to be, and C(repmgrd) - V(running), V(stopped) or,
          where the server did not answer, V(unknown).
      type: dict
before:
  description:
    - What the node was. C(data), C(running), C(role), C(upstream), C(primary_conninfo), C(slot), and C(record), its row
      in repmgr.nodes.
  returned: always
  type: dict
after:
  description: The same, afterwards.
  returned: always
  type: dict
log:
  description: What was done, with the reasons.
  returned: always
  type: list
  elements: str
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
    node_spec,
    reporting_errors,
    steps_spec,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.agent.asking import Asking
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.node import STATES, Desired, plan
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.node_apply import NodeExecutor, look
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.rejoin import Rejoin
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.of_modules import commands, here


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **node_spec(),
            **steps_spec(),
            "state": {"type": "str", "choices": list(STATES), "default": "member"},
            "upstream": {"type": "str", "default": ""},
            "wipe": {"type": "bool", "default": False},
            "rejoin": {"type": "bool", "default": False},
            "replaced": {"type": "bool", "default": False},
            "lost": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        given, steps = module.params, Steps(module)
        cluster, name = Cluster.from_dict(given["cluster"]), given["node"]
        mine = here(cluster, name, steps.note, given["postgres_version"])
        desired = Desired(
            given["state"], given["upstream"], given["wipe"], given["rejoin"], tuple(given["lost"]), given["replaced"]
        )
        seen = look(mine)
        todo, left_alone = plan(cluster, name, desired, seen, mine.layout)
        asking = Asking(name, commands(cluster, name), steps.say, {"rejoin": Rejoin(mine).run})
        executor = NodeExecutor(mine, given["timeout"], asking.rejoin)
        if left_alone:
            module.warn(left_alone)
        member = bool(todo.after.get("running")) and not left_alone
        facts = {"repmgr_node": {"changed": todo.changed, "repmgrd": seen.repmgrd(name), "member": member}}
        conclude(module, todo, executor, left_alone=left_alone, ansible_facts=facts, log=steps.log)


if __name__ == "__main__":
    main()
