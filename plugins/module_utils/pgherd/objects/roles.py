# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Database roles, what they are members of, and what they may do to which object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError, Conflict, SqlError
from ..plan import Plan
from ..ports.sql import Server, quote
from . import grants as acl
from .grants import KINDS, PUBLIC, Draft, Grant, Objects
from .role import ATTRIBUTES, Role, RoleState, plan_memberships, plan_role, reserved

__all__ = [
    "KINDS",
    "PUBLIC",
    "FoundRoles",
    "Grant",
    "Role",
    "RoleExecutor",
    "RoleState",
    "observe",
    "plan",
    "reserved",
]


@dataclass(frozen=True)
class FoundRoles:
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
       r.rolpassword AS verifier, coalesce(isfinite(r.rolvaliduntil), false) AS ends,
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


def observe(
    sessions: Callable[[str], Server],
    roles: Sequence[Role],
    grants: Sequence[Grant],
    absent: Sequence[str] = (),
) -> FoundRoles:
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
    return FoundRoles(
        {
            name: RoleState(
                attributes={key: row[key] for key in (*ATTRIBUTES, "connection_limit")},
                verifier=row["verifier"],
                memberships=tuple((group, grantor) for group, grantor in row["memberships"]),
                settings=dict(item.split("=", 1) for item in row["settings"]),
                ends=bool(row.get("ends")),
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
    state: FoundRoles,
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
        plan_role(draft, role, passwords.get(role.name), state.roles.get(role.name))
    for role in roles:
        plan_memberships(draft, role, state.roles.get(role.name, RoleState({})))
    acl.plan(draft, grants, state.objects)
    for name in absent:
        _plan_drop(draft, name, state)
    return Plan("roles", draft.before, draft.after, tuple(draft.steps))


class RoleExecutor:
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
    state: FoundRoles,
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


def _plan_drop(draft: Draft, name: str, state: FoundRoles) -> None:
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
