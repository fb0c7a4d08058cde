# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints what the module cluster_info found, as people read it: a picture in a task's result is one escaped string."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import printable

COLOURS = ("green", "yellow", "red", "yellow")

display = Display()


class ActionModule(ActionBase):
    """Front of the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and print its line or picture."""
        result = super().run(tmp, task_vars)
        result.update(self._execute_module(module_name="pgherd.cluster.cluster_info", task_vars=task_vars))
        # What one host says of the cluster is no fact about the others.
        result.pop("ansible_facts", None)
        form = self._task.args.get("display", "none")
        if form in ("line", "picture") and form in result:
            first, *others = printable(str(result[form])).splitlines() or [""]
            code = result.get("exit_code")
            display.display(first, color=COLOURS[code] if code in range(len(COLOURS)) else None)
            for line in others:
                display.display(line, color="yellow" if line.startswith("!") else None)
            if result.get("failed"):
                # The callback prints a failed result whole; what has just been shown need not come again as JSON.
                return {key: result[key] for key in ("failed", "msg", "health", "exit_code") if key in result}
        return result
