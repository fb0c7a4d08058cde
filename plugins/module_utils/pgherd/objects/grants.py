# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Privileges: what a role itself may do to which object. The part of roles.py that knows ACLs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..plan import Step
from ..ports.sql import Server, quote

PUBLIC = "PUBLIC"
KINDS = (
    "DATABASE",
    "SCHEMA",
    "TABLE",
    "FUNCTION",
    "PARAMETER",
    "ALL TABLES IN SCHEMA",
    "ALL FUNCTIONS IN SCHEMA",
)
# Of the whole server, in no database.
SHARED = ("DATABASE", "PARAMETER")


@dataclass(frozen=True)
class Grant:
    """Exactly the *privileges* that *role* itself holds on one object; an empty tuple takes all away.

    *kind* is one of KINDS. *object* is verbatim SQL: ``repmgr``, ``"odd-name"``, ``pg_backup_start(text,boolean)``.
    *role* may be PUBLIC. What a role has as owner, as member of another, or through PUBLIC is not counted. Grants that
    meet in one object (a table and all tables of its schema) add up. *database* is where the object is.
    """

    role: str
    kind: str
    object: str
    privileges: tuple[str, ...]
    database: str = "postgres"

    @property
    def session(self) -> str:
        """The database to connect to: any serves for what belongs to the whole server."""
        return "postgres" if self.kind in SHARED else self.database

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Grant:
        """Build from plain data."""
        return cls(**{**data, "privileges": tuple(data["privileges"])})

    def __str__(self) -> str:
        where = "" if self.kind in SHARED else f" (database {self.database})"
        return f"{self.role} on {self.kind} {self.object}{where}"


@dataclass(frozen=True)
class ObjectState:
    """One object that a Grant names. *held* are the role's own privileges, *every* all that exist for its kind."""

    name: str
    kind: str
    owned: bool
    held: frozenset[str]
    every: frozenset[str]


# What each grant reaches; None where it does not exist.
Objects = Mapping[Grant, Optional[tuple[ObjectState, ...]]]


