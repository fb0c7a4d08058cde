# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What looking again and again shows: freshness by change, freezes, and which primary is real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import Conflict
from pgherd.failover.fence import FENCE
from pgherd.failover.memory import FRESH, HEARD, Memory, chain, enough, only_primary, primaries, real_primary
from voices import SYSTEM, cluster, primary, round_, standby, streaming, witness

THREE = cluster(3)
SEALED = standby("pg3", follows="")


def told(at: int, *names: str, name: str = "pg1", timeline: int = 1) -> Any:
    """A primary whose standbys *names* have answered at second *at* of their own clocks."""
    return primary(name, timeline, senders=dict.fromkeys(names, f"2031-01-01 00:00:{at:02}"))


def looked(*looks: tuple[float, Any]) -> Memory:
    memory = Memory(THREE, "pg1")
    for now, voice in looks:
        memory.look(now, round_(voice))
    return memory


def test_answers_that_change_are_fresh_whatever_their_clocks_say() -> None:
    """F35: they may be an hour off."""
    memory = looked((1.0, told(0, "pg2", "pg3")), (2.0, told(1, "pg2", "pg3")))
    assert memory.backed(2.0, "pg1") == ("pg2", "pg3")


def test_answers_that_do_not_change_grow_old() -> None:
    """A sender whose standby is gone stays for a while."""
    memory = looked(*((at / 2, told(0, "pg2")) for at in range(2, 12)))
    assert memory.backed(1.0 + FRESH, "pg1") == ("pg2",)
    assert memory.backed(1.0 + FRESH + 0.1, "pg1") == ()


def test_only_listed_standbys_count() -> None:
    memory = looked((1.0, told(0, "pg1", "pg2", "barman", "walreceiver")))
    assert memory.backed(1.0, "pg1") == ("pg2",)


def test_a_sender_that_has_gone_does_not_count() -> None:
    assert looked((1.0, told(0, "pg2")), (1.5, told(1))).backed(1.5, "pg1") == ()


def test_after_a_freeze_nothing_is_fresh_until_it_changes_again() -> None:
    """F05: answers from before it lay in the socket."""
    memory = looked((1.0, told(0, "pg2")), (60.0, told(1, "pg2")))
    assert memory.backed(60.0, "pg1") == ()
    assert memory.lasts("alone", 60.0, True) >= FENCE
    memory.look(60.5, round_(told(2, "pg2")))
    assert memory.backed(60.5, "pg1") == ("pg2",)


def test_a_slow_look_is_no_freeze() -> None:
    """It is not fenced for it."""
    memory = looked((1.0, told(0, "pg2")), (1.0 + FRESH + 0.2, told(1, "pg2")))
    assert memory.lasts("alone", 1.0 + FRESH + 0.2, True) < FENCE


def test_why_a_node_did_not_answer_is_remembered_for_a_while() -> None:
    memory = Memory(THREE, "pg2")
    for at, why in ((0.0, "refused"), (1.0, "in recovery mode"), (2.0, "timeout"), (2.5, "timeout")):
        memory.look(at, round_(pg1=why))
    assert memory.heard(2.5, "pg1") == "refused; in recovery mode; timeout"
    assert memory.heard(1.0 + HEARD, "pg1") == "in recovery mode; timeout"
    assert memory.heard(2.6 + HEARD, "pg1") == ""
    assert memory.heard(2.5, "pg3") == ""


def test_how_long_something_lasts() -> None:
    memory = Memory(THREE, "pg1")
    assert [memory.lasts("x", now, holds) for now, holds in ((1, True), (3, True), (4, False), (5, True))] == [
        0,
        2,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("what", "before", "meanwhile"),
    [
        ("alone", primary("pg1"), standby("pg1")),
        ("together", primary("pg1"), standby("pg1")),
        ("leaderless", standby("pg1"), primary("pg1")),
        ("sealed", standby("pg1"), primary("pg1")),
        ("lost", standby("pg1"), primary("pg1")),
        ("stuck", standby("pg1"), primary("pg1")),
    ],
)
def test_a_node_that_was_something_else_meanwhile_begins_anew(what: str, before: Any, meanwhile: Any) -> None:
    """A new primary had fenced itself at once: it had been alone when it was one before."""
    memory = looked((1.0, before))
    memory.lasts(what, 1.0, True)
    memory.look(2.0, round_(meanwhile))
    memory.look(3.0, round_(meanwhile))
    memory.look(3.5, round_(before))
    assert memory.lasts(what, 3.5, True) <= 0.5


def test_one_that_thaws_as_a_standby_is_not_alone_when_it_is_promoted() -> None:
    memory = looked((1.0, standby("pg1")), (30.0, standby("pg1")), (30.5, standby("pg1")), (31.0, primary("pg1", 2)))
    assert memory.lasts("alone", 31.0, True) <= 0.5


