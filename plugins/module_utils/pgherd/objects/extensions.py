# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Extensions, whose scripts run as superuser and must not call what others have made.

A script finds what it names without a schema in pg_catalog, then in the extension's schema, then in those of the extensions
that it requires. Whoever can create there can have a function, an operator or a cast called that fits better than
pg_catalog's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Conflict, PgherdError, SqlError
from ..plan import Plan, Step
from ..ports.sql import Server, quote
from ..text import cleaned

# Where CREATE EXTENSION puts one by the path that a server begins with.
DEFAULT_SCHEMA = "public"
# Seconds for a lock, and for transactions of others that may have made something: meanwhile nobody creates in the database.
PATIENCE = 10.0
_POLL = 0.2
# Seconds that a script may take.
_SCRIPT = 600


@dataclass(frozen=True)
class Extension:
    """An extension that should be in *database*. *schema* None is the one that its control file names, or public. *preload*: it
    is made only where the server has its library from the start."""

    name: str
    database: str
    schema: str | None = None
    preload: bool = False

    def __str__(self) -> str:
        return f"extension {self.name} in database {self.database}"


@dataclass(frozen=True)
class FoundExtension:
    """What observe() found of one extension.

    *installed* is the schema that it is in, None without it. *available* says whether the server has its files; of them come
    *fixed*, the schema that its control file names, and *requires*; *needs* are those of its version that are not there.
    *has_schema* says whether the schema is there that it would be put in, *strange* names what others have in its script's
    reach, with whose it is. *loaded* is False where its library is to be preloaded and the server has not got it.
    """

    installed: str | None = None
    available: bool = True
    fixed: str | None = None
    requires: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    has_schema: bool = True
    strange: tuple[str, ...] = ()
    loaded: bool = True


@dataclass(frozen=True)
class FoundExtensions:
    """What observe() found; the default is an empty server. An extension whose database is not there is None, or missing."""

    extensions: Mapping[Extension, FoundExtension | None] = field(default_factory=dict)


_EXTENSION = """
SELECT (SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
         WHERE e.extname = s.name) AS installed,
       a.name IS NOT NULL AS available, v.schema::text AS fixed,
       array(SELECT r::text FROM unnest(v.requires) r WHERE r NOT IN (SELECT extname FROM pg_extension)) AS needs,
       array(SELECT DISTINCT r::text FROM pg_available_extension_versions w, unnest(w.requires) r
              WHERE w.name = s.name ORDER BY 1) AS requires
  FROM (SELECT %s::name AS name) AS s
  LEFT JOIN pg_available_extensions a ON a.name = s.name
  LEFT JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
"""

# Row types of tables, arrays and multiranges come with another object. A table counts where the use of it calls something;
# that of a column's default, a check or an index does too, see docs/security.md.
_STRANGE = """
WITH reach AS (
  SELECT oid FROM pg_namespace WHERE nspname = %s
   UNION SELECT extnamespace FROM pg_extension WHERE extname = ANY (%s)
), named (rank, name, owner) AS (
  SELECT 1, CASE prokind WHEN 'a' THEN 'aggregate ' WHEN 'p' THEN 'procedure ' ELSE 'function ' END
         || oid::regprocedure, proowner
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM reach)
  UNION ALL SELECT 2, 'operator ' || oid::regoperator, oprowner
    FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM reach)
  UNION ALL SELECT 3, 'cast from ' || castsource::regtype || ' to ' || casttarget::regtype, p.proowner
    FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc
   WHERE EXISTS (SELECT FROM pg_type t WHERE t.oid IN (castsource, casttarget)
                    AND t.typnamespace IN (SELECT oid FROM reach))
  UNION ALL SELECT 4, 'type ' || t.oid::regtype, typowner
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
   WHERE typnamespace IN (SELECT oid FROM reach) AND typcategory <> 'A' AND typtype <> 'm'
     AND coalesce(relkind, 'c') = 'c'
  UNION ALL SELECT 5, CASE relkind WHEN 'v' THEN 'view ' ELSE 'triggers or rules of ' END || c.oid::regclass, relowner
    FROM pg_class c
   WHERE relnamespace IN (SELECT oid FROM reach)
     AND (relkind = 'v' OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
          OR (relkind <> 'm' AND EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid)))
)
SELECT name, rolname::text AS role FROM named JOIN pg_roles r ON r.oid = owner WHERE NOT rolsuper ORDER BY rank, name
"""

# All that _STRANGE reads, against writers. They give their locks back before their transaction ends, hence _OPEN.
_LOCK = (
    "LOCK TABLE pg_catalog.pg_proc, pg_catalog.pg_operator, pg_catalog.pg_type, pg_catalog.pg_cast, pg_catalog.pg_namespace,"
    " pg_catalog.pg_extension, pg_catalog.pg_trigger, pg_catalog.pg_rewrite IN SHARE MODE"
)

