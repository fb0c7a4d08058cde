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
  - Starts what does not run, and restarts what runs since before one of the files changed that it reads at its start.
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
  changed_paths:
    description: For check mode, RV(pgherd.cluster.host_files#module:changed_paths) of the task that writes the files.
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
        files: [/etc/systemd/system/pgherd-agent.service, /etc/pgherd/cluster.json, /usr/lib/pgherd/pgherd]
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import apply_plan, finish, reporting_errors
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.files.units import Unit, observe, plan
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.service import SystemdService

UNIT_SPEC = {
    "name": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "required": True, "options": UNIT_SPEC},
            "changed_paths": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    with reporting_errors(module):
        service = SystemdService(LocalRunner())
        units = [Unit(item["name"], tuple(item["files"])) for item in module.params["units"]]
        changed = module.params["changed_paths"] if module.check_mode else []
        todo = plan(units, {unit.name: observe(unit, service) for unit in units}, changed)
        apply_plan(module, todo, service)
        finish(module, todo)


if __name__ == "__main__":
    main()
