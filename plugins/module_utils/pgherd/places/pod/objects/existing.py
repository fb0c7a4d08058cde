# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Secrets of the user's own: which of them a set of pods mounts, as files that are called as in pgherd's own Secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....inventory import pod_secrets
from ....inventory.pods import split
from ....model import Cluster, Peer
from .naming import component, secret_name, set_of
from .secret import AUTHORITY, roles
from .wishes import Wishes


def renews(wishes: Wishes) -> bool:
    """Whether Secrets of the user's own are mounted, which change at any time."""
    return bool(wishes.password_secrets or wishes.certificate_secrets)


def authority(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer]) -> str:
    """The Secret with the authority that the *hosts* of one set believe."""
    if not wishes.certificate_secrets:
        return secret_name(cluster, component(hosts[0]))
    # The first of a set is there as long as the set is.
    return wishes.authority_secret or str(wishes.certificate_secrets[hosts[0].name])


def sources(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer]) -> list[dict[str, Any]]:
    """What the *hosts* of one set mount: pgherd's own Secret, and of the others what is theirs. These may be missing for a
    while, which the pod says; and those of pods yet to come are among them, so that none is made anew when they come."""
    found = [{"secret": {"name": secret_name(cluster, component(hosts[0]))}}]
    needed = sorted({role for host in hosts for role in roles(cluster, host)})
    for role in needed:
        if role in wishes.password_secrets:
            name, key = pod_secrets.source(role, wishes.password_secrets[role])
            found.append(_some(name, {key: role}))
    if wishes.certificate_secrets:
        for name in _names(wishes, hosts):
            keys = {pod_secrets.CERTIFICATE_KEY: f"{name}.crt", pod_secrets.KEY_KEY: f"{name}.key"}
            found.append(_some(str(wishes.certificate_secrets[name]), keys))
        found.append(_some(authority(cluster, wishes, hosts), {pod_secrets.AUTHORITY_KEY: AUTHORITY}))
    return found


def _names(wishes: Wishes, hosts: Sequence[Peer]) -> list[str]:
    """The *hosts* of one set, and those of it that may come."""
    there, of = [host.name for host in hosts], set_of(hosts[0])
    more = [(found[1], name) for name in wishes.certificate_secrets if (found := split(name)) and found[0] == of]
    return there if of in there else [name for _number, name in sorted(more)]


def _some(name: str, keys: dict[str, str]) -> dict[str, Any]:
    items = [{"key": key, "path": path} for key, path in keys.items()]
    return {"secret": {"name": name, "items": items, "optional": True}}
