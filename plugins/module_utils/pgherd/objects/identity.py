# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who is who, inside PostgreSQL: the cluster's own id and epoch, and which data directory counts under each node's name.

A data directory has an incarnation: a random id, another one after each copy. Its server shows it in a setting, and the table
says which one is admitted under a name. Both are there for agents of this release only; a server without them says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..errors import Conflict
from ..model import REPMGR_DATABASE
from ..plan import Plan, Step
from ..ports.sql import Server, conninfo, parse_conninfo

SCHEMA, CLUSTER, MEMBER = "pgherd", "pgherd.cluster", "pgherd.member"
# Any session may show it; only the server's files, or ALTER SYSTEM, say it for others.
SETTING = "pgherd.incarnation"
_REPLACES = " replaces "
# Stands before the name of a node that streams and is not admitted: synchronous_standby_names lists nobody who is called so.
# It stands before it since PostgreSQL cuts a long name off at its end.
_NEW = "(new) "

# What a statement that asks a node has besides. A reference to a table that is not there fails the whole statement when it is
# parsed, and so does to_regclass() without a right on the schema; tried: 0.25 ms.
INCARNATION_SQL = f"coalesce(current_setting('{SETTING}', true), '')"
# What that calls which administrators take away from PUBLIC, since injected SQL reads by it.
READ = "query_to_xml(text,boolean,boolean,text)"
MEMBERS_SQL = f"""
CASE WHEN has_schema_privilege(to_regnamespace('{SCHEMA}'), 'USAGE') THEN
     CASE WHEN has_table_privilege(to_regclass('{MEMBER}'), 'SELECT') THEN
          query_to_xml('SELECT coalesce(jsonb_object_agg(node, incarnation), ''{{}}'') AS m FROM {MEMBER}',
                       false, false, '')::text
     END END
"""  # noqa: S608

# Only what a superuser owns can be trusted: a view, a rule or a trigger of another's is run as whoever uses it.
_TABLE = (
    "SELECT rolsuper AND relkind = 'r' AND NOT relhasrules AND NOT relhastriggers AS ours, true AS there"
    " FROM pg_class c JOIN pg_roles r ON r.oid = relowner WHERE c.oid = to_regclass('{}')"
)
_NAMESPACE = (
    "SELECT rolsuper AS ours, true AS there"
    " FROM pg_namespace n JOIN pg_roles r ON r.oid = nspowner WHERE n.oid = to_regnamespace('{}')"
)
# In the order in which they are made; a row each says whether it is there, and whether it is ours.
_PARTS = {
    f"schema {SCHEMA}": (
        _NAMESPACE.format(SCHEMA),
        f"CREATE SCHEMA {SCHEMA}",
    ),
    f"table {CLUSTER}": (
        _TABLE.format(CLUSTER),
        f"CREATE TABLE {CLUSTER} (id uuid NOT NULL, epoch int NOT NULL, one bool PRIMARY KEY DEFAULT true CHECK (one))",
    ),
    f"table {MEMBER}": (
        _TABLE.format(MEMBER),
        f"CREATE TABLE {MEMBER} (node text PRIMARY KEY, incarnation text NOT NULL, since timestamptz NOT NULL DEFAULT now())",
    ),
    "the cluster's id": (
        f"SELECT query_to_xml('SELECT id FROM {CLUSTER}', false, false, '')::text ~ '<row' AS there"  # noqa: S608
        f" WHERE to_regclass('{CLUSTER}') IS NOT NULL",
        f"INSERT INTO {CLUSTER} (id, epoch) VALUES (gen_random_uuid(), 1)",  # noqa: S608
    ),
}


@dataclass(frozen=True)
class Incarnation:
    """A data directory: its *id*, and those of the directories that were in its place on this host and are certainly gone,
    whose place under the node's name it has not taken yet."""

    id: str = ""
    replaces: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.id + (_REPLACES + " ".join(self.replaces) if self.replaces else "")

    @classmethod
    def parse(cls, text: str) -> Incarnation:
        """What str() made."""
        own, _word, others = text.partition(_REPLACES)
        return cls(own.strip(), tuple(others.split()))


def admitted(name: str, own: Incarnation, members: Mapping[str, str] | None) -> bool:
    """Whether the data directory *own* is what counts under *name*: admitted by the table *members*, and it has seen that it may
    stand for that. Where nobody is admitted (a cluster of a release before, a node that is new) whoever has the name is."""
    known = (members or {}).get(name, "")
    return not known or (known == own.id and not own.replaces)


