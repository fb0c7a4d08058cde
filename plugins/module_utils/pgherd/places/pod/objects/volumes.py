# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is mounted where in a pod. Its root file system cannot be written, so each place that is written to is named here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....layout import DATA, WAL
from ....model import TLS_DIRECTORY
from .naming import BARMAN, MAIN, PGPOOL, POSTGRES, WITNESS
from .wishes import Wishes

CONFIG, OWN, SECRETS = "/config", "/etc/pgherd", "/secrets"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
API_SOCKETS = "/run/pgherd-api"
# In memory: what is secret, and what PostgreSQL's processes and pgpool's share.
_IN_MEMORY = {"own": OWN, "shared-memory": "/dev/shm"}  # noqa: S108
# Gone with the pod, by component.
_SCRATCH = {
    "run-pgherd": "/run/pgherd",
    "tmp": "/tmp",  # noqa: S108
}
_NODE = {
    **_SCRATCH,
    "run-postgresql": "/run/postgresql",
    "etc-postgresql": "/etc/postgresql",
    "etc-repmgr": "/etc/repmgr",
    "log-postgresql": "/var/log/postgresql",
}
_OF = {
    POSTGRES: {**_NODE, "run-api": API_SOCKETS},
    WITNESS: _NODE,
    PGPOOL: {
        **_SCRATCH,
        "run-postgresql": "/run/postgresql",
        "etc-pgpool": "/etc/pgpool2",
        "run-pgpool": "/run/pgpool2",
    },
    BARMAN: {**_SCRATCH, "etc-barman": "/etc/barman.d", "log-barman": "/var/log/barman"},
}
# Who may read what is mounted: the owner and the pod's group.
_MODE = 0o440


def claims(wishes: Wishes, what: str) -> dict[str, tuple[str, str]]:
    """By name the path and the size of each claim of a pod of component *what*."""
    if what == PGPOOL:
        return {}
    if what == BARMAN:
        return {"data": ("/var/lib/barman", wishes.barman_storage_size)}
    own = {"wal": (WAL, wishes.wal_storage_size)} if wishes.wal_storage_size and what == POSTGRES else {}
    return {"data": (DATA, wishes.storage_size), **own}


def volumes(what: str, config: str, sources: Sequence[dict[str, Any]], authority: str) -> list[dict[str, Any]]:
    """All volumes of a pod of component *what* but its claims. *config*: the ConfigMap. *sources*: see existing.sources().
    *authority*: the Secret with the authority."""
    own: dict[str, Any] = {"secret": {"secretName": sources[0]["secret"]["name"], "defaultMode": _MODE}}
    if len(sources) > 1:
        own = {"projected": {"defaultMode": _MODE, "sources": list(sources)}}
    found: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": config}},
        {"name": "secrets", **own},
        {"name": "own", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        *({"name": name, "emptyDir": {}} for name in _OF[what]),
    ]
    if what == POSTGRES:
        found += [
            {
                "name": "authority",
                "secret": {
                    "secretName": authority,
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    "defaultMode": _MODE,
                    **({"optional": True} if authority != sources[0]["secret"]["name"] else {}),
                },
            },
            {"name": "token", "projected": {"defaultMode": _MODE, "sources": _TOKEN_SOURCES}},
        ]
    return found


# As the API server's own admission would mount it in every container.
_TOKEN_SOURCES: list[dict[str, Any]] = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    {
        "downwardAPI": {
            "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
        }
    },
]


def mounts(wishes: Wishes, what: str, container: str) -> list[dict[str, Any]]:
    """What a *container* of a pod of component *what* sees of its volumes. Only `own`, which takes out what is its pod's, and
    `renew`, which does that again, see Secrets; only `api`, which speaks to the API server, sees the token; none of these sees
    the claim."""
    read_only = {"config": CONFIG}
    if container in ("own", "renew"):
        return [*_read_only({**read_only, "secrets": SECRETS}), *_writable({"own": OWN})]
    if container == "api":
        read_only = {**read_only, "authority": TLS_DIRECTORY, "token": TOKEN}
        return [*_read_only(read_only), *_writable({"run-api": API_SOCKETS})]
    if container != MAIN:
        raise KeyError(container)
    kept = {name: path for name, (path, _size) in claims(wishes, what).items()}
    return [*_read_only(read_only), *_writable({**kept, **_IN_MEMORY, **_OF[what]})]


def _read_only(given: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "mountPath": path, "readOnly": True} for name, path in given.items()]


def _writable(given: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "mountPath": path} for name, path in given.items()]
