# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waiting: it ends when it holds, and has an end when it does not."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import Unreachable
from pgherd.ports.links import Links
from pgherd.promotion.wait import says, streams, until
from scripted import ScriptedServer

RECEIVER = "pg_stat_wal_receiver WHERE status = 'streaming'"


def test_it_ends_when_it_holds() -> None:
    answers = iter([False, False, True])
    until(lambda: next(answers), 5.0, "too late", pause=0.0)


def test_it_has_an_end() -> None:
    with pytest.raises(Unreachable, match=r"pg2 does not stream after 0\.01 s\.") as raised:
        until(lambda: False, 0.01, "pg2 does not stream", "Look at its log.", 0.0)
    assert "Look at its log." in str(raised.value)


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
