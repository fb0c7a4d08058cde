# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which standbys are read from while there is no primary, or a new one: as looks show it one after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.agent.health import replica
from pgherd.agent.reads import JOINING, against
from pgherd.agent.seen import AgentView, NodeSeen
from pgherd.agent.standing import STILL, Standing, head_of
from pgherd.observe.node_state import NodeState, Survey
from pgherd.observe.topology import Lag
from test_health import CLOCK, CLUSTER, NOW, PRIMARY, VOICES, standby

INF = float("inf")
SEALED = standby("pg2", has_upstream=False, receiver="")
BROKEN = standby("pg2", receiver="")
PG3 = replace(PRIMARY, name="pg3", timeline=4)
# It followed one until there was none, half a minute ago; it has just seen another; it has seen one for long.
KEPT = Standing(NOW, "", NOW - 30, 0.0)
JOINS = Standing(NOW, "pg3", NOW - 2, 2.0)
LONG = Standing(NOW, "pg1", NOW - 99, 0.5)


def look(standing: Standing, primary: str = "", mine: NodeState | None = BROKEN, job: str = "", words: str = "",
         without: tuple[str, ...] = ("pg1",), **others: NodeState) -> NodeSeen:  # fmt: skip
    """What the agent of pg2 sees, whose server says *mine*."""
    states = {**VOICES, "pg2": mine, **others}
    heard = {name: state for name, state in states.items() if state and name not in without}
    return NodeSeen(NOW, "pg2", Survey(heard), primary, job=job, words=words, standing=standing)


ALONE = ("pg1", "pg3", "pg4", "w1")
CASES = [
    # what was seen, and why it is not to be read from: '' where it is
    # while there is no primary
    (look(KEPT), ""),
    (look(KEPT, mine=standby("pg2")), ""),
    (look(KEPT, mine=SEALED), ""),
    (look(KEPT, mine=replace(SEALED, locked=1)), ""),
    (look(KEPT, without=ALONE), ""),
    (look(replace(KEPT, astray=JOINING - 0.1)), ""),
    (look(replace(KEPT, astray=JOINING)), "did not stream from the primary before"),
    (look(Standing(NOW, "", NOW - 30)), "did not stream from the primary before"),
    (look(Standing()), "did not stream from the primary before"),
    (look(KEPT, mine=None), "no standby that answers"),
    (look(KEPT, mine=replace(PRIMARY, name="pg2")), "no standby that answers"),
    (look(KEPT, job="rejoin"), "being brought back"),
    (look(KEPT, job="demote"), "being brought back"),
    (look(KEPT, job="elect"), ""),
    (look(KEPT, job="follow"), ""),
    (look(KEPT, words="a copy needs 9 GB"), "a copy needs 9 GB"),
    # what others are shows that it is left behind; a witness's data are its own
    (look(KEPT, pg3=replace(standby("pg3"), timeline=4)), "on timeline 3, and pg3 on 4"),
    (look(KEPT, pg3=replace(standby("pg3"), timeline=2)), ""),
    (look(KEPT, w1=replace(VOICES["w1"], timeline=9)), ""),
    (look(KEPT, pg3=PG3), "on timeline 3, and pg3 on 4"),
    (look(KEPT, without=()), "pg1 takes writes on its timeline"),
    (look(KEPT, without=(), pg1=replace(PRIMARY, timeline=2)), ""),
    (look(KEPT, pg3=replace(standby("pg3"), system_id="8"), pg4=replace(standby("pg4"), system_id="8")), "another cluster"),
    (look(KEPT, pg3=replace(standby("pg3"), system_id="8")), ""),
    (look(KEPT, without=("pg1", "pg4"), pg3=replace(standby("pg3"), system_id="8")), "another cluster"),
    # a primary that is new to it
    (look(JOINS, "pg3", pg3=PG3), ""),
    (look(JOINS, "pg3", mine=SEALED, pg3=PG3), ""),
    (look(replace(JOINS, since=NOW - JOINING), "pg3", pg3=PG3), "had time to follow"),
    (look(replace(JOINS, astray=JOINING), "pg3", pg3=PG3), "did not stream from the primary before"),
    (look(replace(JOINS, astray=INF), "pg3", pg3=PG3), "did not stream from the primary before"),
    (look(JOINS, "pg3", pg3=replace(PG3, timeline=2)), "on timeline 3 already"),
    (look(JOINS, "pg3", pg3=PG3, job="rejoin"), "being brought back"),
    # one that it knows, and does not stream from any more: out at once, but for who is sealed by somebody
    (look(LONG, "pg1", without=()), "had time to follow"),
    (look(LONG, "pg1", mine=SEALED, without=()), ""),
    (look(replace(LONG, astray=JOINING), "pg1", mine=SEALED, without=()), "did not stream from the primary before"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "why"), CASES)
