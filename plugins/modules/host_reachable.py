#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action host_reachable."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_reachable
short_description: See whether a host answers, without failing when it does not
description:
  - Opens the connection and runs a command that does nothing. Needs no Python on the host and becomes nobody.
  - A host that does not answer is printed in one line and stays in the play.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
options: {}
"""

EXAMPLES = r"""
- name: See which hosts answer
  pgherd.cluster.host_reachable:
  register: host_reachable
"""

RETURN = r"""
reachable:
  description: Whether the host answered.
  returned: always
  type: bool
why:
  description: Why not, in the words of the connection.
  returned: always
  type: str
"""

# The action plugin of the same name does it, on the control machine.
