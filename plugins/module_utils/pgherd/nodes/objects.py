# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What must exist inside PostgreSQL: roles, grants, databases, extensions, tablespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..model import REPMGR_DATABASE, Cluster
from ..objects.extensions import Extension
from ..objects.roles import Grant, Role
from ..observe import gather as observe
from ..programs import barman, pgpool, repmgr


@dataclass(frozen=True)
class Objects:
    """Everything that role ``postgres`` states on one server, in the order of the fields, and *spent_roles* and *spent_grants*
    when no agent of an earlier release is left, see repmgr.spent()."""

    roles: tuple[Role, ...]
    tablespaces: tuple[Mapping[str, Any], ...]
    databases: tuple[Mapping[str, Any], ...]
    extensions: tuple[Extension, ...]
    grants: tuple[Grant, ...]
    spent_roles: tuple[Role, ...]
    spent_grants: tuple[Grant, ...]


def objects(cluster: Cluster, name: str, version: int) -> Objects:
    """What the server of node *name* must have: a witness only what repmgr and the monitoring need."""
    witness = cluster.node(name).kind == "witness"
    roles = [*repmgr.roles(version, witness), *observe.roles(version)]
    # What PUBLIC loses comes after what others are given instead.
    grants = [*observe.grants(version, witness), *repmgr.grants(version, witness)]
    # An owner can set what all sessions in a database begin with, a superuser's too.
    databases: list[Mapping[str, Any]] = [{"name": REPMGR_DATABASE, "owner": "postgres"}]
    extensions = [Extension("repmgr", REPMGR_DATABASE)]
    less, fewer = repmgr.spent(version, witness)
    spent = (tuple(less), tuple(fewer))
    if witness:
        return Objects(tuple(_endless(roles)), (), tuple(databases), tuple(extensions), tuple(grants), *spent)
    options = cluster.options
    roles += [*barman.roles(version), *pgpool.roles(version)]
    roles = _endless(roles)
    roles += [user_role(user) for user in options.users]
    grants += [*barman.grants(version), *pgpool.grants(version)]
    # Its package is told to others.
    extensions += [
        Extension(item["name"], item["database"], item.get("schema"), bool(item.get("preload")))
        for item in options.extensions
    ]
    return Objects(
        tuple(roles),
        options.tablespaces,
        (*databases, *options.databases),
        tuple(extensions),
        tuple(grants),
        *spent,
    )


def _endless(roles: Sequence[Role]) -> list[Role]:
    """The cluster's own *roles*: all of it would stop on the day on which a password ended."""
    return [replace(role, endless=True) for role in roles]


def user_role(user: Mapping[str, Any]) -> Role:
    """The role for one entry of cluster_users."""
    return Role(
        name=user["name"],
        createdb=bool(user.get("createdb", False)),
        createrole=bool(user.get("createrole", False)),
        connection_limit=int(user.get("connection_limit", -1)),
        # Not said: what a person has granted by hand stays.
        memberships=tuple(user["memberships"]) if user.get("memberships") is not None else None,
        settings=dict(user.get("settings") or {}),
    )
