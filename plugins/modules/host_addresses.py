#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module host_addresses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_addresses
short_description: Tell a host's addresses, how it gets to others, its distribution and its time
description:
  - Looks up names as the host's own resolver has them, and from which address the host would go there. Sends nothing but
    questions to the name service.
  - A name that is not known is an answer, no failure.
  - An action of the same name compares the host's clock with the control machine's, and fails where they are half an hour apart
    or more. A certificate made there begins an hour back, and what is not valid yet on the host, or signed packages from
    tomorrow, would be refused there in other words.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes.info
options:
  names:
    description: Names and addresses of the cluster's hosts.
    type: list
    elements: str
    required: true
seealso:
  - module: pgherd.cluster.cluster_addresses
"""

EXAMPLES = r"""
- name: How does this host get to the others
  pgherd.cluster.host_addresses:
    names: [pg1, pg2.example.org, 10.0.0.3]
  register: said
"""

RETURN = r"""
own:
  description: The host's own addresses.
  returned: always
  type: list
  elements: str
ways:
  description: >-
    By name, C(sources) with the name's addresses, in the resolver's order, and the address from which the host would go to
    each (empty where there is no way), and C(why) there is none.
  returned: always
  type: dict
"""

import time

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import Discreet, distribution, reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.names import look
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    with reporting_errors(module):
        name, release = distribution()
        found = look(module.params["names"], LocalRunner())
        module.exit_json(changed=False, distribution=name, release=release, clock=int(time.time()), **found)


if __name__ == "__main__":
    main()