class Draft:
    """A plan in the making."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.steps: list[Step] = []

    def add(self, what: str, statement: str, database: str = "postgres") -> None:
        """Append the step that runs *statement* in *database*."""
        self.steps.append(Step("execute", what, {"database": database, "statement": statement, "what": what}))


_TABLE = "SELECT oid::regclass::text, relowner, relacl FROM pg_class WHERE "
_FUNCTION = "SELECT oid::regprocedure::text, proowner, proacl FROM pg_proc WHERE "
# Per kind of grant: the kind of each object it reaches, acldefault()'s letter for that, and their name, owner and ACL.
_OBJECTS = {
    "DATABASE": (
        "DATABASE",
        "d",
        "SELECT quote_ident(datname), datdba, datacl FROM pg_database WHERE datname = (parse_ident(%s))[1]",
    ),
    "SCHEMA": (
        "SCHEMA",
        "n",
        "SELECT quote_ident(nspname), nspowner, nspacl FROM pg_namespace WHERE oid = to_regnamespace(%s)",
    ),
    "TABLE": ("TABLE", "r", _TABLE + "oid = to_regclass(%s)"),
    "FUNCTION": ("FUNCTION", "f", _FUNCTION + "oid = to_regprocedure(%s)"),
    # A parameter has an ACL only once something was granted, and no owner but the bootstrap superuser (oid 10).
    "PARAMETER": (
        "PARAMETER",
        "p",
        "SELECT lower(p), 10::oid, (SELECT paracl FROM pg_parameter_acl WHERE parname = lower(p))"
        " FROM (SELECT %s::text AS p) AS s"
        " WHERE p LIKE '%%.%%' OR EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower(p))",
    ),
    "ALL TABLES IN SCHEMA": (
        "TABLE",
        "r",
        _TABLE + "relkind IN ('r', 'v', 'm', 'f', 'p') AND relnamespace = to_regnamespace(%s)",
    ),
    "ALL FUNCTIONS IN SCHEMA": (
        "FUNCTION",
        "f",
        _FUNCTION + "prokind IN ('f', 'a', 'w') AND pronamespace = to_regnamespace(%s)",
    ),
}


def observe(server: Server, grant: Grant) -> tuple[ObjectState, ...] | None:
    kind, letter, query = _OBJECTS[grant.kind]
    rows = server.rows(
        # All inserted text is this file's own.
        f"""
        SELECT o.object, o.owner = g.oid AS owned,
               array(SELECT privilege_type FROM aclexplode(coalesce(o.acl, acldefault('{letter}', o.owner)))
                      WHERE grantee = g.oid) AS held,
               array(SELECT privilege_type FROM aclexplode(acldefault('{letter}', 10::oid)) WHERE grantee = 10) AS every
          FROM ({query}) AS o (object, owner, acl)
          CROSS JOIN (SELECT CASE %s WHEN 'PUBLIC' THEN 0 ELSE to_regrole(quote_ident(%s))::oid END) AS g (oid)
         ORDER BY 1""",  # noqa: S608
        [grant.object, grant.role, grant.role],
    )
    if not rows and not (grant.kind.startswith("ALL ") and _has_schema(server, grant.object)):
        return None
    return tuple(
        ObjectState(row["object"], kind, bool(row["owned"]), frozenset(row["held"]), frozenset(row["every"]))
        for row in rows
    )


def _has_schema(server: Server, schema: str) -> bool:
    return bool(server.rows("SELECT to_regnamespace(%s) IS NOT NULL AS found", [schema])[0]["found"])


def problems(grant: Grant, known: set[str], objects: tuple[ObjectState, ...] | None, missing_ok: bool) -> list[str]:
    """What is wrong with *grant*, in sentences. *known* roles are there or will be; *missing_ok* as in roles.plan()."""
    found = []
    if objects is None and not missing_ok:
        kind = "SCHEMA" if grant.kind.startswith("ALL ") else grant.kind
        where = "" if kind in SHARED else f" in database {grant.database}"
        found.append(
            f"Grant to {grant.role}: {kind} {grant.object} does not exist{where}: create it first, or correct the name."
        )
    if grant.role != PUBLIC and grant.role not in known and not missing_ok:
        found.append(f"Grant on {grant.kind} {grant.object}: role {grant.role} does not exist: state it too.")
    for item in objects or ():
        unknown = sorted(_wanted(grant) - item.every - {"ALL"})
        if unknown:
            every = ", ".join(sorted(item.every))
            found.append(f"Grant to {grant}: a {item.kind} has no privilege {unknown[0]}, only {every}.")
            break
    return found


def _wanted(grant: Grant) -> frozenset[str]:
    words = (" ".join(privilege.upper().split()) for privilege in grant.privileges)
    return frozenset("TEMPORARY" if word == "TEMP" else word for word in words)


def plan(draft: Draft, grants: Iterable[Grant], found: Objects) -> None:
    """Add to *draft* what makes *grants* so."""
    wanted: dict[tuple[str, str, ObjectState], set[str]] = {}
    for grant in grants:
        objects = found.get(grant)
        if objects is None and grant.privileges:
            verbs = ", ".join(sorted(_wanted(grant)))
            draft.before[str(grant)], draft.after[str(grant)] = [], sorted(_wanted(grant))
            grantee = _grantee(grant.role)
            draft.add(
                f"grant {verbs} to {grant}",
                f"GRANT {verbs} ON {grant.kind} {grant.object} TO {grantee}",
                grant.session,
            )
        for item in objects or ():
            privileges = wanted.setdefault((grant.role, grant.session, item), set())
            privileges |= item.every if "ALL" in _wanted(grant) else _wanted(grant)
    # One statement for all objects that need the same.
    together: dict[tuple[str, str, str, str, tuple[str, ...]], list[str]] = {}
    for (role, database, item), privileges in wanted.items():
        more, less = privileges - item.held, (set() if item.owned else item.held - privileges)
        if more or less:
            key = str(Grant(role, item.kind, item.name, (), database))
            draft.before[key], draft.after[key] = sorted(item.held), sorted(item.held - less | more)
        for verb, change in (("GRANT", more), ("REVOKE", less)):
            if change:
                together.setdefault((verb, role, database, item.kind, tuple(sorted(change))), []).append(item.name)
    for (verb, role, database, kind, some), names in together.items():
        preposition, privileges_text = ("TO" if verb == "GRANT" else "FROM"), ", ".join(some)
        reach = Grant(role, kind, ", ".join(names), (), database)
        what = f"{verb.lower()} {privileges_text} {preposition.lower()} {reach}"
        statement = f"{verb} {privileges_text} ON {kind} {', '.join(names)} {preposition} {_grantee(role)}"
        draft.add(what, statement, database)


def _grantee(role: str) -> str:
    return PUBLIC if role == PUBLIC else quote(role)
