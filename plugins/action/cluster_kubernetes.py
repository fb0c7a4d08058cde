# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action cluster_kubernetes: another Kubernetes than the one that a cluster is in is not touched."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._pods import names
from ansible_collections.pgherd.cluster.plugins.plugin_utils._whereabouts import Kept


class ActionModule(ActionBase):
    """See the module cluster_kubernetes for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare, and with ``remember`` keep which one it is."""
        result = super().run(tmp, task_vars)
        result["changed"] = False
        variables = task_vars or {}
        if not names(variables):
            return result
        try:
            kept = Kept(variables)
            if boolean(self._task.args.get("remember", False)):
                before, after = kept.remember(bool(self._task.check_mode))
                result.update(changed=before != after, diff={"before": before, "after": after}, kept=after)
            else:
                kept.check()
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        return result
