# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sessions of a promotion: all at once, late ones, and none left behind."""

from __future__ import annotations

import threading
from typing import Any

from pgherd.errors import SqlError, Unreachable
from pgherd.observe.open_sessions import OpenSessions
from pgherd.ports.links import Links, session
from scripted import ScriptedServer
from test_seal import ASK, row


def server(name: str, answer: Any = None) -> ScriptedServer:
    return ScriptedServer(name, [(ASK, answer or [row()])])


def links(servers: dict[str, Any]) -> Links:
    def open_(name: str) -> Any:
        found = servers[name]
        if isinstance(found, Exception):
            raise found
        return found() if callable(found) else found

    return Links(open_, lambda: None)


class Late:
    """Opens once it is let."""

    def __init__(self) -> None:
        self.gate, self.server = threading.Event(), server("pg1")

    def __call__(self) -> ScriptedServer:
        self.gate.wait(10)
        return self.server


def test_who_answers_and_who_does_not() -> None:
    servers = {"pg1": Unreachable("connect to pg1: no route to host"), "pg2": server("pg2")}
    sessions = OpenSessions(servers, links(servers))
    sessions.wait(servers, 10)
    found = sessions.survey()
    assert list(found.states) == ["pg2"]
    assert "no route" in found.silent["pg1"]
    assert sessions.over()
    sessions.close()
    assert servers["pg2"].closed


def test_one_that_cannot_answer_leaves_no_session() -> None:
    servers = {"pg1": server("pg1", SqlError("ask", "pg1", "no such schema", "3F000"))}
    sessions = OpenSessions(servers, links(servers))
    sessions.wait(servers, 10)
    assert "no such schema" in sessions.survey().silent["pg1"]
    assert servers["pg1"].closed


def test_a_late_one_is_waited_for_no_longer_than_it_is_worth() -> None:
    late = Late()
    servers = {"pg1": late, "pg2": server("pg2")}
    sessions = OpenSessions(servers, links(servers))
    sessions.wait(["pg2"], 10)
    sessions.wait(["pg1"], 0)
    assert sessions.survey().silent == {"pg1": "no answer in time"}
    assert not sessions.over()
    late.gate.set()
    sessions.wait(["pg1"], 10)
    assert set(sessions.survey().states) == {"pg1", "pg2"}
    sessions.close()


def test_one_that_comes_after_the_end_is_closed() -> None:
    late = Late()
    sessions = OpenSessions(["pg1"], links({"pg1": late}))
    sessions.close()
    late.gate.set()
    sessions.wait(["pg1"], 10)
    assert late.server.closed


def test_asked_again() -> None:
    """Who has stopped answering meanwhile is silent now."""
    servers = {
        "pg1": ScriptedServer("pg1", [(ASK, [row()]), (ASK, Unreachable("the session ended"))]),
        "pg2": ScriptedServer("pg2", [(ASK, [row()]), (ASK, [row(timeline=2)])]),
    }
    sessions = OpenSessions(servers, links(servers))
    sessions.wait(servers, 10)
    sessions.again(10)
    found = sessions.survey()
    assert found.states["pg2"].timeline == 2
    assert "the session ended" in found.silent["pg1"]
    assert list(found.states) == ["pg2"]


def test_a_session_ends_with_its_block() -> None:
    found = ScriptedServer("pg1", [])
    with session(links({"pg1": found}), "pg1"):
        assert not found.closed
    assert found.closed


def test_patience_is_twice_the_time_up_to_a_limit() -> None:
    def within(limit: float) -> Any:
        return lambda name: f"{name} within {limit:g} s"

    links = Links(within(2.0), lambda: None, within=within)
    given = []
    for _time in range(4):
        given.append((links.limit, links.open_("pg1")))
        links = links.patient()
    assert given == [(limit, f"pg1 within {limit:g} s") for limit in (2.0, 4.0, 8.0, 10.0)]
