# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Many sessions asked at once, on a libpq connection in miniature: a socket and what stands in it."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from pgherd.errors import Unreachable
from pgherd.observe import sessions
from pgherd.observe.sessions import Sessions

LIMIT = 1.0


class Result:
    """PGresult with one row."""

    ntuples = 1
    error_message = b""
    nfields = 3

    def fname(self, column: int) -> bytes:
        return (b"flag", b"number", b"text")[column]

    def ftype(self, column: int) -> int:
        return (16, 23, 25)[column]

    def get_value(self, _row: int, column: int) -> bytes | None:
        return (b"t", b"7", None)[column]


class Command(Result):
    """PGresult of a command without rows."""

    ntuples = 0


class Connection:
    """psycopg's connection, and its pgconn in one. *mood*: answers, silent, broken or refuses."""

    def __init__(self, mood: str) -> None:
        self.mood = mood
        self.here, self.there = socket.socketpair()
        self.closed = False
        self.pgconn = self
        self.socket = self.here.fileno()
        self._results: list[Any] = []
        self.sent: list[str] = []

    def send_query(self, query: bytes) -> None:
        self.sent.append(query.decode())
        if self.mood == "broken":
            raise OSError("the session ended")
        if self.mood != "silent":
            self.there.send(b"x")
            first = [Command()] * 2 if b"PREPARE" in query else []
            self._results = [*first, Result(), None]

    def consume_input(self) -> None:
        self.here.recv(1)

    def is_busy(self) -> bool:
        return False

    def get_result(self) -> Any:
        return self._results.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def moods(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """By server how it is: a mood, an Event to wait for while connecting, or an error."""
    moods: dict[str, Any] = {}

    def connect(name: str, _parameters: Any, _timeout: float = 0.0) -> Connection:
        mood = moods[name]
        if isinstance(mood, threading.Event):
            mood.wait(5)
            raise Unreachable("connect: no answer in time")
        if isinstance(mood, Exception):
            raise mood
        return Connection(mood)

    monkeypatch.setattr(sessions, "open_connection", connect)
    return moods


def test_all_answer_on_kept_sessions(moods: dict[str, Any]) -> None:
    moods.update(a="answers", b="answers")
    asker = Sessions({"a": {}, "b": {}})
    row = {"flag": True, "number": 7, "text": None}
    assert asker.ask("q", LIMIT) == ({"a": row, "b": row}, {})
    moods.update(a=Unreachable("must not be connected to again"))
    assert asker.ask("q", LIMIT) == ({"a": row, "b": row}, {})


def test_as_who_it_logs_in_is_asked_for_each_session(moods: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A passfile that comes later has the agent's own role used from the next session on, without a restart."""
    users, logged_in = ["repmgr"], []

    def connect(_name: str, given: Any, _timeout: float = 0.0) -> Connection:
        logged_in.append(given["user"])
        return Connection("answers")

    monkeypatch.setattr(sessions, "open_connection", connect)
    asker = Sessions({"a": lambda: {"user": users[-1]}})
    assert asker.ask("q", LIMIT)[0]
    users.append("pgherd_agent")
    asker.close()
    deadline = time.monotonic() + 5
    while not asker.ask("q", LIMIT)[0]:
        assert time.monotonic() < deadline
    assert logged_in == ["repmgr", "pgherd_agent"]


def test_a_statement_is_planned_once_in_a_session(moods: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Connection] = []

    def connect(_name: str, _parameters: Any, _timeout: float = 0.0) -> Connection:
        made.append(Connection("answers"))
        return made[-1]

    monkeypatch.setattr(sessions, "open_connection", connect)
    asker = Sessions({"a": {}})
    for query in ("SELECT 1", "SELECT 1", "SELECT 2", "SELECT 2"):
        assert asker.ask(query, LIMIT)[0]
    planned = ["PREPARE" in text for text in made[0].sent]
    assert planned == [True, False, True, False]
    made[0].mood = "broken"
    assert not asker.ask("SELECT 2", LIMIT)[0]
    deadline = time.monotonic() + 5
    while not asker.ask("SELECT 2", LIMIT)[0]:
        assert time.monotonic() < deadline
    assert "PREPARE" in made[1].sent[0]  # what was prepared ended with its session


def test_a_silent_server_holds_up_the_others_for_the_limit_only_and_is_let_go(moods: dict[str, Any]) -> None:
    moods.update(a="answers", b="silent")
    asker = Sessions({"a": {}, "b": {}})
    began = time.monotonic()
    rows, failed = asker.ask("q", LIMIT)
    assert LIMIT <= time.monotonic() - began < 3 * LIMIT
    assert (list(rows), failed) == (["a"], {"b": "no answer within 1 s"})
    moods["b"] = "answers"
    asker.ask("q", LIMIT)  # begins to connect
    deadline = time.monotonic() + 5
    while "b" not in asker.ask("q", LIMIT)[0]:
        assert time.monotonic() < deadline


def test_one_that_cannot_be_connected_to_holds_up_nobody_later(moods: dict[str, Any]) -> None:
    hanging = threading.Event()
    moods.update(a="answers", b=hanging)
    asker = Sessions({"a": {}, "b": {}})
    assert asker.ask("q", LIMIT)[1] == {"b": "it has not answered yet"}
    time.sleep(LIMIT)
    began = time.monotonic()
    rows, failed = asker.ask("q", LIMIT)
    assert time.monotonic() - began < LIMIT
    assert (list(rows), list(failed)) == (["a"], ["b"])
    hanging.set()
    deadline = time.monotonic() + 5
    while asker.ask("q", LIMIT)[1].get("b") != "connect: no answer in time":
        assert time.monotonic() < deadline


def test_a_refused_connection_is_said_each_time_it_is_tried(moods: dict[str, Any]) -> None:
    moods.update(a=Unreachable("refused"))
    asker = Sessions({"a": {}})
    for _turn in range(3):
        deadline = time.monotonic() + 5
        while asker.ask("q", LIMIT) != ({}, {"a": "refused"}):
            assert time.monotonic() < deadline


def test_a_session_that_ended_is_a_failure_at_once(moods: dict[str, Any]) -> None:
    moods.update(a="broken")
    began = time.monotonic()
    assert Sessions({"a": {}}).ask("q", LIMIT) == ({}, {"a": "the session ended"})
    assert time.monotonic() - began < LIMIT
