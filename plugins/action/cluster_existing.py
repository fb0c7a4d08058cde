# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action cluster_existing: what the user's own Secrets in Kubernetes hold is known, and judged, before anything is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError, Unreachable
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import authority_read, read_from
from ansible_collections.pgherd.cluster.plugins.plugin_utils._existing import decoded, judged, names, why
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import Wanted
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import leave


class ActionModule(ActionBase):
    """See the module cluster_existing for the documentation."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read each Secret once, and leave what they hold to the rest of this run, in no result."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            wanted = Wanted(variables)
            mine, way = wanted.mine, wanted.way
            found = {name: self._read(name, way, variables) for name in names(wanted.cluster, wanted.wishes)}
            held = judged(wanted.cluster, wanted.wishes, found, str(constants.DEFAULT_LOCAL_TMP))
            leave(read_from(mine), dict(held.passwords))
            leave(authority_read(mine), held.authority)
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        result.setdefault("warnings", []).extend(held.soon)
        result.update(changed=False, read=sorted(found))
        return result

    def _read(self, name: str, way: Mapping[str, Any], variables: dict[str, Any]) -> Mapping[str, bytes] | None:
        args = {"api_version": "v1", "kind": "Secret", "namespace": way["namespace"], "name": name}
        args.update({key: way[key] for key in ("kubeconfig", "context") if way[key]})
        said = self._execute_module(module_name="kubernetes.core.k8s_info", module_args=args, task_vars=variables)
        if said.get("failed") or "resources" not in said:
            raise Unreachable(
                f"read the Secret {name} in the namespace {way['namespace']}: {why(str(said.get('msg') or ''))}.",
                "Let whoever runs this playbook get Secrets there, by cluster_kubeconfig and cluster_kube_context.",
            )
        return decoded(said["resources"])