# Transactions that have written something, perhaps a function that nobody else sees yet.
_OPEN = """
SELECT l.transactionid::text AS xid,
       coalesce('prepared transaction ' || p.gid || ' of role ' || p.owner,
                'a transaction of role ' || a.usename || ' (process ' || l.pid || ')',
                'transaction ' || l.transactionid) AS who
  FROM pg_locks l
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
 WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
   AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND coalesce(p.database, a.datname, current_database()) = current_database()
"""

_STILL_OPEN = """
SELECT transactionid::text AS xid FROM pg_locks
 WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted AND transactionid::text = ANY (%s)
"""


def observe(sessions: Callable[[str], Server], extensions: Sequence[Extension]) -> FoundExtensions:
    """Read what is there of *extensions*, and what others have where their scripts would look.

    *sessions* gives a superuser's session in a named database (the same one for the same name). Raises SqlError.
    """
    databases = {row["datname"] for row in sessions("postgres").rows("SELECT datname FROM pg_database")}
    return FoundExtensions(
        {
            extension: _observe(sessions(extension.database), extension) if extension.database in databases else None
            for extension in extensions
        }
    )


def plan(extensions: Sequence[Extension], state: FoundExtensions, missing_ok: bool = False) -> Plan:
    """What makes *extensions* be there, in their order, each in a schema that is made first where a named one is missing.

    *missing_ok*: a forecast, where an earlier step that was not run may bring a database or the extension's files. Raises
    ConfigError for statements that contradict themselves or name what does not exist; Conflict for an extension that is in
    another schema than the one named, and for one whose script could call what others have made.
    """
    wanted = tuple(dict.fromkeys(extensions))
    _validate(wanted, state, missing_ok)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    steps: list[Step] = []
    made = set()
    later = waiting(wanted, state)
    for extension in wanted:
        found = state.extensions.get(extension)
        _check_schema(extension, found)
        if (found and found.installed is not None) or extension in later:
            continue
        known = found or FoundExtension()
        schema = _target(extension, known)
        _refuse(extension, known, known.strange)
        # One that the control file names is made by CREATE EXTENSION.
        if not known.has_schema and not known.fixed and (extension.database, schema) not in made:
            made.add((extension.database, schema))
            key = f"schema {schema} in database {extension.database}"
            before[key], after[key] = "absent", "present"
            arguments = {"database": extension.database, "schema": schema}
            steps.append(Step("create_schema", f"create {key}", arguments))
        before[str(extension)], after[str(extension)] = "absent", f"in schema {schema}"
        steps.append(Step("create", f"create {extension}", {"extension": extension, "found": known}))
    return Plan("extensions", before, after, tuple(steps))


def waiting(extensions: Sequence[Extension], state: FoundExtensions) -> list[Extension]:
    """Those of *extensions* that cannot be made before the server has been restarted: its library is not there yet, or that of
    one which it requires."""
    found: list[Extension] = []
    for extension in dict.fromkeys(extensions):
        known = state.extensions.get(extension)
        if known and known.installed is None:
            ahead = {other.name for other in found if other.database == extension.database}
            if not known.loaded or ahead & set(known.needs):
                found.append(extension)
    return found


class ExtensionExecutor:
    """Runs the steps of the plan. *sessions* as for observe(). Commits locally, as that of roles.py does."""

    def __init__(self, sessions: Callable[[str], Server]) -> None:
        self._sessions = sessions

    def create_schema(self, database: str, schema: str) -> None:
        """Make *schema*, in which the login role alone may create and which all may use. Raises SqlError."""
        server = self._sessions(database)
        with _transaction(server, f"create schema {schema} in database {database}"):
            server.run(f"CREATE SCHEMA {quote(schema)}")
            server.run(f"GRANT USAGE ON SCHEMA {quote(schema)} TO PUBLIC")

    def create(self, extension: Extension, found: FoundExtension) -> None:
        """Make *extension*, with no chance for others to put something before its script after the look.

        Raises Conflict as plan() does, PgherdError when a transaction of others does not end, SqlError.
        """
        server = self._sessions(extension.database)
        schema = _target(extension, found)
        where = "" if found.fixed else f" SCHEMA {quote(schema)}"
        with _transaction(server, f"create {extension}"):
            server.run(f"SET LOCAL lock_timeout = '{PATIENCE:g}s'")
            server.run(f"SET LOCAL statement_timeout = '{_SCRIPT}s'")
            server.run(_LOCK)
            _wait_for_others(server, extension)
            _refuse(extension, found, _strange(server, schema, found.requires))
            server.run(f"CREATE EXTENSION {quote(extension.name)}{where}")


def _observe(server: Server, extension: Extension) -> FoundExtension:
    row = server.rows(_EXTENSION, [extension.name])[0]
    loaded = not extension.preload or extension.name in _libraries(server)
    found = FoundExtension(
        **{**row, "requires": tuple(row["requires"]), "needs": tuple(row["needs"]), "loaded": loaded}
    )
    if found.installed is not None or not found.available:
        return found
    schema = _target(extension, found)
    has_schema = bool(server.rows("SELECT FROM pg_namespace WHERE nspname = %s", [schema]))
    strange = _strange(server, schema, found.requires)
    return FoundExtension(**{**vars(found), "has_schema": has_schema, "strange": strange})


