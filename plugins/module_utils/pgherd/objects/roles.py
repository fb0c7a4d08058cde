# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Database roles, what they are members of, and what they may do to which object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Conflict, SqlError
from ..plan import Plan
from ..ports.sql import Server, literal, quote
from . import grants as acl
from . import scram
from .grants import KINDS, PUBLIC, Draft, Grant, Objects

__all__ = ["KINDS", "PUBLIC", "Executor", "Grant", "Role", "RoleState", "State", "observe", "plan"]

_ATTRIBUTES = ("login", "replication", "createdb", "createrole", "superuser")


@dataclass(frozen=True)
class Role:
    """A role, whole: an attribute that is not said is taken away.

    *memberships* are exactly the roles it is a member of; None leaves them alone. Of *settings* (ALTER ROLE ... SET)
    only those named are touched; the value None resets one. *connection_limit* -1 is no limit.
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
    """A role as found. *verifier* is pg_authid.rolpassword; *memberships* are (role, grantor) pairs."""

    attributes: Mapping[str, Any]
    verifier: str | None = field(default=None, repr=False)
    memberships: tuple[tuple[str, str | None], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What observe() found; the default is an empty server.

    *objects* lists per grant what it reaches, None where it does not exist. *depends* says of roles to be dropped in
    which databases ('' for the server itself) they own something (True) or only hold privileges (False).
    """

    roles: Mapping[str, RoleState] = field(default_factory=dict)
    objects: Objects = field(default_factory=dict)
    depends: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)


_ROLES = """
SELECT r.rolname AS name, r.rolcanlogin AS login, r.rolreplication AS replication, r.rolcreatedb AS createdb,
       r.rolcreaterole AS createrole, r.rolsuper AS superuser, r.rolconnlimit AS connection_limit,
       r.rolpassword AS verifier,
       coalesce((SELECT setconfig FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0), '{}') AS settings,
       (SELECT coalesce(json_agg(json_build_array(g.rolname, b.rolname) ORDER BY g.rolname, b.rolname), '[]')
          FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid LEFT JOIN pg_authid b ON b.oid = m.grantor
         WHERE m.member = r.oid) AS memberships
  FROM pg_authid r
 WHERE r.rolname = ANY (%s)
"""

_DEPENDS = """
SELECT r.rolname AS name, coalesce(d.datname, '') AS database, bool_or(s.deptype = 'o') AS owns
  FROM pg_shdepend s
  JOIN pg_authid r ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
  LEFT JOIN pg_database d ON d.oid = s.dbid
 WHERE r.rolname = ANY (%s)
 GROUP BY 1, 2
"""

# Settings whose value is a list of names, each quoted for itself (variable_is_guc_list_quote() of pg_dump).
_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)


def observe(
    sessions: Callable[[str], Server],
    roles: Sequence[Role],
    grants: Sequence[Grant],
    absent: Sequence[str] = (),
) -> State:
    """Read what is there of *roles*, *grants* and the roles to be *absent*.

    *sessions* gives a superuser's session in a named database (the same one for the same name). Raises SqlError.
    """
    unknown = sorted({grant.kind for grant in grants} - set(KINDS))
    if unknown:
        raise ConfigError([f"A grant has the kind {unknown[0]}, which is none of {', '.join(KINDS)}."])
    server = sessions("postgres")
    names = {role.name for role in roles} | {grant.role for grant in grants} | set(absent)
    names |= {group for role in roles for group in role.memberships or ()}
    rows = server.rows(_ROLES, [sorted(names)])
    found = {row.pop("name"): row for row in rows}
    depends: dict[str, dict[str, bool]] = {name: {} for name in absent}
    for row in server.rows(_DEPENDS, [sorted(absent)]) if absent else ():
        depends[row["name"]][row["database"]] = row["owns"]
    databases = {row["datname"] for row in server.rows("SELECT datname FROM pg_database")} if grants else set()
    return State(
        {
            name: RoleState(
                attributes={key: row[key] for key in (*_ATTRIBUTES, "connection_limit")},
                verifier=row["verifier"],
                memberships=tuple((group, grantor) for group, grantor in row["memberships"]),
                settings=dict(item.split("=", 1) for item in row["settings"]),
            )
            for name, row in found.items()
        },
        {
            grant: acl.observe(sessions(grant.session), grant) if grant.session in databases else None
            for grant in grants
        },
        depends,
    )


def plan(
    roles: Sequence[Role],
    grants: Sequence[Grant],
    passwords: Mapping[str, str],
    state: State,
    absent: Sequence[str] = (),
    missing_ok: bool = False,
) -> Plan:
    """What makes *roles* and *grants* so, gives the roles *passwords* (by role; clear or verifiers) and drops the
    *absent* ones.

    *missing_ok*: a forecast, where an earlier step that was not run may bring an object that does not exist. Raises
    ConfigError for statements that contradict themselves or name what does not exist, Conflict for a role to be dropped
    that owns something.
    """
    _validate(roles, grants, passwords, state, absent, missing_ok)
    draft = Draft()
    for role in roles:
        _plan_role(draft, role, passwords.get(role.name), state.roles.get(role.name))
    for role in roles:
        _plan_memberships(draft, role, state.roles.get(role.name, RoleState({})))
    acl.plan(draft, grants, state.objects)
    for name in absent:
        _plan_drop(draft, name, state)
    return Plan("roles", draft.before, draft.after, tuple(draft.steps))


