# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the host answers, as data: a host that is down is what a status is asked for, not an error of the play."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import printable
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import INTERPRETER

display = Display()


class ActionModule(ActionBase):
    """Documented in the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one command that does nothing, without becoming anybody."""
        result = super().run(tmp, task_vars)
        result.update(changed=False, reachable=True, why="", ansible_facts=INTERPRETER)
        try:
            done = self._low_level_execute_command("true", sudoable=False)
            why = "" if done["rc"] == 0 else done["stderr"] or f"the connection's program exited {done['rc']}"
        except AnsibleConnectionFailure as error:
            why = str(error)
        if why:
            why = printable(" ".join(why.split())).removeprefix("Failed to connect to the host via ssh: ")
            result.update(reachable=False, why=why)
            display.display(f"{(task_vars or {}).get('inventory_hostname')} is missing: {why}", color="yellow")
        return result
