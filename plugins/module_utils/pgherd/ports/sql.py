# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""SQL through psycopg: one small port (Server) and its one implementation (connect)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional, Protocol

from ..errors import PgherdError, SqlError, Unreachable

Row = dict[str, Any]


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
    refuses, PgherdError when psycopg is missing.
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
        "options": f"-c statement_timeout={int(timeout * 1000)}",
        **parameters,
    }
    try:
        # prepare_threshold=None: pgpool does not follow prepared statements across backends.
        return psycopg.connect(conninfo(settings), autocommit=True, row_factory=dict_row, prepare_threshold=None)
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise Unreachable(f"connect to {name}: {said}") from error
