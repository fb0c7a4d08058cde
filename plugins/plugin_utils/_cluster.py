# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the controller-side plugins share: reading the model and the secrets from a task's variables. **PRIVATE**."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import PCP_USER, SYSTEM_ROLES, Cluster
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore

# The distribution's own PostgreSQL: Debian release -> major version.
DISTRIBUTION_POSTGRES = {"12": 15, "13": 17}


def plain(value: Any) -> Any:
    """*value* without Ansible's tags, which YAML writers refuse; dates become text."""
    return json.loads(json.dumps(value, default=str))


def model(variables: Mapping[str, Any]) -> Cluster:
    """The cluster that cluster_topology has put into the facts."""
    return Cluster.from_dict(plain(variables["cluster_model"]))


def store(variables: Mapping[str, Any], forecast: bool) -> SecretStore:
    """The cluster's secrets on the control machine."""
    return SecretStore(str(variables["cluster_secrets_path"]), forecast)


def passwords(secret_store: SecretStore, variables: Mapping[str, Any]) -> dict[str, str]:
    """Clear passwords by role name: pgherd's own roles, PCP's user, the user's roles."""
    users = plain(variables.get("cluster_users") or [])
    given = {user["name"]: user.get("password") for user in users}
    given.update(plain(variables.get("cluster_passwords") or {}))
    names = [*SYSTEM_ROLES, PCP_USER, *(user["name"] for user in users)]
    return secret_store.passwords(names, given)


def authority(secret_store: SecretStore, variables: Mapping[str, Any]) -> tuple[str, str]:
    """The certificate authority's certificate and key."""
    return secret_store.authority(variables.get("cluster_ca_certificate") or "", variables.get("cluster_ca_key") or "")


def certificate_names(cluster: Cluster, name: str) -> list[str]:
    """All names and addresses that the certificate of host *name* must carry."""
    for item in (*cluster.nodes, *cluster.pgpools, *cluster.barmans):
        if item.name == name:
            return [entry for entry in (item.name, item.address, item.ip) if entry]
    raise KeyError(name)


def postgres_version(variables: Mapping[str, Any]) -> int:
    """PostgreSQL's major version on the task's host. Raises ConfigError on a distribution that is not known."""
    if variables.get("cluster_postgres_version"):
        return int(variables["cluster_postgres_version"])
    facts = variables.get("ansible_facts", {})
    distribution = str(facts.get("distribution"))
    release = str(facts.get("distribution_major_version"))
    if distribution != "Debian" or release not in DISTRIBUTION_POSTGRES:
        raise ConfigError(
            [
                f"{variables['inventory_hostname']}: it runs {distribution} {release}; pgherd knows Debian 12 and 13 "
                "(for another Debian, set cluster_postgres_version and cluster_apt_repository)."
            ]
        )
    return DISTRIBUTION_POSTGRES[release]