def _libraries(server: Server) -> list[str]:
    """What the server has loaded at its start, by the names in its setting."""
    setting = server.rows("SELECT current_setting('shared_preload_libraries') AS libraries")[0]["libraries"]
    return [name.strip().strip('"').rpartition("/")[2] for name in setting.split(",")]


def _strange(server: Server, schema: str, requires: Sequence[str]) -> tuple[str, ...]:
    rows = server.rows(_STRANGE, [schema, list(requires)])
    return tuple(cleaned(f"{row['name']} of role {row['role']}") for row in rows)


def _target(extension: Extension, found: FoundExtension) -> str:
    return extension.schema or found.fixed or DEFAULT_SCHEMA


def _refuse(extension: Extension, found: FoundExtension, strange: Sequence[str]) -> None:
    """Raise Conflict when the extension's script could call something of others."""
    if not strange:
        return
    cure = "Name a schema that postgres owns as its `schema`; one that does not exist is made."
    if found.fixed:
        cure = f"Its control file allows no other schema than {found.fixed}: have these moved out, or dropped."
    if found.requires:
        cure += f" What it requires ({', '.join(found.requires)}) has to be in such a schema too."
    more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
    raise Conflict(
        f"create {extension}",
        "only superusers' objects where its script, which runs as superuser, looks for what it calls",
        ", ".join(strange[:3]) + more,
        cure,
    )


def _check_schema(extension: Extension, found: FoundExtension | None) -> None:
    """Raise Conflict when the extension is, or by its control file can only be, in another schema than the one named."""
    if not found or extension.schema is None:
        return
    if found.installed is not None and found.installed != extension.schema:
        raise Conflict(
            f"{extension}",
            f"schema {extension.schema}",
            f"schema {found.installed}",
            f"Name the schema that it is in, or move it, when all who use it can follow: ALTER EXTENSION {quote(extension.name)}"
            f" SET SCHEMA {quote(extension.schema)}.",
        )
    if found.installed is None and found.fixed not in (None, extension.schema):
        raise Conflict(
            f"create {extension}",
            f"schema {extension.schema}",
            f"schema {found.fixed}, the only one that its control file allows",
            "Leave its schema out.",
        )


def _validate(extensions: Sequence[Extension], state: FoundExtensions, missing_ok: bool) -> None:
    problems = []
    stated: set[tuple[str, str]] = set()
    for extension in extensions:
        key = (extension.database, extension.name)
        found = state.extensions.get(extension)
        if key in stated:
            problems.append(f"The {extension} is stated twice, with different schemas: drop one of both.")
        elif found is None and not missing_ok:
            problems.append(f"The {extension}: there is no such database; state it too, or correct the name.")
        elif found and found.installed is None:
            problems += _lacks(extension, found, stated, missing_ok)
        stated.add(key)
    if problems:
        raise ConfigError(problems)


def _lacks(
    extension: Extension, found: FoundExtension, stated: set[tuple[str, str]], missing_ok: bool
) -> Iterator[str]:
    if not found.available and not missing_ok:
        yield f"The {extension}: the server has no files of it; install its package, or correct the name."
    for name in found.needs:
        if (extension.database, name) not in stated:
            yield f"The {extension} requires extension {name}: state that before it."


def _wait_for_others(server: Server, extension: Extension) -> None:
    """Wait until no transaction is left that may have made something before the catalogue was locked."""
    rows = server.rows(_OPEN)
    for _try in range(int(PATIENCE / _POLL)):
        if not rows:
            return
        server.rows("SELECT pg_sleep(%s)", [_POLL])
        still = {row["xid"] for row in server.rows(_STILL_OPEN, [[row["xid"] for row in rows]])}
        rows = [row for row in rows if row["xid"] in still]
    if rows:
        raise PgherdError(
            f"create {extension} on {server.name}: {cleaned(rows[0]['who'])} has not ended in {PATIENCE:g} s, and nobody else"
            " can see yet what it has made.",
            "End it, or run again when it has ended.",
        )


@contextmanager
def _transaction(server: Server, what: str) -> Iterator[None]:
    """A transaction that waits for no standby. An error of the server's names *what*."""
    try:
        server.run("BEGIN")
        try:
            server.run("SET LOCAL synchronous_commit = local")
            yield
        except BaseException:
            with suppress(PgherdError):
                server.run("ROLLBACK")
            raise
        server.run("COMMIT")
    except SqlError as error:
        if error.sqlstate != "55P03":
            raise SqlError(what, error.node, error.said, error.sqlstate) from error
        said = f"another session has the database's catalogue locked for {PATIENCE:g} s now."
        raise SqlError(what, error.node, said, error.sqlstate, "Run again when its transaction has ended.") from error
