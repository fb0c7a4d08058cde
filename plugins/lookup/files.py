# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lookup files."""

from __future__ import annotations

DOCUMENTATION = r"""
name: files
short_description: The files that one program needs on the task's host
description:
  - Renders the configuration of one part of the cluster for the host of the task, for the module
    M(pgherd.cluster.host_files). Secrets are read on the control machine and stand in options that are never shown.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
options:
  _terms:
    description: The parts, each one of V(repository), V(base), V(cluster), V(postgres), V(repmgr), V(pgpool), V(barman).
    required: true
  model:
    description: Another model of the cluster than the fact C(cluster_model).
    type: dict
  counted:
    description: Who is electable by V(cluster), while that changes; a C(counted) of M(pgherd.cluster.cluster_counting).
    type: dict
  named:
    description: Who is electable by V(postgres), while that changes; a C(named) of M(pgherd.cluster.cluster_counting).
    type: dict
"""

EXAMPLES = r"""
- name: Configure Pgpool-II
  pgherd.cluster.host_files:
    files: "{{ lookup('pgherd.cluster.files', 'pgpool') }}"
"""

RETURN = r"""
_list:
  description: The files, as options of M(pgherd.cluster.host_files).
  type: list
  elements: dict
"""

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.members.counting import counting
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.instance import Instance
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.files.facts import HostFacts
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.programs.postgres import floors
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import (
    certificate_names,
    known_authority,
    model,
    passwords,
    plain,
    postgres_version,
    store,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._rollout import instances
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given

CORE = "ansible_collections.pgherd.cluster.plugins.module_utils.pgherd"


class LookupModule(LookupBase):
    """Front of the core's places/host/files."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Render each part named in *terms*."""
        name = variables["inventory_hostname"]
        forecast = bool(variables.get("ansible_check_mode"))
        # What the role postgres has learned of the instances of all hosts of the play.
        found = instances(variables)
        # Raw in variables, with its templates resolved in hostvars.
        variables = variables["hostvars"][name]
        try:
            cluster = model({"cluster_model": kwargs["model"]} if kwargs.get("model") else variables)
            secret_store = store(variables, forecast)
            ca = known_authority(secret_store, variables)
            certificate, key = secret_store.host(name, certificate_names(cluster, name), ca)
            secrets = {
                **passwords(secret_store, variables),
                "tls:ca": ca[0],
                "tls:certificate": certificate,
                "tls:key": key,
            }
            if cluster.options.ssh_keys:
                secrets["ssh:private"], secrets["ssh:public"] = secret_store.ssh_pair()
            facts = HostFacts(
                postgres_version(cluster, name),
                given(variables, "cluster_apt_repository"),
                _floors(cluster, name, found),
            )
            counts = {"cluster": kwargs.get("counted"), "postgres": kwargs.get("named")}
            rendered = [
                asdict(file)
                for term in terms
                for file in importlib.import_module(f"{CORE}.places.host.files.{term}").files(
                    counting(cluster, plain(counts.get(term))), name, facts, secrets
                )
            ]
        except PgherdError as error:
            raise AnsibleError(str(error)) from error
        return [rendered]


def _floors(cluster: Cluster, name: str, found: Mapping[str, Any]) -> Mapping[str, int]:
    """What the data node called *name* must have at least of some settings; nothing for other hosts."""
    names = [node.name for node in cluster.data_nodes]
    said = {host: Instance.from_dict(data) for host, data in found.items() if host in names}
    return floors(said.pop(name), said) if name in said else {}
