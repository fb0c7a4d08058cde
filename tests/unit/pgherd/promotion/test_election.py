# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who may be promoted, and who of the sealed ones is furthest: the faults of failover as cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.model import Node
from pgherd.promotion.election import RECOVERY, RESTART, Candidacy, Missed, decide, furthest, rank, sees_primary
from states import cluster, primary, standby, streaming, survey, witness

THREE = cluster(3)
FIVE = cluster(5, sync_standbys=2)
FOUR, BOTH = cluster(4, sync_standbys=2), cluster(3, sync_standbys=2)
WITNESSED = cluster(3, witness=True)
ASYNC = cluster(3, durability="async")
PG2, PG3 = standby("pg2"), standby("pg3")
ELSEWHERE = (Node("pg4", 4, "postgres", "pg4", "pg1", 0), Node("pg5", 5, "postgres", "pg5", "pg1", 100, "b"))
FAR = replace(THREE, nodes=(*THREE.nodes, *ELSEWHERE))
SEEN = {"upstream": "pg1", "receiver": "streaming", "upstream_seen_age": 1}


def asked(*states: Any, me: str = "pg2", gone: str = "pg1", **more: Any) -> Candidacy:
    return Candidacy(me, gone, survey(*states), **more)


@pytest.mark.parametrize(
    ("what", "found", "question", "sealed"),
    [
        ("both standbys of three", THREE, asked(PG2, PG3), {"pg2", "pg3"}),
        ("F14: and the witness is lost", WITNESSED, asked(PG2, PG3), {"pg2", "pg3"}),
        ("ANY 2 of three: both all the same", BOTH, asked(PG2, PG3), {"pg2", "pg3"}),
        ("or one and the old primary", BOTH, asked(standby("pg1"), PG2, gone=""), {"pg1", "pg2"}),
        ("two of four where W is two", FOUR, asked(PG2, PG3), {"pg2", "pg3"}),
        ("three of five", FIVE, asked(PG2, PG3, standby("pg4")), {"pg2", "pg3", "pg4"}),
        ("the old primary is a standby now", THREE, asked(standby("pg1"), PG2, gone=""), {"pg1", "pg2"}),
        ("F17: another's repmgrd is dead", THREE, asked(PG2, standby("pg3", repmgrd=False, **SEEN)), {"pg2", "pg3"}),
        ("long since seen", THREE, asked(PG2, standby("pg3", **{**SEEN, "upstream_seen_age": 5})), {"pg2", "pg3"}),
        ("never seen", THREE, asked(PG2, standby("pg3", **{**SEEN, "upstream_seen_age": -1})), {"pg2", "pg3"}),
        ("the only one left of two", cluster(2), asked(PG2), {"pg2"}),
        ("one behind: it catches up", THREE, asked(PG2, standby("pg3", 0x6000000)), {"pg2", "pg3"}),
        ("not electable ones are not counted", FAR, asked(PG2, PG3, standby("pg4"), standby("pg5")), {"pg2", "pg3"}),
        ("asynchronous, a majority", ASYNC, asked(PG2, PG3), {"pg2", "pg3"}),
        ("a handover, fenced", THREE, asked(PG2, PG3, primary_answers="yes", handover="fenced"), {"pg2", "pg3"}),
        ("a person accepts loss", THREE, asked(PG2, accept_loss=True), {"pg2"}),
        ("and promotes elsewhere", FAR, asked(standby("pg5"), PG2, me="pg5", accept_loss=True), {"pg5", "pg2"}),
    ],
)
def test_may(what: str, found: Any, question: Candidacy, sealed: set[str]) -> None:
    verdict = decide(found, question)
    assert verdict.allowed, (what, verdict.why)
    assert set(verdict.seal) == sealed


