#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module host_units."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_units
short_description: State that units run with the files as they stand
description:
  - Starts what does not run, restarts what runs since before one of the files changed that it reads at its start, and reloads
    what can read them again.
  - An agent takes up a changed description of the cluster while it runs; that is waited for.
  - Compares times and not results of earlier tasks, so that a run that was interrupted between writing a file and the
    restart is made good by the next one.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
options:
  units:
    description: The units.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The unit's name with its suffix.
        type: str
        required: true
      files:
        description: Files that it reads when it starts. A directory stands for the files in it.
        type: list
        elements: path
        default: []
      description:
        description:
          - The file of the cluster's description, for a unit that is an agent.
          - It is waited for until the agent says that it goes by this file as it is, which it takes up while it runs, and until
            commands have ended that began by the description before. An agent that does not say so in time, or is of a release
            that reads the description only when it starts, is restarted.
        type: path
        default: ""
      reloads:
        description:
          - Files that it reads again when it is told to, by a reload, where O(changed_paths) has one of them. A directory stands
            for the files in it.
        type: list
        elements: path
        default: []
      stale:
        description: Why it has to be started again whatever its files say; empty where it has not.
        type: str
        default: ""
  changed_paths:
    description:
      - RV(pgherd.cluster.host_files#module:changed_paths) of the task that writes the files, for O(units[].reloads), and in
        check mode for all others.
    type: list
    elements: path
    default: []
seealso:
  - module: pgherd.cluster.host_files
"""

EXAMPLES = r"""
- name: The agent runs as it is installed
  pgherd.cluster.host_units:
    units:
      - name: pgherd-agent.service
        files: [/etc/systemd/system/pgherd-agent.service, /usr/lib/pgherd/pgherd]
        description: /etc/pgherd/cluster.json

- name: Repmgrd knows its configuration
  pgherd.cluster.host_units:
    units:
      - name: repmgrd.service
        files: [/etc/systemd/system/repmgrd.service]
        reloads: [/etc/repmgr]
    changed_paths: "{{ files.changed_paths }}"
"""

RETURN = r"""
before:
  description: By unit that was not as it should be, how it was.
  returned: always
  type: dict
after:
  description: The same, afterwards.
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    apply_plan,
    finish,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.deciding import wait_for_commands
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.systemd import SystemdServices
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.taken_up import LIMIT, Agents
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.up_to_date import (
    Unit,
    confirm,
    observe,
    plan,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner

UNIT_SPEC = {
    "name": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "path", "default": []},
    "description": {"type": "path", "default": ""},
    "reloads": {"type": "list", "elements": "path", "default": []},
    "stale": {"type": "str", "default": ""},
}


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "required": True, "options": UNIT_SPEC},
            "changed_paths": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        service = SystemdServices(LocalRunner())
        agents = Agents(service, 0.0 if module.check_mode else LIMIT)
        units = [
            Unit(item["name"], tuple(item["files"]), item["description"], tuple(item["reloads"]), item["stale"])
            for item in module.params["units"]
        ]
        changed = module.params["changed_paths"]
        found = {unit.name: observe(unit, service, agents) for unit in units}
        todo = plan(units, found, changed if module.check_mode else [], changed)
        apply_plan(module, todo, service)
        if not module.check_mode and any(unit.description for unit in units):
            confirm(units, agents)
            wait_for_commands()
        finish(module, todo)


if __name__ == "__main__":
    main()
