# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action cluster_secrets: a living cluster is recognised before anything is made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.found import Holdings
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.recognise import holders, problems
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import (
    AUTHORITY,
    certificates,
    kept_passwords,
    model,
    password_names,
    recognised,
    secrets_place,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._heard import keep
from ansible_collections.pgherd.cluster.plugins.plugin_utils._living import FLAG, believed, secret_problems, trusting
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import recall
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given, plain


class ActionModule(ActionBase):
    """See the module cluster_secrets for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Refuse what contradicts the inventory, then make missing secrets."""
        result = super().run(tmp, task_vars)
        hostvars = (task_vars or {})["hostvars"]
        variables = hostvars[(task_vars or {})["inventory_hostname"]]
        try:
            cluster = model(variables)
            secret_store = SecretStore(secrets_place(variables), bool(self._task.check_mode))
            said = believed(plain(self._task.args.get("found") or {}))
            _recognise(cluster, secret_store, said, variables)
            recognised(variables)
            keep(secrets_place(variables), bool(self._task.check_mode))
            # All that is one for the whole cluster: lookups run for many hosts at once, and each would make its own.
            kept_passwords(secret_store, variables)
            if cluster.options.ssh_keys:
                secret_store.ssh_pair()
            # What ends soon has been told before any host was asked.
            certificates(secret_store, cluster, recall(f"authority of {secrets_place(variables)}"))
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnsibleActionFail(
                f"Read what the hosts hold: {type(error).__name__}: {error}. Give this task the results of host_info as they are."
            ) from error
        result.update(changed=bool(secret_store.made), made=secret_store.made)
        return result


def _recognise(
    cluster: Cluster,
    secret_store: SecretStore,
    said: Mapping[str, Holdings],
    variables: Mapping[str, Any],
) -> None:
    """Raise ConfigError where hosts hold something else than the inventory, or the secrets here, are for."""
    place = secrets_place(variables)
    paths = recall(f"authority of {place}")
    own, key = (str(paths.get(name) or "") for name in AUTHORITY)
    here = secret_store.present_authority(own, key)
    wrong = problems(
        cluster,
        said,
        trusted=trusting(said, here),
        wipe=given(variables, "cluster_wipe"),
    )
    if not wrong and not given(variables, FLAG):
        names, known = password_names(variables)
        wrong = secret_problems(
            place,
            cluster.name,
            {name: said[name] for name in holders(cluster, said)},
            authority=here,
            own=bool(own),
            passwords={*(name for name in names if known.get(name)), *secret_store.kept(names)},
        )
    if wrong:
        raise ConfigError(wrong)