def test_who_is_read_from_without_a_stream(seen: NodeSeen, why: str) -> None:
    found = against(CLUSTER, seen)
    assert (why in found) if why else not found, found
    health = replica(CLUSTER, AgentView("pg2", "postgres", NOW, CLOCK, seen), Lag())
    if head_of(CLUSTER, seen.survey, "pg2") != seen.primary or not seen.primary:
        assert health.ok is not bool(found)
        assert not health.more.get("streams")


def test_what_is_not_known_of_the_lag_is_too_much_while_there_is_no_primary() -> None:
    view = AgentView("pg2", "postgres", NOW, CLOCK, look(KEPT))
    found = [replica(CLUSTER, view, most) for most in (Lag(), Lag(1 << 40), Lag(None, 3600.0))]
    assert [(one.ok, one.known) for one in found] == [(True, True), (False, False), (False, False)]


def test_who_was_told_to_follow_nobody_has_no_stream_though_its_receiver_has_not_ended_yet() -> None:
    assert head_of(CLUSTER, Survey({**VOICES, "pg2": standby("pg2", has_upstream=False)}), "pg2") == ""
    assert head_of(CLUSTER, Survey(VOICES), "pg4") == "pg1"


STANDBY, DOWN = standby("pg2"), None
HISTORIES = [
    # looks, a second each: the primary, the head of its streams, its server; for how long it is astray then, and sees that one
    ([("pg1", "pg1", STANDBY)], 0.0, 0.0),
    ([("pg1", "pg1", STANDBY), *[("", "", STANDBY)] * 60], 0.0, 59.0),
    ([("pg1", "pg1", STANDBY), *[("pg1", "", STANDBY)] * 3], 3.0, 3.0),
    # What it missed while it was down counts, and what it cannot know does not.
    ([("pg1", "pg1", STANDBY), *[("pg1", "", DOWN)] * 9, *[("", "", STANDBY)] * 5], 9.0, 4.0),
    ([("pg1", "pg1", STANDBY), *[("", "", DOWN)] * 9, ("pg1", "", STANDBY)], 1.0, 0.0),
    # One that comes and goes does not make it new each time.
    ([("pg1", "pg1", STANDBY), *[("pg1", "", STANDBY), ("", "", STANDBY)] * 12], 12.0, 0.0),
    ([("pg1", "pg1", STANDBY), ("", "", STANDBY), ("pg3", "", STANDBY), ("pg3", "pg3", STANDBY)], 0.0, 1.0),
    ([("pg1", "pg1", STANDBY), ("pg3", "pg1", STANDBY)], 1.0, 0.0),
    # Who has not followed one since its agent began, or was the primary itself.
    ([("", "", STANDBY)] * 60, INF, 60.0),
    ([("pg1", "", STANDBY)], INF, 0.0),
    ([("pg2", "", PRIMARY), ("", "", STANDBY)], INF, 0.0),
    ([("pg1", "pg1", STANDBY), ("", "", PRIMARY), ("", "", STANDBY)], INF, 1.0),
    ([("pg2", "", PRIMARY), ("pg1", "", STANDBY), ("pg1", "pg1", STANDBY)], 0.0, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("looks", "astray", "seen_for"), HISTORIES)
def test_what_looks_show(looks: list[tuple[str, str, NodeState | None]], astray: float, seen_for: float) -> None:
    found = Standing()
    for at, (primary, head, mine) in enumerate(looks, 1):
        found = found.look(float(at), primary, head, mine)
    assert (found.astray, found.seen_for) == (astray, seen_for)


@pytest.mark.parametrize(("passed", "astray"), [(1.0, 0.0), (STILL, 0.0), (STILL + 1, STILL + 1), (3600.0, 3600.0)])
def test_what_it_missed_while_it_stood_still_may_have_been_a_primary(passed: float, astray: float) -> None:
    begun = Standing().look(1.0, "pg1", "pg1", STANDBY)
    assert begun.look(1.0 + passed, "", "", STANDBY).astray == astray
    assert begun.look(1.0 + passed, "pg1", "pg1", STANDBY).astray == 0.0
