# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says on the control machine where each host comes from and which PostgreSQL it has, by what each said of itself."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory import versions
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.addresses import parse, settled
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.plugin_utils._answers import reading
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import plain, shipped
from ansible_collections.pgherd.cluster.plugins.plugin_utils._heard import Heard, hear, kept
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import believe, remember


class ActionModule(ActionBase):
    """See the module cluster_addresses for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the cluster with its hosts' addresses and versions as the fact cluster_model."""
        result = super().run(tmp, task_vars)
        given = plain(self._task.args)
        with reading(
            "what the hosts said of their addresses",
            "Give this task the results of host_addresses as they are.",
            AnsibleActionFail,
        ):
            cluster = Cluster.from_dict(believe("cluster_model", given["cluster"]))
            place = believe("cluster_secrets_path", str((task_vars or {})["cluster_secrets_path"]))
            before = kept(place)
            cluster = settled(cluster, parse(given["said"]), before.addresses)
            cluster = versions.settled(cluster, shipped(cluster, given["said"]), before.versions)
            found = plain(cluster.to_dict())
            addresses = {
                item.name: list(item.origins.addresses)
                for item in cluster.hosts
                if item.name in given["said"] or item.name in before.addresses
            }
            known = {item.name: item.version for item in cluster.with_postgres if item.version}
            hear(place, Heard(addresses, known))
        remember("cluster_model", found)
        result.update(changed=False, ansible_facts={"cluster_model": found})
        return result
