# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the controller-side plugins share: reading the model and the secrets from a task's variables. **PRIVATE**."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory import pods
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.pod_secrets import CERTIFICATES, PASSWORDS
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.layout import version_of
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import PCP_USER, POD, SYSTEM_ROLES, Cluster
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.files.base import (
    packages as host_packages,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import printable
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import believe, recall, remember
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import PLACEHOLDER, SecretStore
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given, plain

# The user's own authority: files that are read on the control machine.
AUTHORITY = ("cluster_ca_certificate", "cluster_ca_key")
# The fact by which Ansible remembers which Python it found on a host, for hosts whose inventory names none. It would take the
# newest there is, and psycopg comes with the distribution's.
INTERPRETER = {"discovered_interpreter_python": "/usr/bin/python3"}
RECOGNISED = "cluster_secrets_path, of a cluster that was looked for on its hosts,"
# The distribution's own PostgreSQL: Debian release -> major version.
DISTRIBUTION_POSTGRES = {"12": 15, "13": 17}


def model(variables: Mapping[str, Any]) -> Cluster:
    """The cluster that cluster_model has put into the facts."""
    return Cluster.from_dict(believe("cluster_model", plain(variables["cluster_model"])))


def secrets_place(variables: Mapping[str, Any]) -> str:
    """The directory of the cluster's secrets on the control machine."""
    return str(believe("cluster_secrets_path", str(variables["cluster_secrets_path"])))


def recognised(variables: Mapping[str, Any]) -> None:
    """From now on this run may make secrets, and give them out: hosts hold no cluster that has others."""
    remember(RECOGNISED, secrets_place(variables))


def store(variables: Mapping[str, Any], forecast: bool) -> SecretStore:
    """The cluster's secrets on the control machine. Raises ConfigError before the hosts were asked for what they hold."""
    return SecretStore(believe(RECOGNISED, secrets_place(variables)), forecast)


def password_names(variables: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Whose passwords are here: pgherd's own roles', PCP's user's, the user's roles', but for those in Secrets of the user's; and
    those of them that are given."""
    users = given(variables, "cluster_users")
    known = {user["name"]: user.get("password") for user in users}
    known.update(given(variables, "cluster_passwords"))
    names = [*SYSTEM_ROLES, PCP_USER, *(user["name"] for user in users)]
    return [name for name in names if name not in given(variables, PASSWORDS)], known


def kept_passwords(secret_store: SecretStore, variables: Mapping[str, Any]) -> dict[str, str]:
    """Clear passwords by role name, but for those in Secrets of the user's."""
    return secret_store.passwords(*password_names(variables))


def passwords(secret_store: SecretStore, variables: Mapping[str, Any]) -> dict[str, str]:
    """Clear passwords by role name. Raises ConfigError where the user's Secrets were not read in this run."""
    elsewhere = recall(read_from(variables)) if given(variables, PASSWORDS) else {}
    return {**kept_passwords(secret_store, variables), **elsewhere}


def read_from(variables: Mapping[str, Any]) -> str:
    """As what the passwords in Secrets of the user's are left to the rest of this run."""
    return f"passwords in Secrets of {secrets_place(variables)}"


def authority_read(variables: Mapping[str, Any]) -> str:
    """As what the authority in Secrets of the user's is left to the rest of this run."""
    return f"authority in Secrets of {secrets_place(variables)}"


def authority(secret_store: SecretStore, variables: Mapping[str, Any]) -> tuple[str, str]:
    """The certificate authority's certificate and key."""
    return secret_store.authority(*(str(variables.get(name) or "") for name in AUTHORITY))


def known_authority(secret_store: SecretStore, variables: Mapping[str, Any]) -> tuple[str, str]:
    """The same where a host's variables are at hand, which are not asked: cluster_model has left the paths to this run. One that
    is in Secrets of the user's is '' where they were not read in this run."""
    said = recall(f"authority of {variables['cluster_secrets_path']}")
    return (str(recall(authority_read(variables), "")), "") if said.get(CERTIFICATES) else authority(secret_store, said)


def certificates(secret_store: SecretStore, cluster: Cluster, variables: Mapping[str, Any]) -> list[str]:
    """Make those of all hosts that are missing or of no use any more, and judge all; none where Secrets of the user's have them.
    Returns what will be wrong soon, in
    sentences. Raises ConfigError with all that is wrong now."""
    if variables.get(CERTIFICATES):
        return []
    own = [str(variables.get(name) or "") for name in AUTHORITY]
    ca = authority(secret_store, variables)
    secret_store.judge_authority(ca, *own)
    soon: list[str] = []
    wrong: list[str] = []

    def judge(name: str, address: str) -> None:
        try:
            if PLACEHOLDER not in secret_store.host(name, certificate_names(cluster, name), ca):
                soon.extend(secret_store.judge_host(name, address, ca, own[0]))
        except ConfigError as error:
            wrong.extend(error.problems)

    for item in cluster.hosts:
        judge(item.name, item.address)
    if wrong:
        raise ConfigError(dict.fromkeys(wrong))
    return list(dict.fromkeys(soon))


def certificate_names(cluster: Cluster, name: str) -> list[str]:
    """All names and addresses that the certificate of host *name* must carry."""
    for item in cluster.hosts:
        if item.name == name and item.place == POD:
            return pods.names(cluster, item)
        if item.name == name:
            return [entry for entry in (item.name, item.address, item.origins.known) if entry]
    raise KeyError(name)


def packages(variables: Mapping[str, Any], cluster: Cluster) -> list[str]:
    """Debian packages that the task's host needs. Raises ConfigError, PgherdError."""
    name = variables["inventory_hostname"]
    return [*host_packages(cluster, name, postgres_version(cluster, name)), *given(variables, "cluster_packages_extra")]


def postgres_version(cluster: Cluster, name: str) -> int:
    """PostgreSQL's major version on the host called *name*, as the *cluster* has it; 0 beside a pgpool, which needs none. Raises
    ConfigError for a host that the cluster does not have, PgherdError where its version should be known and is not."""
    if not any(item.name == name for item in cluster.hosts):
        raise ConfigError([f"{name} is no host of cluster {cluster.name}, so it is not known which PostgreSQL it has."])
    return next((version_of(item) for item in cluster.with_postgres if item.name == name), 0)


def shipped(cluster: Cluster, said: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """PostgreSQL's major version in the distribution of each host, by what it *said* of that; nothing where the user asks for
    one. Raises ConfigError with one sentence for each distribution that is not known."""
    if all(node.version for node in cluster.nodes):
        return {}
    found, wrong = {}, []
    for name, answer in said.items():
        distribution, release = str(answer["distribution"]), str(answer["release"])
        if distribution == "Debian" and release in DISTRIBUTION_POSTGRES:
            found[name] = DISTRIBUTION_POSTGRES[release]
        else:
            wrong.append(
                f"{name}: it runs {printable(f'{distribution} {release}')}; pgherd knows Debian 12 and 13 "
                "(for another Debian, set cluster_postgres_version and cluster_apt_repository)."
            )
    if wrong:
        raise ConfigError(wrong)
    return found
