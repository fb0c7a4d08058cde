# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shows the steps of a node's way back while they are done: it may be a clone of hours."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.plugin_utils._followed import followed


class ActionModule(ActionBase):
    """Front of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and show what it does where a person has asked for that."""
        result = super().run(tmp, task_vars)
        rejoin = boolean(self._task.args.get("rejoin", False), strict=False)
        result.update(followed(self, "pgherd.cluster.repmgr_node", task_vars, wanted=rejoin))
        return result
