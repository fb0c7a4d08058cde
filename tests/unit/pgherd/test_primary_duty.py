# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Of two primaries that meet when a cut ends, one yields, never both."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.agent.primary_duty import PrimaryDuty
from pgherd.agent.work import Here, Work
from pgherd.failover.links import Links
from pgherd.failover.memory import Memory
from voices import cluster, primary, round_, standby, streaming

THREE = cluster(3)


def old(second: int) -> Any:
    """The primary that was cut off; what its standbys said at *second* has arrived when the cut ends."""
    return primary("pg3", 1, senders=dict.fromkeys(("pg1", "pg2"), f"2031-01-01 00:00:{second:02}"))


def looks(me: str, *rounds: tuple[float, tuple[Any, ...]]) -> str:
    """What *me* does about itself after these looks, which are *rounds*."""
    memory, nobody = Memory(THREE, me), Links(lambda name: pytest.fail(f"asked {name}"), lambda: None)
    duty = PrimaryDuty(Here(THREE, THREE.node(me), 17, memory, nobody, None, None, print), Work(print))  # type: ignore[arg-type]
    action = ""
    for now, voices in rounds:
        seen = round_(*voices)
        memory.look(now, seen)
        if not seen.voices[me].in_recovery:
            action = duty.look(now, seen.voices[me], seen).verdict.action
    return action


@pytest.mark.parametrize(
    ("what", "third"),
    [
        ("the third is sealed", standby("pg2", follows="")),
        ("the third is pointed at the new one", standby("pg2", follows="pg1")),
        ("the third streams from it", streaming("pg2", timeline=2, follows="pg1")),
    ],
)
def test_late_answers_count_for_nobody(what: str, third: Any) -> None:
    """F13: each of them found the other to be the real one, and stopped."""
    before = (standby("pg1", follows=""), standby("pg2", follows=""))
    meeting = (primary("pg1", 2), third, old(5))
    assert looks("pg1", (0.0, before), (1.0, meeting)) == "", what
    cut = [(float(now), (old(0),)) for now in range(8)]
    assert looks("pg3", *cut, (8.0, meeting)) == "yield", what


def test_a_stray_yields_to_one_that_is_followed() -> None:
    followed = streaming("pg2", follows="pg3")
    beside = (primary("pg1", 2), followed, old(1))
    assert looks("pg1", (0.0, (standby("pg1", follows="pg3"), followed)), (1.0, beside)) == "yield"
