# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent counts, in seconds, before it acts: a wait that has a break in it begins anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pgherd.agent import standby_duty
from pgherd.agent.standby_duty import StandbyDuty
from pgherd.agent.work import Here, Work
from pgherd.failover import standby
from pgherd.failover.links import Links
from pgherd.failover.memory import Memory
from pgherd.failover.voice import Round, Voice
from pgherd.model import Cluster
from voices import cluster, primary, round_, streaming
from voices import standby as voice_of
from world import CLUSTER as TREE

THREE = cluster(3)
FIRST, SECOND = "000000010000000000000003", "000000010000000000000004"


def duty_of(world: Cluster, me: str, service: Any = None) -> StandbyDuty:
    """The standby's duty on *me*, which may ask nobody."""
    links = Links(lambda name: pytest.fail(f"asked {name}"), lambda: None)
    here = Here(world, world.node(me), 17, Memory(world, me), links, None, service, print)  # type: ignore[arg-type]
    return StandbyDuty(here, Work(print))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What every look at the silent server is told of its wait, in seconds."""
    told: list[float] = []
    monkeypatch.setattr(standby, "decide_down", lambda seen: told.append(seen.waiting) or standby.Duty(""))
    return told


@pytest.mark.parametrize(
    ("what", "between"),
    [
        ("the server answers in between", "run"),
        ("its unit ends and starts again", "failed"),
        ("it gets on to another segment", SECOND),
        ("its startup process is not seen", ""),
    ],
)
def test_a_recovery_is_given_up_for_one_segment_only(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], what: str, between: str
) -> None:
    at, unit = (FIRST, True), "activating"
    monkeypatch.setattr(standby_duty.wal, "recovering", lambda _directory: at)
    duty = duty_of(THREE, "pg1", SimpleNamespace(state=lambda _unit: unit))
    duty.down(0.0, "")
    duty.down(15.0, "")
    assert waits == [0.0, 15.0]
    if between == "run":
        duty.run(16.0, voice_of("pg1", 1), Round({}, {}), "")
    else:
        unit, at = ("failed", at) if between == "failed" else (unit, (between, bool(between)))
        duty.down(16.0, "")
        unit, at = "activating", (FIRST, True)
    duty.down(18.0, "")
    duty.down(20.0, "")
    assert waits[-2:] == [0.0, 2.0], what


MIDDLE, LEAF = streaming("pg2"), streaming("pg3", follows="pg1")


@pytest.mark.parametrize(
    ("what", "middle", "leaf", "away"),
    [
        ("it streams from the primary, its upstream by design is back", MIDDLE, LEAF, 60.0),
        ("it is where it should be", MIDDLE, streaming("pg3", follows="pg2"), 0.0),
        ("its upstream does not stream", voice_of("pg2"), LEAF, 0.0),
        ("its upstream streams from itself", streaming("pg2", follows="pg3"), LEAF, 0.0),
        ("it is sealed", MIDDLE, voice_of("pg3", follows=""), 0.0),
        ("it has no stream", MIDDLE, voice_of("pg3", follows="pg1"), 0.0),
    ],
)
def test_how_long_a_leaf_is_away(
    monkeypatch: pytest.MonkeyPatch, what: str, middle: Voice, leaf: Voice, away: float
) -> None:
    told: list[float] = []
    monkeypatch.setattr(standby, "decide", lambda seen: told.append(seen.away) or standby.Duty(""))
    duty = duty_of(TREE, "pg3")
    for now in (0.0, 60.0):
        duty.run(now, leaf, round_(primary("pg1"), middle, leaf), "pg1")
    assert told == [0.0, away], what
