#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action cluster_pods; all of it runs on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_pods
short_description: Wait until the pods of a cluster run
description:
  - Looks at the pods of the cluster that the role P(pgherd.cluster.cluster#role) has checked in the same run, for
    C(cluster_pod_timeout) seconds at most. While that lasts, it shows what they lack, with the last warning of Kubernetes that
    explains it, each 10 seconds where that is new, and all of it again each minute.
  - Fails with the same, where the pods are not as they should be by then.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
options:
  ready:
    description:
      - Whether they have to be ready, pgpools' too and one of them the primary, and not only to run.
    type: bool
    default: false
  sets:
    description:
      - The StatefulSets as they are. Pods that are not as their set is by now are waited for too.
    type: list
    elements: dict
    default: []
requirements:
  - kubernetes
"""

EXAMPLES = r"""
- name: Pods run (a task of role kubernetes)
  pgherd.cluster.cluster_pods:
    sets: "{{ kubernetes_sets.resources }}"
  register: kubernetes_running
"""

RETURN = r"""
pods:
  description: The names of all pods of the cluster.
  returned: success
  type: list
  elements: str
"""