@pytest.mark.parametrize(
    ("what", "found", "question", "why"),
    [
        ("F09: alone, the witness does not count", WITNESSED, asked(PG2, witness()), "1 listed .* 2 are needed"),
        ("F15: the others died together", THREE, asked(PG2), "1 listed .* 2 are needed"),
        ("F16: the second failure in a row", THREE, asked(PG3, me="pg3", gone="pg2"), "1 listed .* 2 are needed"),
        ("ANY 2 of three: the other could be promoted too", BOTH, asked(PG2), "1 listed .* 2 are needed"),
        ("and of four, with the old one", FOUR, asked(standby("pg1"), PG2, gone=""), "2 listed .* 3 are needed"),
        ("two of five where W is two", FIVE, asked(PG2, PG3), "2 listed .* 3 are needed"),
        (
            "F10: the primary answers",
            THREE,
            asked(PG2, PG3, primary_answers="on timeline 1"),
            "the primary pg1 answers",
        ),
        ("F10: another reached it just now", THREE, asked(PG2, standby("pg3", **SEEN)), "pg3 reached the primary"),
        ("another primary", THREE, asked(PG2, primary("pg3")), "pg3 is primary"),
        ("another primary, left behind", THREE, asked(standby("pg2", timeline=2), primary("pg3", 1)), "pg3 is primary"),
        ("two primaries", THREE, asked(PG2, primary("pg1"), primary("pg3", 2)), "is primary"),
        ("it is one itself", THREE, asked(primary("pg2"), PG3), "pg2 is a primary already"),
        ("a limit is too low", THREE, asked(PG2, PG3, short="max_connections is 300"), "pg2 cannot replay .* is 300"),
        ("also for one who accepts loss", THREE, asked(PG2, short="x", accept_loss=True), "pg2 cannot replay"),
        ("and in a switchover", THREE, asked(PG2, PG3, short="x", handover="stopped"), "pg2 cannot replay"),
        ("it does not answer itself", THREE, asked(PG3), "pg2 does not answer itself"),
        ("priority 0", FAR, asked(PG2, PG3, standby("pg4"), me="pg4"), "not electable"),
        ("another location", FAR, asked(PG2, PG3, standby("pg5"), me="pg5"), "not electable"),
        ("a witness", WITNESSED, asked(PG2, PG3, replace(witness(), in_recovery=True), me="w1"), "not electable"),
        (
            "a witness, by hand",
            WITNESSED,
            asked(replace(witness(), in_recovery=True), me="w1", accept_loss=True),
            "witness",
        ),
        ("another's data", THREE, asked(PG2, standby("pg3", system_id="1")), "1 listed .* 2 are needed"),
        ("asynchronous, a minority", ASYNC, asked(PG2), "1 of 3 nodes answer, 2 are needed"),
        ("loss accepted, and a primary answers", THREE, asked(PG2, primary("pg3"), accept_loss=True), "pg3 is primary"),
    ],
)
def test_may_not(what: str, found: Any, question: Candidacy, why: str) -> None:
    verdict = decide(found, question)
    assert not verdict.allowed, what
    import re

    assert re.search(why, verdict.why), (what, verdict.why)


BY_HAND = standby("pg3", follows="pg4")


@pytest.mark.parametrize(
    ("what", "question", "needed"),
    [
        ("nobody follows one that is not listed", asked(PG2, PG3), 2),
        ("one does, which the candidate's metadata do not know", asked(PG2, BY_HAND), 3),
        ("the candidate itself", asked(PG2, BY_HAND, me="pg3"), 3),
        ("in another location", asked(PG2, standby("pg3", follows="pg5")), 3),
        ("the metadata know it", asked(PG2, PG3, gone="pg4"), 3),
        ("nobody knows who was", asked(PG2, BY_HAND, gone=""), 3),
        ("it is back as a standby, and follows nobody", asked(PG2, BY_HAND, standby("pg4", follows="")), 3),
        ("it is a link in a cascade", asked(PG2, BY_HAND, streaming("pg4")), 2),
        ("that was before the last primary", asked(standby("pg2", timeline=2), BY_HAND), 2),
        ("a switchover: who is primary is known", asked(PG2, BY_HAND, handover="stopped"), 2),
        ("one listed follows another", asked(PG2, standby("pg3", follows="pg2")), 2),
        ("it follows a host that is no node", asked(PG2, standby("pg3", follows="old.example")), 2),
    ],
)
def test_a_primary_that_is_not_listed_is_seen_by_who_follows_it(what: str, question: Candidacy, needed: int) -> None:
    verdict = decide(FAR, question)
    assert verdict.needed == needed, (what, verdict.why)
    assert verdict.allowed is (needed == 2)
    assert ("which is not listed" in verdict.why) is (needed == 3)
    everybody = replace(question, survey=survey(*question.survey.states.values(), standby("pg1")))
    assert decide(FAR, everybody).allowed, "all three listed ones are enough for any"


