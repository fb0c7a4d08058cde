# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup rollout."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
short_description: What this run knows of all nodes, and what follows from it
description:
  - For the roles and playbooks of this collection, which register what each node said of itself. What follows is decided by
    the core, from what all nodes that are in the play have said.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description:
      - V(answers) is by host what its task has O(registered), or what that has under O(key).
      - V(instances) is by node what M(pgherd.cluster.postgres_instance_info) returned as its C(instance).
      - V(restarts) says which servers are restarted, in this order - C(turns) one after the other, then C(primaries), then
        the standbys of primaries that have C(lowered) a limit. Primaries that are C(waiting) may not be restarted now.
        C(pending) are all that wait for a restart. Where nodes have C(failed), nobody else is restarted.
      - V(failed) are nodes that this run has begun with, and that are not in it any more.
      - V(lost) are nodes that are not in the play. Nobody waits for one of them to become ready.
      - V(missing) are nodes that are not in the play, or that this run has not left as members.
      - V(expected) are data nodes that may still be waited for. Where this run has been at the nodes before, those that it
        left as members; else all. An empty list says that this run has failed on every node.
    required: true
  registered:
    description:
      - The variable that has the answers. For V(instances) it is C(postgres_found) by default, and for V(restarts)
        C(postgres_state).
    type: str
  key:
    description: What of the answers is returned, all by default.
    type: str
  names:
    description: The nodes that V(missing) looks at, all by default.
    type: list
    elements: str
  always:
    description: Restart all nodes, with V(restarts), whether settings wait for it or not.
    type: bool
    default: false
  primary:
    description: The primary may be restarted, with V(restarts).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Backups are taken
  pgherd.cluster.barman_server:
    cluster: "{{ cluster_model }}"
    host: "{{ inventory_hostname }}"
    wait: "{{ lookup('pgherd.cluster.rollout', 'expected') | length > 0 }}"
"""

RETURN = r"""
_raw:
  description: A dictionary for V(answers), V(instances) and V(restarts), else a list of names.
  type: raw
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.plugin_utils._answers import reading
from ansible_collections.pgherd.cluster.plugins.plugin_utils._rollout import answers, instances, rollout


class LookupModule(LookupBase):
    """Front of the core's rollout.py."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return what the first term names as one term."""
        what = terms[0]
        with reading(
            f"what the nodes said in this run, for {what!r}",
            "Leave what tasks of this collection register as it is.",
        ):
            if what == "answers":
                return [answers(variables, kwargs["registered"], kwargs.get("key") or "")]
            if what == "instances":
                return [instances(variables, kwargs.get("registered") or "postgres_found")]
            known = rollout(variables, kwargs.get("registered") or "postgres_state")
            if what == "restarts":
                order = known.restarts_of_all if kwargs.get("always") else known.restarts
                return [order(bool(kwargs.get("primary"))).to_dict()]
            if what == "missing":
                return [list(known.missing(kwargs.get("names") or ()))]
            return [list({"failed": known.failed, "lost": known.lost, "expected": known.expected}[what])]
