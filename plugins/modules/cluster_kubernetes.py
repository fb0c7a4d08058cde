#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action cluster_kubernetes; all of it runs on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_kubernetes
short_description: See that the Kubernetes that is reached is the one that a cluster of pods is in
description:
  - Asks C(kubectl) for the UID of the namespace kube-system or, where that may not be read, of the cluster's own namespace, and
    fails with one sentence where the file C(kubernetes.json) beside the cluster's secrets says another.
  - Where neither may be read, where no API server answers, and where no host is a pod, it says nothing.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
options:
  remember:
    description:
      - Keep which one it is, and compare nothing.
    type: bool
    default: false
requirements:
  - kubectl
"""

EXAMPLES = r"""
- name: See that it is the same Kubernetes as last time (a task of role cluster)
  pgherd.cluster.cluster_kubernetes:
  run_once: true
"""

RETURN = r"""
kept:
  description: What is kept of it, with the UIDs C(system) and C(uid), the C(namespace), and the C(context) of the first time.
  returned: with O(remember)
  type: dict
"""
