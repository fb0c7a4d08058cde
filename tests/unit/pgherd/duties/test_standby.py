# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a standby, or a node whose server is down, does about itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.duties.standby import (
    ELECT,
    FAILED,
    HUNG,
    NO_STREAM,
    OFF_DESIGN,
    OFF_PRIMARY,
    RANK,
    UNSEAL,
    Down,
    Standby,
    decide,
    decide_down,
    hung,
    may_follow,
    wanted_upstream,
)
from states import cluster, primary, standby, streaming, survey
from world import CLUSTER as TREE

LIVE = streaming("pg2")
ORPHAN = standby("pg2")
SEALED = standby("pg2", follows="")


def seen(state: Any = ORPHAN, primary: str = "pg3", head: str = "", upstream: str = "pg1", **more: Any) -> Standby:
    return Standby("pg2", state, primary, head, upstream, more.pop("wanted", primary), **more)


@pytest.mark.parametrize(
    ("what", "state", "action"),
    [
        ("all is well", seen(LIVE, head="pg3"), ""),
        (
            "locked: a promotion is at work",
            seen(replace(SEALED, locked=1), sealed=60.0, off_primary=60.0, leaderless=60.0),
            "",
        ),
        (
            "its upstream by design is there again",
            seen(LIVE, head="pg3", wanted="pg1", off_design=OFF_DESIGN),
            "follow",
        ),
        ("but only just", seen(LIVE, head="pg3", wanted="pg1", off_design=OFF_DESIGN - 1), ""),
        (
            "the same, and a promotion is at work",
            seen(replace(LIVE, locked=1), head="pg3", wanted="pg1", off_design=OFF_DESIGN),
            "",
        ),
        ("no primary yet", seen(primary="", leaderless=ELECT - 0.1), ""),
        ("no primary, first in rank", seen(primary="", leaderless=ELECT), "elect"),
        ("no primary, second in rank", seen(primary="", leaderless=ELECT + RANK - 0.1, rank=1), ""),
        ("and the first did nothing", seen(primary="", leaderless=ELECT + RANK, rank=1), "elect"),
        ("not electable", seen(primary="", leaderless=600.0, electable=False), ""),
        ("sealed, and no primary", seen(SEALED, primary="", leaderless=ELECT), "elect"),
        ("F06: its postmaster hangs", seen(LIVE, head="pg3", hung=HUNG), "elect"),
        ("and maybe does not", seen(LIVE, head="pg3", hung=HUNG - 1), ""),
        ("and another is first in rank", seen(LIVE, head="pg3", hung=HUNG, rank=1), ""),
        ("it hangs, and this one is not electable", seen(LIVE, head="pg3", hung=60.0, electable=False), ""),
        ("it hangs, and a promotion is at work", seen(replace(LIVE, locked=1), head="pg3", hung=60.0), ""),
        ("sealed a moment ago", seen(SEALED, sealed=UNSEAL - 0.1), ""),
        ("sealed, and there is a newer primary", seen(SEALED, newer=True), "follow"),
        ("the same, and diverged", seen(SEALED, newer=True, diverged=True), "rejoin"),
        ("the same, and not known yet whether it has", seen(SEALED, newer=True, diverged=None), ""),
        ("the same, and a promotion is at work", seen(replace(SEALED, locked=1), newer=True), ""),
        ("sealed, and its promoter is gone", seen(SEALED, sealed=UNSEAL), "follow"),
        ("sealed, its promoter gone, and diverged", seen(SEALED, sealed=UNSEAL, diverged=True), "rejoin"),
        ("sealed a moment ago, and diverged", seen(SEALED, sealed=UNSEAL - 0.1, diverged=True, pointed=True), ""),
        ("diverged, and pointed there", seen(LIVE, head="pg3", diverged=True, pointed=True), "rejoin"),
        ("diverged, and pointed elsewhere", seen(LIVE, head="pg1", diverged=True), ""),
        ("an orphan that has diverged", seen(off_primary=OFF_PRIMARY, diverged=True), "rejoin"),
        ("an orphan that repmgrd may still see to", seen(off_primary=OFF_PRIMARY - 0.1), ""),
        ("an orphan", seen(off_primary=OFF_PRIMARY), "follow"),
        ("pointed right, and trying", seen(upstream="pg3", off_primary=OFF_PRIMARY, no_stream=NO_STREAM - 0.1), ""),
        (
            "pointed right, in vain: it has a reason of its own",
            seen(upstream="pg3", off_primary=OFF_PRIMARY, no_stream=600.0),
            "follow",
        ),
        (
            "the same, and its data can never stream",
            seen(upstream="pg3", no_stream=NO_STREAM, useless="its WAL is gone"),
            "rejoin",
        ),
        ("its stream leads to an old primary", seen(LIVE, head="pg1", off_primary=OFF_PRIMARY), "follow"),
    ],
)
def test_duty(what: str, state: Standby, action: str) -> None:
    duty = decide(state)
    assert duty.action == action, (what, duty.why)
    assert bool(duty.why) == bool(action)
    assert duty.target == (state.wanted if action in ("follow", "rejoin") else "")


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("own", ["", "it has WAL of its own"])
def test_what_no_rewind_brings_back_is_cloned(newer: bool, own: str) -> None:
    """pg_rewind compares the numbers of timelines alone."""
    duty = decide(seen(SEALED, sealed=UNSEAL, newer=newer, diverged=True, own=own))
    assert (duty.action, duty.useless) == ("rejoin", own)


