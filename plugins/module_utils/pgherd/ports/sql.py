# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""SQL through psycopg: one small port (Server) and its one implementation (connect)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional, Protocol

from ..errors import PgherdError, SqlError, Unreachable
from .addresses import KNOWN

Row = dict[str, Any]

# What a file, ALTER SYSTEM, a role or the owner of a database may set for all sessions (ALTER ROLE, ALTER DATABASE ... SET), and
# what of that would change what a statement of ours means, what it costs, or whether it runs at all. Options at the start of a
# session go before those. All that every role may say at its start is here, in every release: what a server does not know would
# end the session. The rest is set for our own roles, see objects/shield.py.
# Tried on PostgreSQL 15: ALTER DATABASE ... SET role makes a superuser's session one of that role. A standby refuses every
# statement under serializable isolation. With exit_on_error a query that may fail ends the session. Just-in-time compilation of
# what is asked twice a second costs more than all else.
FIXED = {
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "xmloption": "content",
    "client_encoding": "UTF8",
    # A warning at login (a setting that names what is gone) ends the session where it comes through Pgpool-II 4.6.
    "client_min_messages": "error",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "exit_on_error": "off",
    "row_security": "on",
    "check_function_bodies": "on",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "local_preload_libraries": "",
    "jit": "off",
    "plan_cache_mode": "auto",
    "max_parallel_workers_per_gather": "0",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
}


class Server(Protocol):
    """A session on one PostgreSQL server (or on a pgpool), in autocommit."""

    name: str

    def rows(self, query: str, params: Optional[Sequence[Any]] = None) -> list[Row]:
        """Run a query and return its rows by column name. Raises SqlError, or Unreachable when the session ended."""

    def run(self, statement: str, params: Optional[Sequence[Any]] = None) -> None:
        """Run a statement that returns nothing. Raises as rows()."""

    def close(self) -> None:
        """End the session, and with it the locks it holds."""


def quote(identifier: str) -> str:
    """Quote an SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote an SQL string literal, for statements that take no parameters."""
    escaped = value.replace("'", "''")
    if "\\" in escaped:
        return " E'" + escaped.replace("\\", "\\\\") + "'"
    return f"'{escaped}'"


def conninfo(parameters: Mapping[str, Any]) -> str:
    """A libpq connection string from *parameters*; empty values are left out.

    Quoting as in the manual, 34.1.1 "Keyword/Value Connection Strings".
    """
    parts = []
    for key, value in parameters.items():
        text = str(value)
        if value is None or text == "":
            continue
        if any(character in text for character in " '\\"):
            text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        parts.append(f"{key}={text}")
    return " ".join(parts)


def parse_conninfo(text: str) -> dict[str, str]:
    """The parameters of a libpq connection string in its keyword form, as primary_conninfo is."""
    pairs = re.findall(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']*))", text)
    return {key: re.sub(r"\\(.)", r"\1", quoted or plain) for key, quoted, plain in pairs}


def session_options(more: str = "", **others: str) -> str:
    """libpq's *options* for a session of ours: what others could have set is FIXED, with *others* in its place or beside it,
    and then *more* options, which go before both."""
    fixed = {**FIXED, **others}
    return " ".join([*(option(name, value) for name, value in fixed.items()), *([more] if more else [])])


def option(name: str, value: str) -> str:
    """One of libpq's *options*: a setting. pg_split_opts(): a backslash keeps a blank, or itself, in the word."""
    word = f"{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-c {word}"


class PsycopgServer:
    """Server on a psycopg connection."""

    def __init__(self, name: str, connection: Any) -> None:
        self.name = name
        self._connection = connection

    def rows(self, query: str, params: Optional[Sequence[Any]] = None) -> list[Row]:
        """See Server.rows."""
        with self._cursor(query, params) as cursor:
            return list(cursor.fetchall())

    def run(self, statement: str, params: Optional[Sequence[Any]] = None) -> None:
        """See Server.run."""
        with self._cursor(statement, params):
            return

    def close(self) -> None:
        """See Server.close."""
        self._connection.close()

    @contextmanager
    def _cursor(self, query: str, params: Optional[Sequence[Any]]) -> Iterator[Any]:
        import psycopg

        attempted = " ".join(query.split())[:80]
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(query, params)
                yield cursor
        except psycopg.Error as error:
            message = (error.diag.message_primary or str(error)) if error.diag else str(error)
            if self._connection.closed or self._connection.broken:
                raise Unreachable(f"{attempted} on {self.name}: the session ended: {message}") from error
            raise SqlError(attempted, self.name, message, error.sqlstate or "") from error


@contextmanager
def connect(name: str, parameters: Mapping[str, Any], timeout: float = 5.0) -> Iterator[PsycopgServer]:
    """Open a session on the node called *name* with libpq *parameters*, and close it at the end. See open_connection()."""
    connection = open_connection(name, parameters, timeout)
    try:
        yield PsycopgServer(name, connection)
    finally:
        connection.close()


def open_connection(name: str, parameters: Mapping[str, Any], timeout: float = 5.0) -> Any:
    """A psycopg connection to the node called *name* with libpq *parameters*, in autocommit, rows as dictionaries.

    *timeout*, in seconds, bounds the connection (libpq takes whole seconds, at least 2) and each statement; a
    *connect_timeout* or *options* in *parameters* goes before it. Raises Unreachable when the server does not answer or
    refuses, PgherdError when psycopg is missing. What roles and databases set for their sessions is not in force, see
    session_options().
    """
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError as error:
        raise PgherdError(
            f"connect to {name}: psycopg is not installed for this Python.",
            "Install python3-psycopg (role cluster does).",
        ) from error
    settings = {
        "connect_timeout": max(2, int(timeout)),
        "application_name": "pgherd",
        # Else libpq looks for Kerberos' tickets first, at every connection over TCP, and an agent keeps what that takes.
        "gssencmode": "disable",
        **parameters,
        "options": session_options(str(parameters.get("options") or f"-c statement_timeout={int(timeout * 1000)}")),
    }
    host = str(settings.get("host") or "")
    address = "" if settings.get("hostaddr") else KNOWN.of(host)
    try:
        # prepare_threshold=None: pgpool does not follow prepared statements across backends.
        given = conninfo({**settings, **({"hostaddr": address} if address else {})})
        found = psycopg.connect(given, autocommit=True, row_factory=dict_row, prepare_threshold=None)
    except psycopg.Error as error:
        KNOWN.failed(host, address)
        said = " ".join(str(error).split())
        raise Unreachable(f"connect to {name}: {said}") from error
    if not settings.get("hostaddr"):
        KNOWN.reached(host, found.info.hostaddr)
    return found
