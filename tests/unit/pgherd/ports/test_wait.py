# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waiting: it ends when it holds, and has an end when it does not."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import Unreachable
from pgherd.objects.orders import streams
from pgherd.ports.links import Links, says
from pgherd.ports.wait import last_look, or_silent, until, wait_for
from scripted import ScriptedServer

CORE = Path(__file__).resolve().parents[4] / "plugins/module_utils/pgherd"
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


def test_the_last_reason_is_told() -> None:
    reasons = iter(["it streams from nobody", ""])
    wait_for(lambda: next(reasons), 5.0, "let pg2 follow pg1", pause=0.0)
    with pytest.raises(
        Unreachable, match=r"^let pg2 follow pg1: it is late after 0\.01 s\. Run again when that is mended\.$"
    ):
        wait_for(lambda: "it is late", 0.01, "let pg2 follow pg1", pause=0.0)


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


def sleeping_loops(text: str) -> int:
    """How many loops of a file's *text* sleep."""
    loops = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.For, ast.While))]
    calls = [[node.func for node in ast.walk(loop) if isinstance(node, ast.Call)] for loop in loops]
    return sum(any(ast.unparse(func).endswith("sleep") for func in each) for each in calls)


# Beside the waiter itself; docs/architecture.md says why.
ON_PURPOSE = {
    "agent/command_socket.py": 1,
    "agent/work.py": 1,
    "backups/backup_apply.py": 1,
    "cli.py": 1,
    "data/postmaster.py": 1,
    "data/rejoin_marker.py": 1,
    "nodes/rejoin.py": 1,
    "nodes/start.py": 1,
    "places/host/taken_up.py": 1,
    "places/pod/supervisor.py": 1,
    "pools/backends_apply.py": 1,
    "pools/gate.py": 1,
    "promotion/handover.py": 2,
}


def test_nobody_else_sleeps_in_a_loop() -> None:
    found = Counter(
        {str(path.relative_to(CORE)): sleeping_loops(path.read_text("utf-8")) for path in CORE.rglob("*.py")}
    )
    assert +found == {**ON_PURPOSE, "ports/wait.py": 1}
    assert (
        sleeping_loops("while not there():\n    time.sleep(1)\nsleep(1)\nfor _try in tries:\n    self._sleep(1)\n") == 2
    )


BROKEN = Unreachable("the session ended")
