# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup variable."""

from __future__ import annotations

DOCUMENTATION = r"""
name: variable
short_description: A variable of the collection as what it should be
description:
  - The value of one C(cluster_*) variable on the task's host, converted as the argument specification of role
    P(pgherd.cluster.cluster#role) has it; its default where it is not set.
  - INI inventories and C(-e name=value) give texts, of which C(false) counts as true in an expression.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description: The variable's name.
    required: true
"""

EXAMPLES = r"""
- name: Say whether the host's data may go
  ansible.builtin.debug:
    msg: "{{ inventory_hostname in lookup('pgherd.cluster.variable', 'cluster_wipe') }}"
"""

RETURN = r"""
_raw:
  description: The value.
  type: raw
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given


class LookupModule(LookupBase):
    """Front of the one conversion in _specification.py."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the value as one term."""
        # Raw in variables, with its templates resolved in hostvars.
        try:
            return [given(variables["hostvars"][variables["inventory_hostname"]], terms[0])]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
