# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Has one host say who is primary, and derives on the control machine what all others are told."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members import removal
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import plain
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import believe, leave, recall, remember, removal_of


class ActionModule(ActionBase):
    """Front of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and put in the place of its clusters those that follow from the primary that it names."""
        result = super().run(tmp, task_vars)
        given = plain(self._task.args)
        try:
            given["cluster"] = _whole(believe("cluster_model", given["cluster"]), given["node"])
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(
            self._execute_module(module_name="pgherd.cluster.cluster_removal", module_args=given, task_vars=task_vars)
        )
        result.pop("ansible_facts", None)
        if result.get("failed") or result.get("skipped") or result.get("unreachable"):
            return result
        try:
            found = plain(
                removal.models(Cluster.from_dict(given["cluster"]), given["node"], str(result.get("primary")))
            )
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        remember("cluster_model", found["rest"])
        leave(removal_of(given["node"]), {"cluster": given["cluster"], "rest": found["rest"]})
        result.update(found, ansible_facts={"cluster_model": found["rest"]})
        return result


def _whole(cluster: dict[str, Any], node: str) -> dict[str, Any]:
    """The cluster that has the *node* still: once it was looked at, the fact is the one without it."""
    left = recall(removal_of(node), {})
    return dict(left["cluster"]) if left.get("rest") == cluster else cluster
