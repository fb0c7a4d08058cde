# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One role: attributes, password, settings of its sessions, what it is a member of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ports.sql import literal, quote
from . import scram
from .grants import Draft

ATTRIBUTES = ("login", "replication", "createdb", "createrole", "superuser")

# So many settings at once are named one by one.
_FEW = 5

# Settings whose value is a list of names, each quoted for itself (variable_is_guc_list_quote() of pg_dump).
_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)


def reserved(postgres_version: int) -> tuple[str, ...]:
    """Membership in what gives a role a place when clients have taken all others: ``reserved_connections`` of PostgreSQL 16."""
    return ("pg_use_reserved_connections",) if postgres_version >= 16 else ()


@dataclass(frozen=True)
class Role:
    """A role, whole: an attribute that is not said is taken away.

    *memberships* are exactly the roles it is a member of; None leaves them alone. Of *settings* (ALTER ROLE ... SET)
    only those named are touched; the value None resets one. *connection_limit* -1 is no limit. *at_least*: attributes and
    memberships that it has beyond these stay. *endless*: its password does not end (VALID UNTIL); else that is left alone.
    """

    name: str
    login: bool = True
    replication: bool = False
    createdb: bool = False
    createrole: bool = False
    superuser: bool = False
    connection_limit: int = -1
    memberships: tuple[str, ...] | None = ()
    settings: Mapping[str, str | None] = field(default_factory=dict)
    at_least: bool = False
    endless: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Role:
        """Build from plain data; values of *settings* may be booleans and numbers."""
        memberships, settings = data.get("memberships"), data.get("settings") or {}
        return cls(
            **{
                **data,
                "memberships": None if memberships is None else tuple(memberships),
                "settings": {name: _as_text(value) for name, value in settings.items()},
            }
        )


@dataclass(frozen=True)
class RoleState:
    """A role as found. *verifier* is pg_authid.rolpassword; *memberships* are (role, grantor) pairs. *ends*: its password does,
    at some time."""

    attributes: Mapping[str, Any]
    verifier: str | None = field(default=None, repr=False)
    memberships: tuple[tuple[str, str | None], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False


def plan_role(draft: Draft, role: Role, password: str | None, found: RoleState | None) -> None:
    """Add to *draft* what makes *role* so, with *password* in clear or as a verifier; None leaves it alone."""
    now = dict(found.attributes) if found else {}
    wanted = {key: getattr(role, key) or bool(role.at_least and now.get(key)) for key in ATTRIBUTES}
    wanted["connection_limit"] = role.connection_limit
    changed = [key for key, value in wanted.items() if now.get(key) != value]
    words = [
        f"CONNECTION LIMIT {role.connection_limit}"
        if key == "connection_limit"
        else ("" if wanted[key] else "NO") + key.upper()
        for key in changed
    ]
    new_password = password is not None and not scram.matches(found.verifier if found else None, password)
    if new_password and password is not None:
        verifier = password if scram.is_verifier(password) else scram.make_verifier(password)
        words.append(f"PASSWORD {literal(verifier)}")
        changed.append("password")
    ends = role.endless and found is not None and found.ends
    if ends:
        words.append("VALID UNTIL 'infinity'")
        changed.append("the end of its password")
    settings, reset = _changed_settings(role, found.settings if found else {})
    groups = [] if found is None else sorted({group for group, _grantor in found.memberships})
    wanted_groups = groups if role.memberships is None else sorted(_groups(role, groups))
    if words or settings or reset or groups != wanted_groups:
        key = f"role {role.name}"
        had_password = bool(found and found.verifier)
        draft.before[key] = (
            {**now, "memberships": groups, "settings": dict(found.settings), "password": _shown(had_password)}
            if found
            else "absent"
        )
        draft.after[key] = {
            **wanted,
            "memberships": wanted_groups,
            "settings": {
                **{name: value for name, value in (found.settings if found else {}).items() if name not in reset},
                **settings,
            },
            "password": "(another)" if new_password and had_password else _shown(new_password or had_password),
        }
        if ends:
            draft.before[key]["password_ends"], draft.after[key]["password_ends"] = True, False
    if words:
        verb, what = ("CREATE", "create") if found is None else ("ALTER", "alter")
        detail = "" if found is None else f": {', '.join(changed)}"
        draft.add(f"{what} role {role.name}{detail}", f"{verb} ROLE {quote(role.name)} {' '.join(words)}")
    if settings:
        what = ", ".join(settings) if len(settings) <= _FEW else f"{len(settings)} settings"
        statements = (_setting(role.name, name, value) for name, value in settings.items())
        draft.add(f"set {what} of role {role.name}", "; ".join(statements))
    for name in reset:
        draft.add(f"reset {name} of role {role.name}", f"ALTER ROLE {quote(role.name)} RESET {quote(name)}")


def _setting(role: str, name: str, value: str) -> str:
    parts = ", ".join(literal(item) for item in _parts(name, value)) or "''"
    return f"ALTER ROLE {quote(role)} SET {quote(name)} = {parts}"


def _groups(role: Role, found: Iterable[str]) -> set[str]:
    """What *role* is to be a member of, where it is a member of *found*."""
    return {*(role.memberships or ()), *(found if role.at_least else ())}


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "on" if value else "off"
    return None if value is None else str(value)


def _shown(has_password: bool) -> str:
    return "(set)" if has_password else "(none)"


def _changed_settings(role: Role, found: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Settings of *role* to set (with their found spelling, if any) and to reset."""
    spelling = {name.lower(): name for name in found}
    to_set, to_reset = {}, []
    for name, value in role.settings.items():
        there = spelling.get(name.lower(), name)
        if value is None:
            to_reset += [there] if there in found else []
        elif there not in found or _parts(there, found[there]) != _parts(there, value):
            to_set[there] = value
    return to_set, to_reset


def _parts(name: str, value: str) -> list[str]:
    if name.lower() not in _LISTS:
        return [value]
    return [part.strip().strip('"') for part in value.split(",") if part.strip()]


def plan_memberships(draft: Draft, role: Role, found: RoleState) -> None:
    """Add to *draft* what makes *role* a member of exactly its groups, which are there by then."""
    if role.memberships is None:
        return
    member, is_now = quote(role.name), {group for group, _grantor in found.memberships}
    for group in role.memberships:
        if group not in is_now:
            draft.add(f"make {role.name} a member of {group}", f"GRANT {quote(group)} TO {member}")
    for group, grantor in found.memberships:
        if group not in _groups(role, is_now):
            # From PostgreSQL 16 on a membership exists once per grantor, and each is revoked for itself.
            by = f" GRANTED BY {quote(grantor)}" if grantor else ""
            draft.add(f"take {role.name} out of {group}", f"REVOKE {quote(group)} FROM {member}{by}")
