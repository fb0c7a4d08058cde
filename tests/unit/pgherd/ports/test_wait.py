# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waiting: it ends when it holds, and has an end when it does not."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import Unreachable
from pgherd.objects.orders import streams
from pgherd.ports.links import Links, says
from pgherd.ports.wait import last_look, or_silent, until
from scripted import ScriptedServer

RECEIVER = "pg_stat_wal_receiver WHERE status = 'streaming'"


def test_it_ends_when_it_holds() -> None:
    answers = iter([False, False, True])
    until(lambda: next(answers), 5.0, "too late", pause=0.0)


def test_it_has_an_end() -> None:
    with pytest.raises(Unreachable, match=r"pg2 does not stream after 0\.01 s\.") as raised:
        until(lambda: False, 0.01, "pg2 does not stream", "Look at its log.", 0.0)
    assert "Look at its log." in str(raised.value)


@pytest.mark.parametrize(
    ("answers", "seconds", "seen", "looks"),
    [
        ([3], 0.0, 3, 1),
        # One look, however late it is.
        ([1], -1.0, 1, 1),
        ([1, 2, 3], 5.0, 3, 3),
        ([1, 1, 2, 2], 2.0, 2, 3),
    ],
)
def test_the_last_look_counts(answers: list[int], seconds: float, seen: int, looks: int) -> None:
    """By a clock on which nothing but a pause takes time."""
    now, left, asked = [0.0], iter(answers), list[int]()

    def look() -> int:
        asked.append(next(left))
        return asked[-1]

    def sleep(pause: float) -> None:
        now[0] += pause

    assert last_look(look, lambda number: number >= 3, seconds, 1.0, lambda: now[0], sleep) == seen
    assert len(asked) == looks


def test_silence_can_be_a_reason_too() -> None:
    def against() -> str:
        raise BROKEN

    assert "the session ended" in or_silent(against)()
    assert or_silent(lambda: "late")() == "late"


def test_a_server_that_does_not_answer_yet_says_no() -> None:
    scripts: dict[str, list[Any]] = {"pg1": [(RECEIVER, [{}])], "pg2": [(RECEIVER, [])], "pg3": [(RECEIVER, BROKEN)]}
    servers = {name: ScriptedServer(name, steps) for name, steps in scripts.items()}

    def open_(name: str) -> Any:
        if name not in servers:
            raise Unreachable(f"connect to {name}: connection refused")
        return servers[name]

    links = Links(open_, lambda: None)
    assert [says(links, name, streams) for name in ("pg1", "pg2", "pg3", "pg4")] == [True, False, False, False]
    assert all(server.closed for server in servers.values())


BROKEN = Unreachable("the session ended")
