# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compares the clock of a host that is asked for its addresses with this machine's."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.clocks import far_off
from ansible_collections.pgherd.cluster.plugins.plugin_utils._answers import reading


class ActionModule(ActionBase):
    """Front of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Let the module answer; fail in a sentence where the host's time is another."""
        result = super().run(tmp, task_vars)
        result.update(self._execute_module(module_name="pgherd.cluster.host_addresses", task_vars=task_vars))
        result.pop("ansible_facts", None)
        if result.get("failed") or result.get("unreachable"):
            return result
        with reading(
            "what the host said of its clock",
            "Give this task the result of its module as it is.",
            AnsibleActionFail,
        ):
            wrong = far_off((task_vars or {})["inventory_hostname"], int(result["clock"]), int(time.time()))
        if wrong:
            raise AnsibleActionFail(wrong)
        return result
