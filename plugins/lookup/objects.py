# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup objects."""

from __future__ import annotations

DOCUMENTATION = r"""
name: objects
short_description: What must exist inside the task's host's PostgreSQL
description:
  - Roles, tablespaces, databases, extensions and grants that the cluster and its user need on the server of the host.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description: One of V(roles), V(tablespaces), V(databases), V(extensions), V(grants), V(passwords); V(spent_roles) and
      V(spent_grants), for when no agent of an earlier release is left; V(options), libpq's options for the sessions that make
      them.
    required: true
"""

EXAMPLES = r"""
- name: Roles of the cluster
  pgherd.cluster.pg_roles:
    roles: "{{ lookup('pgherd.cluster.objects', 'roles') }}"
    passwords: "{{ lookup('pgherd.cluster.objects', 'passwords') }}"
"""

RETURN = r"""
_list:
  description: The objects as plain data; for V(passwords) one dictionary, for V(options) one text.
  type: list
"""

from dataclasses import asdict, is_dataclass
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.objects import objects
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.objects.shield import makers_options
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import model, passwords, postgres_version, store


class LookupModule(LookupBase):
    """Front of the core's objects()."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the kind of object named by the first term."""
        forecast = bool(variables.get("ansible_check_mode"))
        # Raw in variables, with its templates resolved in hostvars.
        variables = variables["hostvars"][variables["inventory_hostname"]]
        try:
            cluster, name = model(variables), variables["inventory_hostname"]
            version = postgres_version(cluster, name)
            if terms[0] == "options":
                return [makers_options(version)]
            wanted = objects(cluster, name, version)
            if terms[0] == "passwords":
                known = passwords(store(variables, forecast), variables)
                return [{role.name: known[role.name] for role in wanted.roles}]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
        return [[asdict(item) if is_dataclass(item) else dict(item) for item in getattr(wanted, terms[0])]]
