#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module pgpool_service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pgpool_service
short_description: State that Pgpool-II runs with its files as they stand
description:
  - Starts C(pgpool2.service); when its files differ from those that it has read, makes it read them, and restarts it only
    for what it takes at no other time. Which settings these are is known for Pgpool-II 4.3 to 4.6.
  - A new backend is taken by a reload. One that is no longer in the configuration is detached, and forgotten at the next
    restart; another server under a number that is in use needs a restart.
  - What pgpool has read is known from copies that its unit makes when it starts and reloads (the drop-in of role
    P(pgherd.cluster.pgpool#role)), so that an interrupted run is made good by the next one.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
  - pgherd.cluster.pcp
options:
  foretold:
    description: For check mode, RV(pgherd.cluster.host_files#module:after) of the task that writes the files.
    type: dict
    default: {}
  timeout:
    description: For how many seconds to wait until it serves. Its unit waits until enough backends answer.
    type: float
    default: 60
"""

EXAMPLES = r"""
- name: Pgpool-II runs as it is configured
  pgherd.cluster.pgpool_service:
"""

RETURN = r"""
before:
  description: What pgpool ran with.
  returned: always
  type: dict
after:
  description: What it runs with now.
  returned: always
  type: dict
steps:
  description: One sentence per step, with the reason for a restart.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    apply_plan,
    finish,
    pcp_client,
    pcp_spec,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.systemd import services
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.pools.pgpool_service import (
    FILES,
    PgpoolExecutor,
    observe,
    plan,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            **pcp_spec(),
            "foretold": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 60.0},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        runner = LocalRunner()
        service, pcp = services(), pcp_client(module, runner)
        pending = {}
        if module.check_mode:
            for path in set(FILES) & set(module.params["foretold"]):
                content = module.params["foretold"][path].get("content", "")
                pending[path] = None if content.startswith("(") else content
        todo = plan(observe(service, pcp), pending)
        apply_plan(module, todo, PgpoolExecutor(service, pcp, module.params["timeout"]))
        finish(module, todo)


if __name__ == "__main__":
    main()
