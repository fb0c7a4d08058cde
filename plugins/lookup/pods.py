# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup pods."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pods
short_description: The hosts of the inventory that are pods, and how each is reached
description:
  - For the playbooks of this collection, which give these hosts the connection P(kubernetes.core.kubectl#connection), so that
    no inventory has to.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
"""

EXAMPLES = r"""
- name: Know how pods are reached
  ansible.builtin.add_host:
    name: "{{ item.name }}"
    ansible_connection: kubernetes.core.kubectl
    ansible_kubectl_namespace: "{{ item.namespace }}"
    ansible_kubectl_pod: "{{ item.pod }}"
  loop: "{{ lookup('pgherd.cluster.pods') }}"
"""

RETURN = r"""
_list:
  description: >-
    For each its C(name) in the inventory, C(namespace), C(pod) and C(container) by which commands are run there, and
    C(kubeconfig) and C(context), empty where Kubernetes is reached as C(kubectl) does by itself. Empty where no host is a pod.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._pods import ways


class LookupModule(LookupBase):
    """Front of _pods.ways()."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the list as one term."""
        try:
            return [ways(variables)]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
