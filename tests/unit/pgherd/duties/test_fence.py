# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When a primary refuses writes, lets them in again, or gives way."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.duties.fence import BACK, FENCE, FENCE_ASYNC, STALLED, UNFENCED, Primary, decide, fatal
from pgherd.model import Cluster
from states import cluster

THREE = cluster(3)
FIVE = cluster(5, sync_standbys=2)
ASYNC = cluster(3, durability="async")
ONE = ("pg2",)


def seen(backed: tuple[str, ...] = ONE, fenced: bool = False, **more: Any) -> Primary:
    return Primary("pg1", 1, fenced, backed, **more)


def rival(timeline: int, backed: int) -> dict[str, Any]:
    return {"rival": "pg3", "rival_timeline": timeline, "rival_backed": backed}


@pytest.mark.parametrize(
    ("what", "found", "state", "action"),
    [
        ("F01: all is well", THREE, seen(), ""),
        ("a standby restarts", THREE, seen((), alone=FENCE - 0.1), ""),
        ("F07, F08: cut off", THREE, seen((), alone=FENCE), "fence"),
        ("F05: after a freeze", THREE, seen((), alone=30.0), "fence"),
        ("F06: its standbys were sealed", THREE, seen((), alone=FENCE), "fence"),
        ("one of two needed", FIVE, seen(ONE, alone=FENCE), "fence"),
        ("fenced already", THREE, seen((), fenced=True, alone=60.0), ""),
        ("they are back", THREE, seen(fenced=True, together=BACK), "lift"),
        ("they are back for a moment", THREE, seen(fenced=True, together=BACK - 0.1), ""),
        ("a switchover is at work", THREE, seen(fenced=True, together=60.0, locked=True), ""),
        ("asynchronous, alone", ASYNC, seen((), alone=FENCE_ASYNC), "fence"),
        ("asynchronous, no standby and a majority", ASYNC, seen((), reached=2), ""),
        ("asynchronous, back", ASYNC, seen((), fenced=True, reached=2, together=BACK), "lift"),
        ("a first primary before its first standby", THREE, seen((), alone=60.0, unshared=True), ""),
        ("the same, fenced before that was known", THREE, seen((), fenced=True, alone=60.0, unshared=True), "lift"),
        ("the same, and a switchover is at work", THREE, seen((), fenced=True, locked=True, unshared=True), ""),
        ("the same beside a rival", THREE, seen((), alone=60.0, unshared=True, **rival(1, 0)), "fence"),
        ("the same, asynchronous", ASYNC, seen((), alone=FENCE_ASYNC, unshared=True), "fence"),
        ("the only electable one", cluster(1), seen((), alone=60.0), ""),
        ("the only electable one was fenced", cluster(1), seen((), fenced=True), "lift"),
        ("F05: a successor with its standbys", THREE, seen((), alone=60.0, **rival(2, 1)), "rival"),
        ("a successor before it has standbys", THREE, seen((), alone=FENCE, **rival(2, 0)), "rival"),
        ("one just promoted, maybe without its locks", THREE, seen((), alone=0.5, **rival(2, 0)), ""),
        ("a newer one that nobody follows", THREE, seen(**rival(2, 0)), ""),
        ("a newer one that enough follow", THREE, seen(**rival(2, 1)), "rival"),
        ("an older one that enough follow", THREE, seen((), alone=0.5, **rival(0, 1)), "rival"),
        ("an older one that nobody follows", THREE, seen((), alone=0.5, **rival(0, 0)), ""),
        ("a twin, both followed by nobody", THREE, seen((), fenced=True, alone=60.0, **rival(1, 0)), ""),
        ("left behind, its successor gone too", THREE, seen((), fenced=True, alone=FENCE, newer="pg3"), "left behind"),
        ("left behind, as it seems for a moment", THREE, seen((), alone=FENCE - 0.1, newer="pg3"), ""),
        ("backed, whatever another claims", THREE, seen(newer="pg3"), ""),
        ("F26: its disk takes no WAL", THREE, seen(stalled=STALLED), "disk"),
        ("F27: its disk is slow", THREE, seen(stalled=STALLED - 0.1), ""),
        ("F26, and no standby streams", THREE, seen((), alone=1.0, stalled=60.0), ""),
        ("F26, and a switchover is at work", THREE, seen(stalled=60.0, locked=True), ""),
        ("F26 of the only electable one", cluster(1), seen(stalled=60.0), ""),
        ("F26, and another is promoted already", THREE, seen(stalled=60.0, **rival(2, 1)), "rival"),
        ("F26, asynchronous", ASYNC, seen((), reached=2, stalled=STALLED), "disk"),
        ("asynchronous, a newer one", ASYNC, seen(**rival(2, 0), reached=3), "rival"),
        ("asynchronous, an older one", ASYNC, seen(**rival(0, 2), reached=3), ""),
    ],
)
def test_verdict(what: str, found: Cluster, state: Primary, action: str) -> None:
    verdict = decide(found, state)
    assert verdict.action == action, (what, verdict.why)
    assert bool(verdict.why) == bool(action)


def test_of_two_primaries_at_most_one_goes_on() -> None:
    """Whoever looks at whom, with every number of followers that both can have at once."""
    for first in range(3):
        for second in range(3 - first):
            mine = seen(tuple(f"pg{n}" for n in range(first)), alone=0.0 if first else 60.0, **rival(2, second))
            names = tuple(f"s{n}" for n in range(second))
            other = Primary("pg3", 2, False, names, 0.0 if second else 60.0, 0.0, "pg1", 1, first)
            actions = [decide(THREE, mine).action, decide(THREE, other).action]
            assert "rival" in actions, (first, second)
            assert actions.count("rival") == 1 or (first and second), (first, second)


@pytest.mark.parametrize(
    ("what", "state", "connected", "failing", "dies"),
    [
        ("K10: they merely lag", THREE, 1, 60.0, False),
        ("none is connected, for a moment", THREE, 0, 0.0, False),
        ("none is connected, and it goes on", THREE, 0, UNFENCED, True),
        ("one of two needed is", FIVE, 1, UNFENCED, True),
        ("both are", FIVE, 2, UNFENCED, False),
        ("asynchronous: what it acknowledges now is lost", ASYNC, 2, 0.0, True),
    ],
)
def test_whether_a_primary_that_cannot_be_fenced_is_killed(
    what: str, state: Cluster, connected: int, failing: float, dies: bool
) -> None:
    assert bool(fatal(state, connected, failing)) == dies, what
