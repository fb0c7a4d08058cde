# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Kept-open sessions on many servers, asked at once: for what looks every half second and must cost next to nothing.

A look is one statement on every session and one wait for whoever answers first (libpq's asynchronous calls); only
opening a session takes a thread, since the name service and libpq may hang there.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Union

from ..errors import PgherdError, Unreachable
from ..ports.sql import Row, open_connection

# Seconds for opening a session; libpq's connect_timeout knows no less.
CONNECT_LIMIT = 2.0
# Of the one statement that is prepared in a session.
_NAME = "pgherd_look"
# PostgreSQL's type oids (pg_type.dat) -> from their text. All others stay text.
_TYPES: dict[int, Callable[[str], Any]] = {
    16: lambda text: text == "t",
    20: int,
    21: int,
    23: int,
    700: float,
    701: float,
}

Parameters = Union[Mapping[str, Any], Callable[[], Mapping[str, Any]]]


class _Session:
    """One server: no session, one being opened, or one that may be asked."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        self.name = name
        self.why = "it has not answered yet"
        self.connection: Any = None
        self._parameters = parameters
        self._prepared = ""
        # Names and kinds of what is prepared: to ask libpq for them at each answer took a third of reading it.
        self._columns: tuple[tuple[str, Callable[[str], Any]], ...] = ()
        self._last: Any = None
        self._attempt: threading.Thread | None = None
        self._since = 0.0
        self._outcome: list[Any] = []

    def advance(self) -> str:
        """Open the session without waiting for it. Returns why an attempt has failed since the last call, or ''."""
        if self._attempt is None:
            self._outcome, self._since = [], time.monotonic()
            self._attempt = threading.Thread(target=self._connect, args=(self._outcome,), daemon=True)
            self._attempt.start()
        elif self._outcome:
            self._attempt = None
            if not isinstance(self._outcome[0], PgherdError):
                self.connection, self._prepared = self._outcome[0], ""
                return ""
            self.why = str(self._outcome[0])
            self.advance()
            return self.why
        return ""

    def wait(self, seconds: float) -> None:
        """Wait for the attempt."""
        if self._attempt:
            self._attempt.join(max(0.0, seconds))

    def pending(self) -> float:
        """For how many seconds the attempt has been running; 0 when there is none."""
        return time.monotonic() - self._since if self._attempt and not self._outcome else 0.0

    def _connect(self, outcome: list[Any]) -> None:
        given = self._parameters
        try:
            outcome.append(open_connection(self.name, given() if callable(given) else given, CONNECT_LIMIT))
        except PgherdError as error:
            outcome.append(error)

    def ask(self, query: str) -> None:
        """Send *query*, which the server plans the first time only. Raises Unreachable when the session turns out to be gone.

        Planning is most of what a look costs the server (measured on PostgreSQL 17: 3.4 ms of 4).
        """
        text = f"EXECUTE {_NAME}"
        if query != self._prepared:
            self._columns = ()
            text = f"DEALLOCATE ALL; PREPARE {_NAME} AS {query}; {text}"
        try:
            self.connection.pgconn.send_query(text.encode())
            self._prepared = query
        except Exception as error:
            self.close(error)
            raise Unreachable(self.why) from error

    def answer(self) -> Row | None:
        """The first row of the answer, or None while it has not come. Raises Unreachable."""
        pgconn = self.connection.pgconn
        try:
            pgconn.consume_input()
            while True:
                if pgconn.is_busy():
                    return None
                later = pgconn.get_result()
                if later is None:
                    break
                self._last = later
        except Exception as error:
            self.close(error)
            raise Unreachable(self.why) from error
        result, self._last = self._last, None
        if result is None or result.error_message or not result.ntuples:
            said = result.error_message.decode(errors="replace") if result else ""
            self.close(said or "it gave no answer")
            raise Unreachable(self.why)
        self._columns = self._columns or tuple(_column(result, at) for at in range(result.nfields))
        return {name: _value(result.get_value(0, at), kind) for at, (name, kind) in enumerate(self._columns)}

    def close(self, why: object) -> None:
        """End the session for the reason *why*."""
        self.why = " ".join(str(why).split())
        with suppress(Exception):
            self.connection.close()
        self.connection = None


def _column(result: Any, at: int) -> tuple[str, Callable[[str], Any]]:
    return result.fname(at).decode(), _TYPES.get(result.ftype(at), str)


def _value(raw: bytes | None, kind: Callable[[str], Any]) -> Any:
    return None if raw is None else kind(raw.decode())


class Sessions:
    """One session each on the servers of *parameters* (libpq parameters by name, or what gives them for each new session)."""

    def __init__(self, parameters: Mapping[str, Parameters]) -> None:
        self._sessions = {name: _Session(name, given) for name, given in parameters.items()}
        self._first = True

    def ask(self, query: str, limit: float) -> tuple[dict[str, Row], dict[str, str]]:
        """The first row that each server answers to *query*, and why others failed since the last call.

        Waits at most *limit* seconds for answers, and for sessions only at the first call: later, one that is being
        opened is in neither result, until it is open or has failed or *limit* is over.
        """
        deadline = time.monotonic() + limit
        failed: dict[str, str] = {}
        self._open(failed, limit, deadline)
        asked = []
        for session in self._sessions.values():
            if session.connection is not None:
                try:
                    session.ask(query)
                    asked.append(session)
                except Unreachable as error:
                    failed[session.name] = str(error)
        rows = self._collect(asked, failed, deadline)
        for session in asked:
            if session.connection is not None and session.name not in rows:
                session.close(f"no answer within {limit:g} s")
                failed[session.name] = session.why
        return rows, failed

    def _open(self, failed: dict[str, str], limit: float, deadline: float) -> None:
        closed = [session for session in self._sessions.values() if session.connection is None]
        why = {session: session.advance() for session in closed}
        patience = limit
        if self._first:
            self._first, patience = False, 0.0
            for session in closed:
                session.wait(deadline - time.monotonic())
                why[session] = why[session] or session.advance()
        for session in closed:
            overdue = session.why if session.connection is None and session.pending() > patience else ""
            if why[session] or overdue:
                failed[session.name] = why[session] or overdue

    def _collect(self, asked: list[_Session], failed: dict[str, str], deadline: float) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        with selectors.DefaultSelector() as selector:
            for session in asked:
                selector.register(session.connection.pgconn.socket, selectors.EVENT_READ, session)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    break
                for key, _events in ready:
                    try:
                        row = key.data.answer()
                    except Unreachable as error:
                        failed[key.data.name] = str(error)
                    else:
                        if row is None:
                            continue
                        rows[key.data.name] = row
                    selector.unregister(key.fileobj)
        return rows

    def close(self) -> None:
        """End all sessions."""
        for session in self._sessions.values():
            session.close("closed")