def test_a_server_that_answered_meanwhile_has_not_been_down_since_the_last_time() -> None:
    memory = looked((1.0, standby("pg1")))
    memory.lasts("down", 1.5, True)
    memory.look(2.0, round_(standby("pg1")))
    memory.look(3.0, round_(pg1="refused"))
    assert memory.lasts("down", 3.0, True) == 0.0


def test_a_primary_that_cannot_ask_itself_stays_alone() -> None:
    memory = looked((1.0, primary("pg1")))
    memory.lasts("alone", 1.0, True)
    memory.look(2.0, round_(pg1="timeout"))
    memory.look(3.0, round_(primary("pg1")))
    assert memory.lasts("alone", 3.0, True) >= 2.0


def real(*voices: Any, found: Any = THREE, system: str = SYSTEM) -> str:
    memory = Memory(found, "pg3")
    memory.look(1.0, round_(*voices))
    best = real_primary(found, memory, 1.0, round_(*voices), system)
    return best.name if best else ""


@pytest.mark.parametrize(
    ("what", "voices", "name"),
    [
        ("nobody", (standby("pg2"), witness()), ""),
        ("the only one", (primary("pg1"), standby("pg2")), "pg1"),
        ("the newer of two", (primary("pg1"), primary("pg2", 2)), "pg2"),
        ("the one that is followed", (told(0, "pg3"), primary("pg2", 2)), "pg1"),
        ("both are followed: the newer", (told(0, "pg3"), told(0, "pg3", name="pg2", timeline=2)), "pg2"),
        ("another cluster's", (primary("pg1", system_id="1"), standby("pg2")), ""),
        ("left behind: its successor's standby answers", (primary("pg1"), standby("pg3", timeline=2)), ""),
        (
            "left behind, and its successor answers",
            (primary("pg1"), primary("pg2", 2), streaming("pg3", timeline=2)),
            "pg2",
        ),
        ("its standbys' answers come late: they are sealed", (told(0, "pg3"), primary("pg2", 2), SEALED), "pg2"),
        ("its standby has been promoted", (told(0, "pg2"), primary("pg2", 2)), "pg2"),
        ("its standby follows another", (told(0, "pg3"), primary("pg2", 2), streaming("pg3", follows="pg2")), "pg2"),
        ("followed, and a stray is further", (told(0, "pg2"), streaming("pg2"), standby("pg3", timeline=2)), "pg1"),
        ("not left behind by another cluster", (primary("pg1"), standby("pg3", timeline=2, system_id="1")), "pg1"),
    ],
)
def test_the_real_primary(what: str, voices: tuple[Any, ...], name: str) -> None:
    found = replace(THREE, nodes=cluster(3, witness=True).nodes)
    assert real(*voices, found=found) == name, what


def test_before_this_node_knows_its_cluster_any_may_be_it() -> None:
    assert real(primary("pg1", system_id="1"), system="") == "pg1"
    assert [voice.name for voice in primaries(THREE, round_(primary("pg1")), "2")] == []


def test_the_only_primary_is_found_and_any_other_number_is_refused() -> None:
    assert only_primary(THREE, round_(primary("pg1"), standby("pg2")), "hand over") == "pg1"
    with pytest.raises(Conflict, match="pg1 and pg2"):
        only_primary(THREE, round_(primary("pg1"), primary("pg2", 2)), "hand over")
    with pytest.raises(Conflict, match="none that answers"):
        only_primary(THREE, round_(standby("pg2")), "hand over")


def test_enough() -> None:
    assert enough(THREE, ("pg2",), 1)
    assert not enough(THREE, (), 3)
    found = cluster(3, durability="async")
    assert enough(found, (), 2)
    assert not enough(found, ("pg2",), 1)


@pytest.mark.parametrize(
    ("what", "voices", "head"),
    [
        ("straight", (primary("pg1"), streaming("pg3")), "pg1"),
        ("a cascade", (primary("pg1"), streaming("pg2"), streaming("pg3", follows="pg2")), "pg1"),
        ("no stream", (primary("pg1"), standby("pg3")), ""),
        ("broken above", (primary("pg1"), standby("pg2"), streaming("pg3", follows="pg2")), ""),
        ("a circle", (streaming("pg2", follows="pg3"), streaming("pg3", follows="pg2")), ""),
        ("from a stranger", (primary("pg1"), streaming("pg3", follows="elsewhere")), ""),
        ("from one that is silent", (streaming("pg3"),), ""),
    ],
)
def test_where_a_chain_of_streams_ends(what: str, voices: tuple[Any, ...], head: str) -> None:
    assert chain(THREE, round_(*voices), "pg3") == head, what
