# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether the secrets here are those of the cluster that hosts hold: none is made before that is known. **PRIVATE**."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import CA_FILE, PCP_USER, SYSTEM_ROLES
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.nodes.found import Holdings
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import cleaned
from ansible_collections.pgherd.cluster.plugins.plugin_utils._certificates import authority_keys

FLAG = "cluster_new_secrets"


def trusting(said: Mapping[str, Holdings], authority: str) -> set[str]:
    """The hosts that trust a certificate with a key of *authority*, which is PEM."""
    keys = authority_keys(authority)
    return {name for name, one in said.items() if keys & authority_keys(one.authority)}


def secret_problems(
    place: str,
    cluster: str,
    living: Mapping[str, Holdings],
    *,
    authority: str,
    own: bool,
    passwords: Collection[str],
) -> list[str]:
    """One sentence where a run would give the *cluster* that *living* hosts hold another authority, or other passwords.

    *authority*: the certificate that is here, or ``''``. *own*: it is the user's, by cluster_ca_certificate. *passwords*: whose
    are here, given or kept in the directory *place*. A single host that has the same is enough: the others have missed a change.
    """
    names = ", ".join(sorted(living))
    with_one = [one for one in living.values() if one.authority]
    missing = [
        *([] if authority else ["authority (ca.key, ca.crt)"]),
        *([] if set(passwords) & {*SYSTEM_ROLES, PCP_USER} else ["passwords (passwords.yml)"]),
    ]
    lives = f"{names}: cluster {cluster} lives there,"
    if living and missing:
        return [
            f"{lives} and its secrets are not here: {place} has no {' and no '.join(missing)}. Made anew they would lock out "
            f"every client, so nothing was made or changed. {_way()}"
        ]
    if with_one and not trusting(living, authority):
        if own:
            return [
                f"{lives} and trusts none of the certificates in cluster_ca_certificate ({CA_FILE} there). Every client would be "
                "locked out, so nothing was made or changed. Change the authority in the steps of docs/security.md, or say "
                f"-e {FLAG}=true."
            ]
        return [
            f"{lives} and trusts another authority ({CA_FILE} there) than that of {place}, which is another cluster's or was "
            f"made anew. Every client would be locked out, so nothing was made or changed. {_way()}"
        ]
    if {one.passwords for one in living.values()} - {""} == {"other"}:
        return [
            f"{lives} with another password of pgherd_monitor than passwords.yml of {place} has, which is another cluster's or "
            f"was made anew. Nothing was made or changed. {_way()} To change one password, see docs/security.md."
        ]
    return []


def _way() -> str:
    return (
        "Copy the directory from where it was made, or name it in cluster_secrets_directory; if it is lost for good, "
        f"-e {FLAG}=true makes new ones (docs/security.md)."
    )


def believed(found: Mapping[str, Any]) -> dict[str, Holdings]:
    """What hosts said, as host_info returns it, by host; one without an answer is left out."""
    said = {name: Holdings.from_dict(one) for name, one in found.items() if one}
    # Names and paths are shown to people; a certificate has its lines.
    return {name: replace(cleaned(one), name=name, authority=str(one.authority)) for name, one in said.items()}
