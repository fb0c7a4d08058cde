# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What must exist inside PostgreSQL: roles, grants, databases, extensions, tablespaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model import REPMGR_DATABASE, REPMGR_ROLE, Cluster
from ..objects.roles import Grant, Role
from ..observe import gather as observe
from ..programs import barman, pgpool, repmgr


@dataclass(frozen=True)
class Objects:
    """Everything that role ``postgres`` states on one server, in the order of the fields; *grants* come last."""

    roles: tuple[Role, ...]
    tablespaces: tuple[Mapping[str, Any], ...]
    databases: tuple[Mapping[str, Any], ...]
    extensions: tuple[Mapping[str, Any], ...]
    grants: tuple[Grant, ...]


def objects(cluster: Cluster, name: str, version: int) -> Objects:
    """What the server of node *name* must have: a witness only what repmgr and the monitoring need."""
    roles = [*repmgr.roles(), *observe.roles()]
    grants = [*repmgr.grants(version), *observe.grants(version)]
    databases: list[Mapping[str, Any]] = [{"name": REPMGR_DATABASE, "owner": REPMGR_ROLE}]
    extensions: list[Mapping[str, Any]] = [{"name": "repmgr", "database": REPMGR_DATABASE}]
    if cluster.node(name).kind == "witness":
        return Objects(tuple(roles), (), tuple(databases), tuple(extensions), tuple(grants))
    options = cluster.options
    roles += [*barman.roles(), *pgpool.roles()]
    roles += [user_role(user) for user in options.get("users", ())]
    grants += [*barman.grants(version), *pgpool.grants(version)]
    return Objects(
        tuple(roles),
        tuple(options.get("tablespaces", ())),
        (*databases, *options.get("databases", ())),
        (*extensions, *options.get("extensions", ())),
        tuple(grants),
    )


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
