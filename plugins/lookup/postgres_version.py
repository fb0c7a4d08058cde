# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup postgres_version."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgres_version
short_description: PostgreSQL's major version on the task's host
description:
  - As the cluster's model has it, which this run has checked - C(cluster_postgres_version) where it is set, else the version
    that the host's distribution ships. V(0) on a host that needs none.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description: Takes none.
  model:
    description: Another model of the cluster than the fact C(cluster_model), such as one that still has a node which leaves.
    type: dict
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ lookup('pgherd.cluster.postgres_version') }}"
"""

RETURN = r"""
_raw:
  description: The version.
  type: int
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import model, postgres_version


class LookupModule(LookupBase):
    """Front of the rule in _cluster.py."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the version as one term."""
        try:
            name = variables["inventory_hostname"]
            # Raw in variables, with its templates resolved in hostvars.
            given = {"cluster_model": kwargs["model"]} if kwargs.get("model") else variables["hostvars"][name]
            return [postgres_version(model(given), name)]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
