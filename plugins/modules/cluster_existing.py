#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action cluster_existing; all of it runs on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_existing
short_description: See that Secrets of the user's own hold what a cluster of pods needs
description:
  - Reads the Secrets that C(cluster_password_secrets), C(cluster_certificate_secrets) and C(cluster_authority_secret) name, in
    the cluster's namespace, and fails with one sentence for each that is missing, lacks a key, or holds what is of no use there.
  - What they hold is known to the rest of the run, and is in no result.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
requirements:
  - kubernetes
"""

EXAMPLES = r"""
- name: See what the user's Secrets hold (a task of role cluster)
  pgherd.cluster.cluster_existing:
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
read:
  description: The Secrets that were read, by name.
  returned: always
  type: list
  elements: str
"""
