# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What of a cluster of pods lies in Secrets of the user's own, which pgherd reads and never writes. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..model import PCP_USER, SYSTEM_ROLES
from .hosts import safe

PASSWORDS, CERTIFICATES, AUTHORITY = (
    "cluster_password_secrets",
    "cluster_certificate_secrets",
    "cluster_authority_secret",
)
# As cert-manager and `kubectl create secret tls` call them.
CERTIFICATE_KEY, KEY_KEY, AUTHORITY_KEY = "tls.crt", "tls.key", "ca.crt"
# A password is mounted as a file that is called as its role is.
FILE = re.compile(r"[A-Za-z0-9_-]+")


def source(role: str, given: Any) -> tuple[str, str]:
    """The Secret, and the key in it, of the password of a *role*: *given* is the Secret's name, or a dictionary of its name and
    the key, which is else called as the role."""
    if isinstance(given, Mapping):
        return str(given.get("name") or ""), str(given.get("key") or role)
    return str(given), role


def problems(names: Collection[str], sets: Collection[str], values: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each thing that the variables say of Secrets and that cannot be. *names*: of the hosts that are pods.
    *sets*: their StatefulSets. *values*: of all variables."""
    if not names:
        for variable in (PASSWORDS, CERTIFICATES, AUTHORITY):
            if values.get(variable):
                yield f"{variable} is for pods, and no host is one; take it out."
        return
    yield from _passwords(values)
    if values.get(CERTIFICATES):
        yield from _certificates(names, sets, values)
    elif values.get(AUTHORITY):
        yield f"{AUTHORITY}: name the Secrets with the hosts' certificates in {CERTIFICATES} too."


def _passwords(values: Mapping[str, Any]) -> Iterator[str]:
    given = {str(user.get("name")): user.get("password") for user in values.get("cluster_users") or ()}
    known = {*SYSTEM_ROLES, PCP_USER, *given}
    for role in values.get(PASSWORDS) or ():
        if role not in known:
            yield f"{PASSWORDS}: there is no role {safe(str(role))}; name one of pgherd's, or one of cluster_users."
        elif given.get(role) or (values.get("cluster_passwords") or {}).get(role):
            yield f"{PASSWORDS}: {safe(str(role))} has a password in the variables too; take one of the two out."


def _certificates(names: Collection[str], sets: Collection[str], values: Mapping[str, Any]) -> Iterator[str]:
    certificates = values[CERTIFICATES]
    for variable in ("cluster_ca_certificate", "cluster_ca_key"):
        if values.get(variable):
            yield f"{variable}: certificates come from {CERTIFICATES}; take one of the two out."
    missing = [name for name in names if name not in certificates]
    if missing:
        yield (
            f"{CERTIFICATES} names no Secret for {', '.join(missing)}: certificates of one cluster are of one authority, so name "
            "one for each host."
        )
    for name in certificates:
        # One of a set may be yet to come.
        if name not in names and not _of_a_set(str(name), sets):
            yield f"{CERTIFICATES}: {safe(str(name))} is no host, nor a pod that a set here may get; take it out."
    secrets = [str(secret) for secret in certificates.values()]
    twice = sorted({secret for secret in secrets if secrets.count(secret) > 1})
    if twice:
        yield (
            f"{CERTIFICATES}: {', '.join(twice)} is of more than one host, and each shows by its own who it is; have one "
            "made for each."
        )


def _of_a_set(name: str, sets: Collection[str]) -> bool:
    prefix, _dash, number = name.rpartition("-")
    return prefix in sets and bool(re.fullmatch("0|[1-9][0-9]*", number))
