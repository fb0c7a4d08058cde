# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action cluster_pods: a person sees what pods wait for while a run waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError, Unreachable
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import one_line
from ansible_collections.pgherd.cluster.plugins.plugin_utils._events import explained
from ansible_collections.pgherd.cluster.plugins.plugin_utils._existing import why
from ansible_collections.pgherd.cluster.plugins.plugin_utils._kubernetes import Wanted, missing
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import plain
from ansible_collections.pgherd.cluster.plugins.plugin_utils._waiting import awaited

display = Display()


class ActionModule(ActionBase):
    """See the module cluster_pods for the documentation."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look until the pods are as they should be, and tell meanwhile what they lack."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        ready, sets = boolean(self._task.args.get("ready", False)), plain(self._task.args.get("sets") or [])
        pods: list[Any] = []

        def look() -> Sequence[str]:
            try:
                pods[:] = self._found("Pod", variables, way, label_selectors=way["selectors"])
            except Unreachable as error:
                return [str(error)]
            return list(missing(wanted.cluster, pods, sets, ready))

        def explain(waits: Sequence[str]) -> Sequence[str]:
            try:
                events = self._found("Event", variables, way, field_selectors=["type=Warning"])
            except Unreachable:
                # Who may not see them is told the rest.
                return []
            return explained(waits, events)

        try:
            wanted = Wanted(variables)
            way = wanted.way
            met = "all pods are ready" if ready else "all pods run"
            left = awaited(look, explain, lambda line: display.display(one_line(line)), way["timeout"], met=met)
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnsibleActionFail(
                f"Read what Kubernetes says of pods: {type(error).__name__}: {error}. Give this task StatefulSets as "
                "kubernetes.core.k8s_info returned them."
            ) from error
        if left:
            raise AnsibleActionFail(
                f"After {way['timeout']} s in the namespace {way['namespace']}: {' '.join(left)} Mend that, or, where it only "
                "takes longer, run again with -e cluster_pod_timeout=SECONDS."
            )
        result.update(changed=False, pods=[str(pod["metadata"]["name"]) for pod in pods])
        return result

    def _found(self, kind: str, variables: dict[str, Any], way: Mapping[str, Any], **more: Any) -> list[Any]:
        """The objects of a *kind* in the cluster's namespace. Raises Unreachable."""
        args = {"api_version": "v1", "kind": kind, "namespace": way["namespace"], **more}
        args.update({key: way[key] for key in ("kubeconfig", "context") if way[key]})
        said = self._execute_module(module_name="kubernetes.core.k8s_info", module_args=args, task_vars=variables)
        if said.get("failed") or "resources" not in said:
            raise Unreachable(f"Kubernetes does not say which {kind}s there are: {why(str(said.get('msg') or ''))}.")
        return list(plain(said["resources"]))
