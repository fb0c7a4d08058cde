# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup packages."""

from __future__ import annotations

DOCUMENTATION = r"""
name: packages
short_description: The Debian packages that the task's host needs
description:
  - Names the packages for all parts that the host has in the cluster, and those of the extensions asked for.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description: Takes none.
"""

EXAMPLES = r"""
- name: Install them
  ansible.builtin.apt:
    name: "{{ lookup('pgherd.cluster.packages') }}"
"""

RETURN = r"""
_list:
  description: The packages' names.
  type: list
  elements: str
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import model, packages


class LookupModule(LookupBase):
    """Front of the core's list of packages."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the list as one term."""
        # Raw in variables, with its templates resolved in hostvars.
        variables = variables["hostvars"][variables["inventory_hostname"]]
        try:
            return [packages(variables, model(variables))]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
