# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a host what of a cluster it holds, and whether it has the password that is kept here, without telling it."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.layout import layout
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import MONITOR_ROLE
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.found import monitoring, question
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.files.base import monitor_passfile
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import (
    model,
    packages,
    postgres_version,
    secrets_place,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore


class ActionModule(ActionBase):
    """Front of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Let the module look at the places that the inventory asks for, and those that the host itself knows."""
        result = super().run(tmp, task_vars)
        name = (task_vars or {})["inventory_hostname"]
        # Raw in task_vars, with their templates resolved in hostvars.
        variables = (task_vars or {})["hostvars"][name]
        try:
            cluster = model(variables)
            node = name in {item.name for item in cluster.nodes}
            directory = layout(cluster, postgres_version(cluster, name)).data if node else ""
            wanted = packages(variables, cluster)
            kept = SecretStore(secrets_place(variables), forecast=True).kept([MONITOR_ROLE])
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        args = {
            "cluster": cluster.to_dict(),
            "host": name,
            "data_directory": directory,
            "packages": wanted,
            "passfile": question(monitoring(monitor_passfile(kept))) if kept else "",
        }
        result.update(
            self._execute_module(module_name="pgherd.cluster.host_info", module_args=args, task_vars=task_vars)
        )
        result.pop("ansible_facts", None)
        return result