def newcomer_name(name: str) -> str:
    """How a node called *name* streams that does not stand for that name."""
    return f"{_NEW}{name}"


def sender_names(name: str) -> list[str]:
    """Under which names a node called *name* may be seen to stream."""
    return [name, newcomer_name(name)]


def renamed(text: str, name: str, new: bool) -> str:
    """The primary_conninfo *text* by which the node called *name* streams under its name or, where it is *new*, under the other
    one."""
    wanted = newcomer_name(name) if new else name
    return conninfo({**parse_conninfo(text), "application_name": wanted})


def _plain(escaped: str) -> str:
    """What PostgreSQL wrote as XML (escape_xml() in xml.c), without html's table of all names, which an agent would keep."""
    for name, sign in (("&lt;", "<"), ("&gt;", ">"), ("&#x0d;", "\r"), ("&amp;", "&")):
        escaped = escaped.replace(name, sign)
    return escaped


# An agent is given the same text at nearly every look.
@lru_cache(maxsize=64)
def parse_members(text: str | None) -> Mapping[str, str] | None:
    """By node the incarnation that is admitted under its name, by what MEMBERS_SQL gave; None where there is no table."""
    found = re.search(r"<m>(.*)</m>", text or "", re.DOTALL)
    return {str(node): str(own) for node, own in json.loads(_plain(found.group(1))).items()} if found else None


Sessions = Callable[[str], Server]


def look(sessions: Sessions) -> dict[str, bool]:
    """By part whether it is there. *sessions* gives a superuser's session in a named database of the primary."""
    if not sessions("postgres").rows("SELECT FROM pg_database WHERE datname = %s", (REPMGR_DATABASE,)):
        return {}
    server = sessions(REPMGR_DATABASE)
    found = {}
    for what, (query, _statement) in _PARTS.items():
        rows = server.rows(query)
        if rows and not rows[0].get("ours", True):
            raise Conflict(
                f"Use {what} in database {REPMGR_DATABASE}",
                "a superuser's, and a plain table where it is one",
                "another's, or one with rules or triggers",
                f"Nothing here made it: look what it is, then: DROP SCHEMA {SCHEMA} CASCADE",
            )
        found[what] = bool(rows and rows[0]["there"])
    return found


def plan(found: Mapping[str, bool]) -> Plan:
    """What makes the parts that were not *found*."""
    before = {what: bool(found.get(what)) for what in _PARTS}
    missing = [what for what, there in before.items() if not there]
    steps = (Step("make", f"make {', '.join(missing)}", {"missing": missing}),) if missing else ()
    return Plan(f"identity in {REPMGR_DATABASE}", before, dict.fromkeys(before, True), steps)


class IdentityExecutor:
    """Does the plan's step. *sessions*: see look()."""

    def __init__(self, sessions: Sessions | None) -> None:
        self._sessions = sessions

    def make(self, missing: list[str]) -> None:
        """Make what is *missing*, all or nothing, without waiting for standbys: there may be none yet."""
        if self._sessions:
            server = self._sessions(REPMGR_DATABASE)
            server.run("SET synchronous_commit = local")
            server.run(";".join(_PARTS[what][1] for what in missing))


def admit(server: Server, node: str, incarnation: str, old: str) -> None:
    """Write on the primary *server* that *incarnation* counts under the name *node* from now on, in the place of *old* ('' for
    none). Does nothing where another one counts meanwhile. The row need not wait for standbys, and a fenced primary may
    write it: see docs/safety.md."""
    server.run("SET default_transaction_read_only = off")
    if old:
        query = f"UPDATE {MEMBER} SET incarnation = %s, since = now() WHERE node = %s AND incarnation = %s"  # noqa: S608
        server.run(query, (incarnation, node, old))
    else:
        query = f"INSERT INTO {MEMBER} (node, incarnation) VALUES (%s, %s) ON CONFLICT DO NOTHING"  # noqa: S608
        server.run(query, (node, incarnation))


def forget(server: Server, node: str) -> None:
    """Take the row of a *node* that has left out, on the primary *server*; nothing where there is no table."""
    if server.rows(f"SELECT FROM pg_class WHERE oid = to_regclass('{MEMBER}')"):
        server.run(f"DELETE FROM {MEMBER} WHERE node = %s", (node,))  # noqa: S608
