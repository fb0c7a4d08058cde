# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How a fence is set: beside the looks, through a session that is there already, and what happens where it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import fencing
from pgherd.agent.fencing import END, OPEN, READY, REST, SHUT, Fencing
from pgherd.errors import PgherdError, Unreachable
from pgherd.model import Cluster
from pgherd.ports.links import Links
from states import cluster

STRICT, ASYNC = cluster(3), cluster(3, durability="async")
WRITTEN = "ALTER SYSTEM SET default_transaction_read_only = on"


class Session:
    """One session: what ran in it, and how statements end."""

    def __init__(self, fails: Callable[[], None] = lambda: None) -> None:
        self.ran: list[str] = []
        self.fails = fails
        self.closed = False

    def run(self, statement: str, params: Any = None) -> None:
        self.fails()
        self.ran.append(statement)

    def rows(self, query: str, params: Any = None) -> list[dict[str, Any]]:
        self.fails()
        self.ran.append("END")
        return [{"ended": 2}]

    def close(self) -> None:
        self.closed = True


def broken() -> None:
    raise Unreachable("the session ended")


class Host:
    """A primary's host. *sessions* are what it gets when it opens one; an exception is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: Cluster, *sessions: Session | PgherdError) -> None:
        self.sessions = list(sessions)
        self.said: list[str] = []
        self.killed: list[str] = []
        monkeypatch.setattr(fencing, "kill_postmaster", self.killed.append)
        self.fencing = Fencing(here_of(state, "pg1", Links(self.open, lambda: None), say=self.said.append))

    def open(self, _name: str) -> Any:
        found = self.sessions.pop(0)
        if isinstance(found, PgherdError):
            raise found
        return found

    def want(self, *wanted: str, connected: int = 0) -> None:
        """Have each done, one after the other."""
        for one in wanted:
            self.fencing.want(one, connected)
            self.wait()

    def wait(self) -> None:
        """Until all that was wanted is done."""
        deadline = time.monotonic() + 5
        while self.fencing._doing:
            assert time.monotonic() < deadline, f"{self.fencing._doing} is not done"
            time.sleep(0.002)


def test_a_fence_and_its_end_take_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    host = Host(monkeypatch, STRICT, session)
    host.want(READY, READY, SHUT, END, OPEN)
    reload = "SELECT pg_reload_conf()"
    assert session.ran == [WRITTEN, reload, "END", "END", WRITTEN.replace("= on", "= off"), reload]
    assert (host.said, host.killed) == (["fence: 2 sessions ended"] * 2, [])
    assert not session.closed
    host.want(REST)
    assert session.closed


def test_one_for_which_there_was_no_thread_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    host = Host(monkeypatch, STRICT, session)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="new thread"):
            host.fencing.want(SHUT)
    assert not host.fencing.doing
    assert host.fencing.want(SHUT)
    host.wait()
    assert WRITTEN in session.ran


def no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_kept_session_that_was_ended_is_no_reason_to_die(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, new = Session(broken), Session()
    host = Host(monkeypatch, ASYNC, kept, new)
    host.want(READY, SHUT)
    assert WRITTEN in new.ran
    assert host.killed == []


@pytest.mark.parametrize(
    ("what", "state", "connected", "killed"),
    [
        ("asynchronous", ASYNC, 2, True),
        ("K10: standbys are late", STRICT, 1, False),
        ("no standby is left, but it has been tried once", STRICT, 0, False),
    ],
)
@pytest.mark.parametrize("reason", ["no place", "no answer"])
def test_a_fence_that_cannot_be_set(
    monkeypatch: pytest.MonkeyPatch, what: str, state: Cluster, connected: int, killed: bool, reason: str
) -> None:
    """No statement_timeout ends a write that a disk does not take."""
    over = threading.Event()
    monkeypatch.setattr(fencing.fence, "STANDS", 0.05)
    given = PgherdError("too many clients already") if reason == "no place" else Session(lambda: over.wait(5) and None)
    host = Host(monkeypatch, state, given)
    host.want(SHUT, connected=connected)
    over.set()
    assert host.said[0].startswith("fence: failed: "), what
    assert bool(host.killed) == killed, what
    assert ("the postmaster is killed" in host.said[-1]) == killed


def test_a_fence_that_fails_for_long_without_standbys_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing.fence, "UNFENCED", 0.05)
    host = Host(monkeypatch, STRICT, *(PgherdError("no place") for _attempt in range(3)))
    host.want(SHUT)
    assert host.killed == []
    time.sleep(0.06)
    host.want(SHUT, connected=1)
    assert host.killed == []
    host.want(SHUT)
    assert host.killed == ["/var/lib/postgresql/17/main"]


def test_what_is_wanted_meanwhile_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes its time with a session does not hold a fence up longer than that."""
    opened, session = threading.Event(), Session()
    host = Host(monkeypatch, STRICT, session)
    late = Links(lambda name: opened.wait(5) and host.open(name), lambda: None)  # type: ignore[arg-type,return-value]
    host.fencing = Fencing(replace(host.fencing._here, links=late))
    assert [host.fencing.want(one) for one in (READY, READY, SHUT, SHUT)] == [True, False, True, False]
    opened.set()
    host.wait()
    assert WRITTEN in session.ran
