# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How often a node looks at its own row in the metadata."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from here import here_of
from pgherd.agent import upkeep
from pgherd.agent.upkeep import RECORDED, Upkeep
from pgherd.observe.tracker import Tracker
from scripted import ScriptedServer
from test_standby_duty import THREE, streaming

RIGHT = {"type": "standby", "active": True, "upstream": 1}


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (RIGHT, [0.0, RECORDED, 2 * RECORDED]),
        (None, [0.0, 5.0, 10.0, RECORDED, RECORDED + 5, RECORDED + 10, 2 * RECORDED]),  # not registered yet
    ],
)
def test_a_row_that_was_right_is_looked_at_less_often(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, Any] | None, asked: list[float]
) -> None:
    looks: list[float] = []
    now = 0.0

    def session(_links: Any, name: str) -> Any:
        looks.append(now)
        return nullcontext(ScriptedServer(name, [("FROM repmgr.nodes", [row] if row else [])]))

    monkeypatch.setattr(upkeep, "session", session)
    keeper = Upkeep(here_of(THREE, "pg2"), Tracker(THREE, "pg2"))
    while now <= 2 * RECORDED:
        keeper._row(now, streaming("pg2", follows="pg1"), "pg1")
        now += 5.0
    assert looks == asked
