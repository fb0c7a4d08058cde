# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sees that the node which a host names as the primary to be is one of the inventory: the next task is delegated to it. Shows the
steps while they are done."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.plugin_utils._followed import followed


class ActionModule(ActionBase):
    """Front of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and judge whom it names."""
        result = super().run(tmp, task_vars)
        result.update(followed(self, "pgherd.cluster.cluster_primary", task_vars))
        result.pop("ansible_facts", None)
        target = result.get("target")
        if target and target not in ((task_vars or {}).get("groups") or {}).get("postgres", ()):
            raise AnsibleActionFail(
                f"{self._task.args.get('node')} names {target!r} as the primary to be, which is no host of the group "
                "postgres; put the node of this name there, or look at that host."
            )
        return result