@pytest.mark.parametrize(
    ("why", "limit"),
    [
        ("connection failed: Connection refused", RESTART),
        ("FATAL:  the database system is shutting down", RESTART),
        ("FATAL:  the database system is starting up", RECOVERY),
        ("FATAL:  the database system is in recovery mode", RECOVERY),
        ("FATAL:  the database system is not yet accepting connections", RECOVERY),
        ("connection timeout expired", 0.0),
        ("no route to host", 0.0),
    ],
)
def test_f01_f02_a_server_that_comes_back_is_waited_for_but_not_for_long(why: str, limit: float) -> None:
    def allowed(gone: float, **more: Any) -> bool:
        asked_now = Candidacy("pg2", "pg1", survey(PG2, PG3, pg1=why), missed=Missed(gone), **more)
        # One look may be too short for the answer; what was heard before counts too.
        before = replace(asked_now, survey=survey(PG2, PG3, pg1="timeout"), missed=Missed(gone, f"no answer; {why}"))
        verdicts = {decide(THREE, question).allowed for question in (asked_now, before)}
        assert len(verdicts) == 1
        return verdicts.pop()

    assert allowed(max(limit - 0.1, 0.0)) is (limit == 0.0)
    assert allowed(limit)
    assert allowed(0.0, accept_loss=True)
    assert allowed(0.0, handover="stopped")


def test_a_foreign_primary_is_nobody_here() -> None:
    assert decide(FIVE, asked(PG2, PG3, standby("pg4"), primary("pg5", 9, system_id="1"))).allowed


def test_missing_ones_are_named_with_their_reasons() -> None:
    question = Candidacy("pg2", "pg1", survey(PG2, pg3="no route to host"))
    assert "missing: pg3 (no route to host)" in decide(THREE, question).why


@pytest.mark.parametrize(
    ("pg2", "pg3", "best"),
    [
        ((1, 0x5000000), (1, 0x5000000), "pg2"),
        ((1, 0x5000000), (1, 0x5000001), "pg3"),
        ((2, 0x4000000), (1, 0x5000000), "pg2"),
        ((1, 0x5000000), (2, 0x4000000), "pg3"),
    ],
)
def test_the_newest_timeline_goes_before_the_highest_position(
    pg2: tuple[int, int], pg3: tuple[int, int], best: str
) -> None:
    sealed = {"pg2": standby("pg2", pg2[1], pg2[0]), "pg3": standby("pg3", pg3[1], pg3[0])}
    assert furthest(THREE, "pg2", sealed) == best


def test_a_restarted_standby_counts_by_what_it_has_replayed() -> None:
    """F18: its receive position begins anew at the start of a segment."""
    restarted = replace(standby("pg3"), receive_lsn="0/5000000", replay_lsn="0/5023D18")
    assert furthest(THREE, "pg2", {"pg2": standby("pg2", 0x5010000), "pg3": restarted}) == "pg3"
    silent = replace(restarted, receive_lsn=None)
    assert furthest(THREE, "pg2", {"pg2": standby("pg2", 0x5010000), "pg3": silent}) == "pg3"


def test_rank() -> None:
    found = replace(
        FIVE, nodes=tuple(replace(node, priority=50) if node.name == "pg3" else node for node in FIVE.nodes)
    )
    seen = survey(standby("pg2"), standby("pg3"), standby("pg4", 0x6000000), standby("pg5"), witness("w1"))
    seen = seen.without("w1")
    assert [rank(found, name, seen) for name in ("pg4", "pg2", "pg5", "pg3")] == [0, 1, 2, 3]
    assert rank(found, "pg1", seen) == 4


@pytest.mark.parametrize(
    ("age", "repmgrd", "seen"), [(0, True, True), (2, True, True), (3, True, False), (1, False, False)]
)
def test_who_sees_the_primary(age: int, repmgrd: bool, seen: bool) -> None:
    state = streaming("pg3", upstream_seen_age=age, repmgrd=repmgrd)
    assert sees_primary(THREE, survey(state), state) is seen
    below = streaming("pg3", follows="pg2", upstream_seen_age=age, repmgrd=repmgrd)
    assert not sees_primary(THREE, survey(below, PG2), below)
