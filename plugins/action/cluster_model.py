# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action cluster_model: everything that is decided on the control machine before a host is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import GROUPS, build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.pod_secrets import CERTIFICATES
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host, unknown_variables
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import (
    AUTHORITY,
    INTERPRETER,
    certificates,
    plain,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import leave, remember
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import converted, misfits, specification

# Set by this action itself and by role cluster, for all hosts.
OWN_FACTS = ("cluster_model", "cluster_secrets_path", "cluster_said", "cluster_host", "cluster_removal")


class ActionModule(ActionBase):
    """See the module cluster_model for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Check variables and inventory, and return the cluster as the fact cluster_model."""
        result = super().run(tmp, task_vars)
        try:
            options = specification()
            if self._task.args.get("only") != "variables":
                _inside_the_role(task_vars)
            hosts = [_host(name, task_vars) for name in _names(task_vars)]
            _check(options, hosts)
            hosts = [_converted(options, host) for host in hosts]
            if self._task.args.get("only") == "variables":
                return result
            # Raw in task_vars: a role's default may be a template, such as that of cluster_secrets_directory.
            template = self._templar.template
            raw = {name: plain(template(task_vars.get(name))) for name in options}
            values = {name: _value(name, spec, raw[name]) for name, spec in options.items()}
            cluster = build(hosts, values)
            place = str(values["cluster_secrets_directory"])
            remember("cluster_model", plain(cluster.to_dict()))
            remember("cluster_secrets_path", place)
            leave(f"authority of {place}", {name: values[name] for name in (*AUTHORITY, CERTIFICATES)})
            # What stands there and is wrong is said before any host is asked; nothing is made yet.
            secret_store = SecretStore(place, forecast=True)
            secret_store.kept(())
            soon = certificates(secret_store, cluster, values)
        except PgherdError as error:
            raise AnsibleActionFail(str(error)) from error
        result.setdefault("warnings", []).extend(soon)
        result.update(
            changed=False,
            ansible_facts={"cluster_model": cluster.to_dict(), "cluster_secrets_path": place, **INTERPRETER},
        )
        return result


def _value(name: str, spec: Mapping[str, Any], value: Any) -> Any:
    """A variable without a value, as YAML has it behind a bare colon, is one that is not set."""
    if value in (None, "") and "{{" in str(spec.get("default")):
        raise ConfigError([f"{name} has no value where it is set; give it one, or take the line out."])
    return spec.get("default") if value is None else converted(name, spec, value)


def _converted(options: Mapping[str, Any], host: Host) -> Host:
    """The *host* with its variables as what they should be."""
    variables = {
        name: converted(name, options[name], value) if name in options else value
        for name, value in host.variables.items()
        if value is not None or name not in options
    }
    return Host(host.name, host.groups, variables)


def _inside_the_role(task_vars: Mapping[str, Any]) -> None:
    """Templates among the defaults, such as that of the secrets' directory, are resolved for a role's own tasks only."""
    missing = sorted(name for name in ("cluster_name", "cluster_secrets_directory") if name not in task_vars)
    if missing:
        raise ConfigError(
            [
                f"cluster_model: {' and '.join(missing)} cannot be told outside of role pgherd.cluster.cluster, which "
                "has the defaults; run that role in place of this action."
            ]
        )


def _names(task_vars: Mapping[str, Any]) -> list[str]:
    groups = task_vars["groups"]
    return list(dict.fromkeys(name for group in GROUPS for name in groups.get(group, ())))


def _host(name: str, task_vars: Mapping[str, Any]) -> Host:
    variables = task_vars["hostvars"][name]
    wanted = {key: plain(variables[key]) for key in variables if _is_ours(key)}
    return Host(name, tuple(group for group in GROUPS if name in task_vars["groups"].get(group, ())), wanted)


def _is_ours(key: str) -> bool:
    """Leave out Ansible's own: reading them costs time, and none of them is ours to judge."""
    return key == "ansible_host" or not key.startswith(
        ("ansible_", "inventory_", "group_", "groups", "omit", "playbook_")
    )


def _check(options: Mapping[str, Any], hosts: list[Host]) -> None:
    problems: list[str] = []
    known = {*options, *OWN_FACTS}
    common = set.intersection(*(set(host.variables) for host in hosts)) if hosts else set()
    problems += unknown_variables(common, known, "the inventory or the command line")
    for host in hosts:
        problems += unknown_variables(set(host.variables) - common, known, host.name)
    problems += [sentence for name in options for sentence in _wrong_type(name, options[name], hosts)]
    if not hosts:
        problems.append(f"No host is in any of the groups {', '.join(GROUPS)}; see the README for an inventory.")
    if problems:
        raise ConfigError(problems)


def _wrong_type(name: str, spec: Mapping[str, Any], hosts: list[Host]) -> list[str]:
    """One sentence per host whose value does not fit, or one for all where all have it."""
    wrong: dict[str, list[str]] = {}
    for host in hosts:
        for message in misfits(name, spec, host.variables.get(name)):
            wrong.setdefault(message, []).append(host.name)
    return [
        f"{'the inventory or the command line' if len(names) == len(hosts) else ', '.join(names)}: "
        f"{message.rstrip('.')}; mend {name} where it is set."
        for message, names in wrong.items()
    ]
