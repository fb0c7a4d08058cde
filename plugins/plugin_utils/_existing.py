# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Secrets of the user's own in Kubernetes: which are read, and whether they hold what they are named for. **PRIVATE**."""

from __future__ import annotations

import ast
import base64
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.pod_secrets import (
    AUTHORITY,
    AUTHORITY_KEY,
    CERTIFICATE_KEY,
    CERTIFICATES,
    KEY_KEY,
    PASSWORDS,
    source,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.model import Cluster, Peer
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod import texts
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects import existing
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.naming import sets
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.wishes import Wishes
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import printable
from ansible_collections.pgherd.cluster.plugins.plugin_utils._certificates import judge_host

# By Secret what it holds, by key; None where there is no such Secret.
Found = Mapping[str, "Mapping[str, bytes] | None"]


@dataclass(frozen=True)
class Existing:
    """The *passwords* by role, and the *authority* that all hosts believe, '' where it is pgherd's. *soon*: what will be wrong
    with certificates, in sentences."""

    passwords: Mapping[str, str] = field(repr=False)
    authority: str
    soon: tuple[str, ...] = ()


def names(cluster: Cluster, wishes: Wishes) -> list[str]:
    """The Secrets that have to be read."""
    return list(dict.fromkeys(secret for secret, _key, _whose in _wanted(cluster, wishes)))


def _wanted(cluster: Cluster, wishes: Wishes) -> Iterator[tuple[str, str, str]]:
    """Each Secret with each key that it has to have, and what that is named for."""
    for role, given in wishes.password_secrets.items():
        yield (*source(str(role), given), f"{PASSWORDS}: the password of {role}")
    if not wishes.certificate_secrets:
        return
    for host in cluster.hosts:
        for key in (CERTIFICATE_KEY, KEY_KEY):
            yield str(wishes.certificate_secrets[host.name]), key, f"{CERTIFICATES}: the certificate of {host.name}"
    for name in _authorities(cluster, wishes):
        yield name, AUTHORITY_KEY, f"{AUTHORITY if wishes.authority_secret else CERTIFICATES}: the authority"


def _authorities(cluster: Cluster, wishes: Wishes) -> list[str]:
    """The Secrets with the authority that one set or another believes."""
    return list(dict.fromkeys(existing.authority(cluster, wishes, hosts) for hosts in sets(cluster).values()))


def judged(cluster: Cluster, wishes: Wishes, found: Found, scratch: str) -> Existing:
    """What the Secrets *found* hold for the *cluster*. *scratch*: a directory of ours alone, for OpenSSL, which takes files.
    Raises ConfigError with a sentence for each thing that is missing or of no use."""
    wrong = list(dict.fromkeys(_missing(cluster, wishes, found)))
    if wrong:
        raise ConfigError(wrong)
    passwords: dict[str, str] = {}
    for role, given in wishes.password_secrets.items():
        secret, key = source(str(role), given)
        try:
            text = texts.password((found[secret] or {})[key])
        except ValueError:
            text = ""
        if not text or not text.isprintable():
            wrong.append(
                f"{PASSWORDS}: the password of {role} in the Secret {secret}, key {key}, is not one line of text; mend it."
            )
        passwords[str(role)] = text
    soon, unfit = _judged_certificates(cluster, wishes, found, scratch) if wishes.certificate_secrets else ((), [])
    if wrong or unfit:
        raise ConfigError([*wrong, *unfit])
    authorities = _authorities(cluster, wishes) if wishes.certificate_secrets else []
    texts_ = dict.fromkeys(_text(found, name, AUTHORITY_KEY) for name in authorities)
    return Existing(passwords, "".join(texts_), tuple(soon))


def _judged_certificates(
    cluster: Cluster, wishes: Wishes, found: Found, scratch: str
) -> tuple[Sequence[str], Sequence[str]]:
    """In sentences what will be wrong with them, and what is: all hosts have to accept all."""
    soon: dict[str, None] = {}
    wrong: dict[str, None] = {}

    def judge(host: Peer, authority: str) -> None:
        secret = str(wishes.certificate_secrets[host.name])
        own = _text(found, secret, CERTIFICATE_KEY), _text(found, secret, KEY_KEY)
        whose = _text(found, authority, AUTHORITY_KEY), _at(authority, AUTHORITY_KEY)
        try:
            soon.update(dict.fromkeys(_judge(host.name, own, secret, whose, host.address, scratch)))
        except ConfigError as error:
            wrong.update(dict.fromkeys(error.problems))

    for host in cluster.hosts:
        for authority in _authorities(cluster, wishes):
            judge(host, authority)
    return list(soon), list(wrong)


def _missing(cluster: Cluster, wishes: Wishes, found: Found) -> Iterator[str]:
    for secret, key, whose in _wanted(cluster, wishes):
        held = found.get(secret)
        if held is None:
            yield f"{whose} is to be in the Secret {secret}, which is not in the namespace {wishes.namespace}; make it there."
        elif not held.get(key):
            yield (
                f"{whose} is to be in the Secret {secret} in the namespace {wishes.namespace}, and that has no {key}; put it "
                "there, or wait until what makes it has."
            )


def _at(secret: str, key: str) -> str:
    return f"{key} of the Secret {secret}"


def _text(found: Found, secret: str, key: str) -> str:
    return (found[secret] or {})[key].decode(errors="replace")


def _judge(
    name: str, own: tuple[str, str], secret: str, authority: tuple[str, str], address: str, scratch: str
) -> list[str]:
    at = f"{name}: {_at(secret, CERTIFICATE_KEY)}", f"{name}: {_at(secret, KEY_KEY)}"
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        files = os.path.join(directory, "crt"), os.path.join(directory, "key")
        for path, text in zip(files, own):
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
        return judge_host(own, at, authority, address, renewed=True, files=files)


def why(message: str) -> str:
    """What the API server said, of what kubernetes.core says that it said, without its headers."""
    # As Python writes bytes.
    body = re.search(r"(?<!\w)b'\{(?:[ -&(-\[\]-~]|\\['\\]|\\[rnt]|\\x[0-9a-f]{2})*'", message)
    if body:
        message = ast.literal_eval(body[0]).decode(errors="replace")
    found = re.search(r'"message": ?"((?:[^"\\]|\\.)*)"', message)
    text = found[1].replace('\\"', '"') if found else message.strip().partition("\n")[0]
    return printable(text[:300]).rstrip(". ") or "no answer"


def decoded(resources: Any) -> Mapping[str, bytes] | None:
    """What the one Secret among *resources*, as kubernetes.core.k8s_info returns them, holds; None where there is none."""
    for item in resources:
        return {str(key): base64.b64decode(text or "") for key, text in (item.get("data") or {}).items()}
    return None