@pytest.mark.parametrize(
    ("what", "state", "action"),
    [
        ("a person stopped it", Down("pg2", "stopped", "pg1", for_seconds=600.0), ""),
        ("it is starting", Down("pg2", "starting", "pg1", for_seconds=600.0), ""),
        ("it failed just now", Down("pg2", "failed", "pg1", for_seconds=1.0), ""),
        ("F03, B00: it cannot start", Down("pg2", "failed", "pg1", for_seconds=FAILED - 0.1), ""),
        ("and it is tried again, as what it is", Down("pg2", "failed", "pg1", for_seconds=FAILED), "start"),
        (
            "B00: and again, whatever it says",
            Down("pg2", "failed", "pg1", for_seconds=600.0, words="port in use"),
            "start",
        ),
        ("its data are broken", Down("pg2", "failed", "pg1", for_seconds=2.0, useless="no checkpoint"), "rejoin"),
        (
            "its recovery gets nowhere",
            Down("pg2", "starting", "pg1", for_seconds=99.0, useless="foreign WAL"),
            "rejoin",
        ),
        ("the same, and half a clone", Down("pg2", "failed", "", "clone from pg1", 99.0, useless="none"), ""),
        ("they are, and nobody is primary", Down("pg2", "failed", "", for_seconds=600.0, useless="none"), "start"),
        ("it failed, and nobody is primary", Down("pg2", "failed", "", for_seconds=9.0), ""),
        ("and stays so", Down("pg2", "failed", "", for_seconds=10.0), "start"),
        ("F22: half a clone", Down("pg2", "stopped", "pg1", "clone from pg1"), "rejoin"),
        ("F22: half a clone that the guard refused", Down("pg2", "failed", "pg1", "clone from pg1"), "rejoin"),
        ("F22: half a clone, and nobody to clone from", Down("pg2", "failed", "", "clone from pg1", 600.0), ""),
        ("F22: half a rewind, and nobody", Down("pg2", "failed", "", "rewind to pg1", 600.0), ""),
        ("promoted without locks, and nobody", Down("pg2", "failed", "", "promoted without its locks", 600.0), ""),
        ("stopped to come back, and nobody", Down("pg2", "stopped", "", "stopped to come back", 10.0), "start"),
        ("stopped to come back", Down("pg2", "stopped", "pg1", "stopped to come back", 0.0), "rejoin"),
    ],
)
def test_duty_of_a_server_that_is_down(what: str, state: Down, action: str) -> None:
    assert decide_down(state).action == action, what


@pytest.mark.parametrize(
    ("me", "primary", "heads", "wanted"),
    [
        ("pg2", "pg1", {}, "pg1"),
        ("pg2", "pg4", {"pg1": "pg4"}, "pg4"),
        ("pg3", "pg1", {"pg2": "pg1"}, "pg2"),
        ("pg3", "pg4", {"pg2": "pg4"}, "pg2"),
        ("pg3", "pg1", {"pg2": ""}, "pg1"),
        ("pg3", "pg2", {"pg2": "pg2"}, "pg2"),
        ("pg1", "pg2", {}, "pg2"),
    ],
)
def test_whom_to_follow(me: str, primary: str, heads: dict[str, str], wanted: str) -> None:
    """Its upstream by design while that streams from the primary; electable ones hang on the primary itself."""
    assert wanted_upstream(TREE, me, primary, heads) == wanted


@pytest.mark.parametrize(
    ("what", "ages", "seconds"),
    [
        ("F06: nobody has reached it", {"pg2": 31, "pg3": 12}, 12.0),
        ("one has", {"pg2": 31, "pg3": 0}, 0.0),
        ("one never has, and says nothing", {"pg2": 31, "pg3": -1}, 31.0),
        ("nobody can tell", {}, 0.0),
    ],
)
def test_whether_the_primary_hangs(what: str, ages: dict[str, int], seconds: float) -> None:
    states = [streaming(name, upstream_seen_age=age) for name, age in ages.items()]
    dead = streaming("pg3", upstream_seen_age=60, repmgrd=False)
    assert hung(cluster(3), "pg1", survey(primary("pg1"), *states)) == seconds, what
    assert hung(cluster(3), "pg1", survey(primary("pg1"), dead)) == 0.0
    below = streaming("pg3", follows="pg2", upstream_seen_age=60)
    assert hung(cluster(3), "pg1", survey(primary("pg1"), below)) == 0.0


FOUR = cluster(4)


@pytest.mark.parametrize(
    ("what", "found", "safe"),
    [
        ("all others answer and follow", [primary("pg1"), SEALED, streaming("pg3"), streaming("pg4")], True),
        ("a newer primary", [primary("pg3", timeline=2), SEALED], True),
        ("cut in halves: the other two may have promoted", [primary("pg1"), SEALED], False),
        ("one is missing, and one was sealed too", [primary("pg1"), SEALED, standby("pg3", follows="")], False),
        ("one is missing, and one follows: two are too few", [primary("pg1"), SEALED, streaming("pg3")], True),
    ],
)
def test_whether_a_sealed_node_may_follow_the_old_primary(what: str, found: list[Any], safe: bool) -> None:
    head = next(state.name for state in found if not state.in_recovery)
    assert may_follow(FOUR, "pg2", head, survey(*found)) is safe, what


def test_the_first_primary_follows_whoever_is_primary_now() -> None:
    assert wanted_upstream(cluster(3), "pg1", "pg3", {"pg3": "pg3"}) == "pg3"