class Executor:
    """Runs the steps of the plan. *sessions* as for observe().

    Commits locally: on the first day the primary has no synchronous standby yet, and a standby can only come once these
    roles exist, so waiting for one would be waiting for ever.
    """

    def __init__(self, sessions: Callable[[str], Server]) -> None:
        self._sessions = sessions
        self._local: set[str] = set()

    def execute(self, database: str, statement: str, what: str) -> None:
        """Run *statement* in *database*. Raises SqlError that names *what*, and never shows the statement: it may hold
        a verifier."""
        server = self._sessions(database)
        if database not in self._local:
            server.run("SET synchronous_commit = local")
            self._local.add(database)
        try:
            server.run(statement)
        except SqlError as error:
            raise SqlError(what, error.node, error.said, error.sqlstate) from None


def _validate(
    roles: Sequence[Role],
    grants: Sequence[Grant],
    passwords: Mapping[str, str],
    state: State,
    absent: Sequence[str],
    missing_ok: bool,
) -> None:
    names = [role.name for role in roles]
    known = set(names) | set(state.roles) - set(absent)
    problems = [f"Role {name} is stated twice: merge the two." for name in sorted(set(names)) if names.count(name) > 1]
    problems += [f"Role {name} is stated and absent at once: drop one of both." for name in absent if name in names]
    for name in sorted(set(passwords) - set(names)):
        problems.append(f"There is a password for role {name}, which is not stated: state the role too.")
    for role in roles:
        for group in role.memberships or ():
            if group not in known and not missing_ok:
                problems.append(f"Role {role.name} is to be member of {group}, which does not exist: state it too.")
    for grant in grants:
        problems += acl.problems(grant, known, state.objects.get(grant), missing_ok)
    if problems:
        raise ConfigError(problems)


def _plan_role(draft: Draft, role: Role, password: str | None, found: RoleState | None) -> None:
    now = dict(found.attributes) if found else {}
    changed = [key for key in (*_ATTRIBUTES, "connection_limit") if now.get(key) != getattr(role, key)]
    words = [
        f"CONNECTION LIMIT {role.connection_limit}"
        if key == "connection_limit"
        else ("" if getattr(role, key) else "NO") + key.upper()
        for key in changed
    ]
    new_password = password is not None and not scram.matches(found.verifier if found else None, password)
    if new_password and password is not None:
        verifier = password if scram.is_verifier(password) else scram.make_verifier(password)
        words.append(f"PASSWORD {literal(verifier)}")
        changed.append("password")
    settings, reset = _changed_settings(role, found.settings if found else {})
    groups = [] if found is None else sorted({group for group, _grantor in found.memberships})
    wanted_groups = groups if role.memberships is None else sorted(role.memberships)
    if words or settings or reset or groups != wanted_groups:
        key = f"role {role.name}"
        had_password = bool(found and found.verifier)
        draft.before[key] = (
            {**now, "memberships": groups, "settings": dict(found.settings), "password": _shown(had_password)}
            if found
            else "absent"
        )
        draft.after[key] = {
            **{name: getattr(role, name) for name in (*_ATTRIBUTES, "connection_limit")},
            "memberships": wanted_groups,
            "settings": {
                **{name: value for name, value in (found.settings if found else {}).items() if name not in reset},
                **settings,
            },
            "password": "(another)" if new_password and had_password else _shown(new_password or had_password),
        }
    if words:
        verb, what = ("CREATE", "create") if found is None else ("ALTER", "alter")
        detail = "" if found is None else f": {', '.join(changed)}"
        draft.add(f"{what} role {role.name}{detail}", f"{verb} ROLE {quote(role.name)} {' '.join(words)}")
    for name, value in settings.items():
        parts = ", ".join(literal(item) for item in _parts(name, value)) or "''"
        draft.add(f"set {name} of role {role.name}", f"ALTER ROLE {quote(role.name)} SET {quote(name)} = {parts}")
    for name in reset:
        draft.add(f"reset {name} of role {role.name}", f"ALTER ROLE {quote(role.name)} RESET {quote(name)}")


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


def _plan_memberships(draft: Draft, role: Role, found: RoleState) -> None:
    if role.memberships is None:
        return
    member, is_now = quote(role.name), {group for group, _grantor in found.memberships}
    for group in role.memberships:
        if group not in is_now:
            draft.add(f"make {role.name} a member of {group}", f"GRANT {quote(group)} TO {member}")
    for group, grantor in found.memberships:
        if group not in role.memberships:
            # From PostgreSQL 16 on a membership exists once per grantor, and each is revoked for itself.
            by = f" GRANTED BY {quote(grantor)}" if grantor else ""
            draft.add(f"take {role.name} out of {group}", f"REVOKE {quote(group)} FROM {member}{by}")


def _plan_drop(draft: Draft, name: str, state: State) -> None:
    if name not in state.roles:
        return
    depends = state.depends.get(name, {})
    owning = sorted(database or "the server itself" for database, owns in depends.items() if owns)
    if owning:
        raise Conflict(
            f"drop role {name}",
            "a role that owns nothing",
            f"objects of it in {', '.join(owning)}",
            f"Give them away first: REASSIGN OWNED BY {quote(name)} TO another role, in each database.",
        )
    draft.before[f"role {name}"], draft.after[f"role {name}"] = "present", "absent"
    for database in sorted({database or "postgres" for database in depends}):
        # It owns nothing, as just seen: what goes is privileges.
        draft.add(f"revoke what {name} may in {database}", f"DROP OWNED BY {quote(name)}", database)
    draft.add(f"drop role {name}", f"DROP ROLE {quote(name)}")
