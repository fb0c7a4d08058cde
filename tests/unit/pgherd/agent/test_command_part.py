# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's socket: commands over a real socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pgherd.agent.command_part import CommandPart, ask
from pgherd.errors import Conflict

Say = Callable[[str], None]

# What a command did not foresee ends its thread, and stands in the journal.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def good(say: Say, asked: Mapping[str, Any]) -> int:
    say(f"asked {json.dumps(asked)}")
    say("7")
    return 0


def refused(say: Say, _asked: Mapping[str, Any]) -> int:
    say("considering")
    raise Conflict("promote pg2", "a safe promotion", "too few")


def broken(_say: Say, _asked: Mapping[str, Any]) -> int:
    raise RuntimeError("an unforeseen one")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    where = str(tmp_path / "command")
    # What an agent that was killed leaves behind.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(where)
    part = CommandPart({"good": good, "refused": refused, "broken": broken}, where, lambda _line: None)
    yield where
    part.close()
    assert not os.path.exists(where)


def asked(path: str, command: str, **arguments: Any) -> tuple[int | None, list[str]]:
    lines: list[str] = []
    return ask(command, arguments, lines.append, path), lines


def test_lines_and_the_code(path: str) -> None:
    assert asked(path, "good", upstream=3) == (0, ['asked {"upstream": 3}', "7"])


def test_a_refusal_is_said(path: str) -> None:
    code, lines = asked(path, "refused")
    assert code == 1
    assert lines[0] == "considering"
    assert lines[1].startswith("refused: ")
    assert "too few" in lines[1]


def test_it_is_this_users_alone(path: str) -> None:
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_no_agent(tmp_path: Path) -> None:
    assert asked(str(tmp_path / "none"), "good") == (None, [])


@pytest.mark.parametrize("command", ["broken", "unknown"])
def test_an_agent_that_ends_half_way_is_a_failure(path: str, command: str) -> None:
    """Not one that was never asked: what it began may be going on."""
    assert asked(path, command) == (1, [])


def test_who_asks_may_go_and_the_work_goes_on(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b'{"command": "good"}\n')
    assert asked(path, "good")[0] == 0


def test_nonsense_is_left_unanswered(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.0\n")
        assert connection.recv(100) == b""
    assert asked(path, "good")[0] == 0
