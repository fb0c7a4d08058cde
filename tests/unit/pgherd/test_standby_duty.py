# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A recovery is given up for the one WAL segment that it stands at without a break, never for two waits added up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pgherd.agent import standby_duty
from pgherd.agent.standby_duty import StandbyDuty
from pgherd.agent.work import Here, Work
from pgherd.failover import standby
from pgherd.failover.links import Links
from pgherd.failover.memory import Memory
from pgherd.failover.voice import Round
from voices import cluster
from voices import standby as voice_of

THREE = cluster(3)
FIRST, SECOND = "000000010000000000000003", "000000010000000000000004"


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
def test_a_wait_begins_anew(monkeypatch: pytest.MonkeyPatch, waits: list[float], what: str, between: str) -> None:
    at, unit = (FIRST, True), "activating"
    monkeypatch.setattr(standby_duty.wal, "recovering", lambda _directory: at)
    service = SimpleNamespace(state=lambda _unit: unit)
    memory, nobody = Memory(THREE, "pg1"), Links(lambda name: pytest.fail(f"asked {name}"), lambda: None)
    duty = StandbyDuty(Here(THREE, THREE.node("pg1"), 17, memory, nobody, None, service, print), Work(print))  # type: ignore[arg-type]
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
