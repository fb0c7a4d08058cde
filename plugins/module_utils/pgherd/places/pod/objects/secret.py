# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Secrets: for each component one, with what its pods need and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....errors import ConfigError
from ....model import PCP_USER, Cluster, Peer, Pgpool
from .. import texts
from .naming import SECRETS as MARK
from .naming import built, component, secret_name
from .wishes import Wishes

AUTHORITY, PASSWORDS = "ca.crt", "passwords.json"


@dataclass(frozen=True)
class Secrets:
    """A cluster's secrets: *passwords* by role, the *authority*'s certificate, and of each of the *hosts* its certificate and its
    key, as PEM. *salt*: what a digest has besides, where there may be no key among its contents."""

    passwords: Mapping[str, str] = field(repr=False)
    authority: str
    hosts: Mapping[str, Sequence[str]] = field(repr=False)
    salt: str = field(default="", repr=False)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Secrets:
        """From plain data with the same keys."""
        return cls(given["passwords"], given["authority"], given["hosts"], given.get("salt") or "")


class _Asked(dict[str, str]):
    """Has an empty password for everybody, and notes for whom it was asked."""

    def __missing__(self, key: str) -> str:
        self[key] = ""
        return ""


def roles(cluster: Cluster, host: Peer) -> list[str]:
    """Whose passwords the *host* needs: those that its files have."""
    asked = _Asked()
    texts.secrets_of(cluster, host, asked)
    return sorted({*asked, *([PCP_USER] if isinstance(host, Pgpool) else [])})


def contents(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer], secrets: Secrets) -> dict[str, str]:
    """What the Secret of the *hosts* of one component holds, by key: nothing that lies in Secrets of the user's own. Raises
    ConfigError for what is missing."""
    needed = sorted({role for host in hosts for role in roles(cluster, host)} - {*wishes.password_secrets})
    certified = [] if wishes.certificate_secrets else hosts
    missing = [f"the password of {role}" for role in needed if role not in secrets.passwords]
    missing += [f"the certificate of {host.name}" for host in certified if host.name not in secrets.hosts]
    if missing:
        raise ConfigError([f"The Secret for {hosts[0].name} needs {', '.join(missing)}; run role cluster first."])
    found = {AUTHORITY: secrets.authority} if certified else {}
    for host in certified:
        found[f"{host.name}.crt"], found[f"{host.name}.key"] = secrets.hosts[host.name]
    return {**found, PASSWORDS: json.dumps({role: secrets.passwords[role] for role in needed}, sort_keys=True) + "\n"}


def digest(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer], secrets: Secrets | None) -> str:
    """Tells the contents of one Secret from others, '' without any. There are whole keys in it, or a salt is, so nobody finds out
    by trying."""
    if secrets is None:
        return ""
    text = json.dumps(contents(cluster, wishes, hosts, secrets), sort_keys=True) + secrets.salt
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def secret(cluster: Cluster, wishes: Wishes, hosts: Sequence[Peer], secrets: Secrets, mark: str) -> dict[str, Any]:
    """The Secret of the *hosts* of one component, with the *mark* that their pods carry: another one has them made anew."""
    what = component(hosts[0])
    held = contents(cluster, wishes, hosts, secrets)
    data = {key: base64.b64encode(text.encode()).decode() for key, text in held.items()}
    found = built("Secret", cluster, wishes, secret_name(cluster, what), what=what, type="Opaque", data=data)
    found["metadata"]["annotations"] = {MARK: mark}
    return found
