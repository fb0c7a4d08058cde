# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says on the control machine who is electable, from what each host said of itself: no host answers for the others."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members.counting import answer
from ansible_collections.pgherd.cluster.plugins.plugin_utils._answers import reading
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import plain
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import believe


class ActionModule(ActionBase):
    """Front of the module of the same name, which is for what has to be asked of nodes."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """With a stage let the module see that it may begin, where anything has to be seen; else answer here."""
        result = super().run(tmp, task_vars)
        given = plain(self._task.args)
        if given.get("stage") and not boolean(given["stage"].get("held", False)):
            result.update(changed=False, log=[], before={}, after={}, steps=[])
            return result
        if given.get("stage"):
            result.update(self._execute_module(module_name="pgherd.cluster.cluster_counting", task_vars=task_vars))
            result.pop("ansible_facts", None)
            return result
        with reading(
            "what the hosts said of their instances",
            "Give this task the results of postgres_instance_info as they are.",
            AnsibleActionFail,
        ):
            believe("cluster_model", given["cluster"])
            blind = boolean(given.get("initialize_blind", False))
            result.update(changed=False, **plain(answer(given["cluster"], given.get("found") or {}, blind)))
        return result
