# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What looking again and again shows: freshness by change, freezes, and which primary is real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.duties.fence import FENCE, FENCE_ASYNC
from pgherd.errors import Conflict
from pgherd.model import Cluster
from pgherd.observe.primary import chain, enough, only_primary, seen_primary
from pgherd.observe.tracker import FRESH, HEARD, Tracker, primaries
from states import SYSTEM, cluster, primary, standby, streaming, survey, witness

THREE = cluster(3)
ASYNC = cluster(3, durability="async")
SEALED = standby("pg3", follows="")


def told(at: int, *names: str, name: str = "pg1", timeline: int = 1) -> Any:
    """A primary whose standbys *names* have answered at second *at* of their own clocks."""
    return primary(name, timeline, senders=dict.fromkeys(names, f"2031-01-01 00:00:{at:02}"))


def looked(*looks: tuple[float, Any], state: Cluster = THREE) -> Tracker:
    tracker = Tracker(state, "pg1")
    for now, state in looks:
        tracker.look(now, survey(state))
    return tracker


def test_answers_that_change_are_fresh_whatever_their_clocks_say() -> None:
    """F35: they may be an hour off."""
    tracker = looked((1.0, told(0, "pg2", "pg3")), (2.0, told(1, "pg2", "pg3")))
    assert tracker.backed(2.0, "pg1") == ("pg2", "pg3")


def test_answers_that_do_not_change_grow_old() -> None:
    """A sender whose standby is gone stays for a while."""
    tracker = looked(*((at / 2, told(0, "pg2")) for at in range(2, 12)))
    assert tracker.backed(1.0 + FRESH, "pg1") == ("pg2",)
    assert tracker.backed(1.0 + FRESH + 0.1, "pg1") == ()


def test_only_listed_standbys_count() -> None:
    tracker = looked((1.0, told(0, "pg1", "pg2", "barman", "walreceiver")))
    assert tracker.backed(1.0, "pg1") == ("pg2",)


def test_a_sender_that_has_gone_does_not_count() -> None:
    assert looked((1.0, told(0, "pg2")), (1.5, told(1))).backed(1.5, "pg1") == ()


def test_after_a_freeze_nothing_is_fresh_until_it_changes_again() -> None:
    """F05: answers from before it lay in the socket."""
    tracker = looked((1.0, told(0, "pg2")), (60.0, told(1, "pg2")))
    assert tracker.backed(60.0, "pg1") == ()
    tracker.look(60.5, survey(told(2, "pg2")))
    assert tracker.backed(60.5, "pg1") == ("pg2",)


@pytest.mark.parametrize(
    ("what", "state", "looks", "least", "most"),
    [
        ("asynchronous: it has acknowledged what nobody has", ASYNC, (1.0, 60.0), FENCE_ASYNC, 60.0),
        ("it may have been well while it stood still", THREE, (1.0, 60.0), 0.0, 0.0),
        ("it is alone since it thawed", THREE, (1.0, 60.0, 60.5, 63.0), 3.0, 3.0),
        ("late at every look", THREE, (1.0, 8.0, 16.0), FENCE, 15.0),
    ],
)
def test_how_long_one_that_was_late_itself_is_alone(
    what: str, state: Cluster, looks: tuple[float, ...], least: float, most: float
) -> None:
    """K10: all hosts had been frozen together, and a healthy primary ended its sessions. A second time is no excuse."""
    tracker = Tracker(state, "pg1")
    for now in looks:
        tracker.look(now, survey(told(0, "pg2")))
        alone = tracker.lasts("alone", now, now > looks[0])
    assert least <= alone <= most, what


def test_one_that_was_well_meanwhile_may_be_late_again() -> None:
    tracker = Tracker(THREE, "pg1")
    for now, alone in ((1.0, False), (60.0, True), (61.0, False), (120.0, True)):
        tracker.look(now, survey(told(0, "pg2")))
        found = tracker.lasts("alone", now, alone)
    assert found == 0.0


def taken_over(before: Tracker, state: Cluster) -> Tracker:
    tracker = Tracker(state, "pg1")
    tracker.take_over(before)
    return tracker


def test_another_description_makes_no_answer_fresh_and_ends_no_time_alone() -> None:
    """A primary that is cut off while its description changes is fenced as soon as without that."""
    gone = told(0, "pg2", "pg3")
    before = looked((1.0, gone), (1.5, gone), (4.0, gone))
    assert before.lasts("alone", 4.0, not before.backed(4.0, "pg1")) == 2.5
    after = taken_over(before, replace(THREE, sync_standbys=2))
    after.look(4.5, survey(gone))
    assert after.backed(4.5, "pg1") == ()
    assert after.lasts("alone", 4.5, True) == 3.0
    assert after.lasts("together", 4.5, True) == 0.0


def test_a_freeze_in_which_the_description_changes_is_a_freeze() -> None:
    after = taken_over(looked((1.0, told(0, "pg2"))), THREE)
    after.look(31.0, survey(told(1, "pg2")))
    assert after.backed(31.0, "pg1") == ()


def test_of_what_was_confirmed_and_who_was_the_primary_members_are_kept() -> None:
    before = Tracker(THREE, "pg1")
    before.look(0.0, survey(primary("pg1")))
    before.confirmed = {"pg2": (1, 7), "pg3": (1, 8)}
    before.primary = "pg3"
    left = replace(THREE, nodes=tuple(node for node in THREE.nodes if node.name != "pg3"))
    after = taken_over(before, left)
    assert (after.confirmed, after.primary) == ({"pg2": (1, 7)}, "")
    assert taken_over(before, THREE).primary == "pg3"
    # The same cluster's first look forgets nothing, another's does.
    after.look(2.0, survey(primary("pg1")))
    assert after.confirmed == {"pg2": (1, 7)}
    after.look(3.0, survey(replace(primary("pg1"), system_id="9")))
    assert after.confirmed == {}


def test_a_slow_look_is_no_freeze() -> None:
    """It is not fenced for it."""
    tracker = looked((1.0, told(0, "pg2")), (1.0 + FRESH + 0.2, told(1, "pg2")))
    assert tracker.lasts("alone", 1.0 + FRESH + 0.2, True) < FENCE


def test_why_a_node_did_not_answer_is_remembered_for_a_while() -> None:
    tracker = Tracker(THREE, "pg2")
    for at, why in ((0.0, "refused"), (1.0, "in recovery mode"), (2.0, "timeout"), (2.5, "timeout")):
        tracker.look(at, survey(pg1=why))
    assert tracker.heard(2.5, "pg1") == "refused; in recovery mode; timeout"
    assert tracker.heard(1.0 + HEARD, "pg1") == "in recovery mode; timeout"
    assert tracker.heard(2.6 + HEARD, "pg1") == ""
    assert tracker.heard(2.5, "pg3") == ""


def test_how_long_something_lasts() -> None:
    tracker = Tracker(THREE, "pg1")
    assert [tracker.lasts("x", now, holds) for now, holds in ((1, True), (3, True), (4, False), (5, True))] == [
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
        ("off_primary", standby("pg1"), primary("pg1")),
        ("no_stream", standby("pg1"), primary("pg1")),
        ("off_design", standby("pg1"), primary("pg1")),
    ],
)
def test_a_node_that_was_something_else_meanwhile_begins_anew(what: str, before: Any, meanwhile: Any) -> None:
    """A new primary had fenced itself at once: it had been alone when it was one before."""
    tracker = looked((1.0, before))
    tracker.lasts(what, 1.0, True)
    tracker.look(2.0, survey(meanwhile))
    tracker.look(3.0, survey(meanwhile))
    tracker.look(3.5, survey(before))
    assert tracker.lasts(what, 3.5, True) <= 0.5


def test_one_that_thaws_as_a_standby_is_not_alone_when_it_is_promoted() -> None:
    tracker = looked((1.0, standby("pg1")), (30.0, standby("pg1")), (30.5, standby("pg1")), (31.0, primary("pg1", 2)))
    assert tracker.lasts("alone", 31.0, True) <= 0.5


def test_a_server_that_answered_meanwhile_has_not_been_down_since_the_last_time() -> None:
    tracker = looked((1.0, standby("pg1")))
    tracker.lasts("down", 1.5, True)
    tracker.look(2.0, survey(standby("pg1")))
    tracker.look(3.0, survey(pg1="refused"))
    assert tracker.lasts("down", 3.0, True) == 0.0


def test_a_primary_that_cannot_ask_itself_stays_alone() -> None:
    tracker = looked((1.0, primary("pg1")))
    tracker.lasts("alone", 1.0, True)
    tracker.look(2.0, survey(pg1="timeout"))
    tracker.look(3.0, survey(primary("pg1")))
    assert tracker.lasts("alone", 3.0, True) >= 2.0


def real(*states: Any, found: Any = THREE, system: str = SYSTEM) -> str:
    tracker = Tracker(found, "pg3")
    tracker.look(1.0, survey(*states))
    return seen_primary(found, tracker, 1.0, survey(*states), system).name


@pytest.mark.parametrize(
    ("what", "states", "name"),
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
def test_the_real_primary(what: str, states: tuple[Any, ...], name: str) -> None:
    found = replace(THREE, nodes=cluster(3, witness=True).nodes)
    assert real(*states, found=found) == name, what


def test_before_this_node_knows_its_cluster_any_may_be_it() -> None:
    assert real(primary("pg1", system_id="1"), system="") == "pg1"
    assert [state.name for state in primaries(THREE, survey(primary("pg1")), "2")] == []


def test_the_only_primary_is_found_and_any_other_number_is_refused() -> None:
    assert only_primary(THREE, survey(primary("pg1"), standby("pg2")), "hand over") == "pg1"
    with pytest.raises(Conflict, match="pg1 and pg2"):
        only_primary(THREE, survey(primary("pg1"), primary("pg2", 2)), "hand over")
    with pytest.raises(Conflict, match="none that answers"):
        only_primary(THREE, survey(standby("pg2")), "hand over")


def test_enough() -> None:
    assert enough(THREE, ("pg2",), 1)
    assert not enough(THREE, (), 3)
    found = cluster(3, durability="async")
    assert enough(found, (), 2)
    assert not enough(found, ("pg2",), 1)


@pytest.mark.parametrize(
    ("what", "states", "head"),
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
def test_where_a_chain_of_streams_ends(what: str, states: tuple[Any, ...], head: str) -> None:
    assert chain(THREE, survey(*states), "pg3") == head, what


AT = 0x5000010


def confirming(name: str = "pg1", timeline: int = 1, at: int = AT, **more: Any) -> Any:
    """A primary to which pg2 and pg3 have confirmed up to *at*."""
    return primary(name, timeline, flushed=dict.fromkeys(("pg2", "pg3"), f"0/{at:X}"), **more)


def test_what_was_confirmed_is_remembered() -> None:
    tracker = Tracker(THREE, "pg2")
    tracker.look(1.0, survey(confirming(), streaming("pg2"), streaming("pg3")))
    assert tracker.confirmed == {"pg2": (1, AT), "pg3": (1, AT)}
    tracker.look(2.0, survey(confirming(at=AT - 8), streaming("pg2"), streaming("pg3")))
    assert tracker.confirmed == {"pg2": (1, AT), "pg3": (1, AT)}
    # What ends with a page may end in the middle of a record.
    tracker.look(3.0, survey(confirming(at=0x6000000), streaming("pg2"), streaming("pg3")))
    assert tracker.confirmed["pg2"] == (1, AT)


def test_a_position_on_an_older_timeline_is_none_on_the_newer() -> None:
    """pg3 still reads timeline 1 from a primary that is on 2 already. Noted as 2, it would seem to have lost WAL."""
    tracker = Tracker(THREE, "pg2")
    tracker.look(1.0, survey(confirming("pg1", 2), streaming("pg2", timeline=2), streaming("pg3")))
    assert tracker.confirmed == {"pg2": (2, AT)}
    # Who does not answer says nothing of where it is.
    tracker.look(2.0, survey(confirming("pg1", 3), streaming("pg2", timeline=2)))
    assert tracker.confirmed == {"pg2": (2, AT)}


def test_what_was_confirmed_is_of_one_cluster() -> None:
    """Its hosts hold another one now, whose WAL begins anew."""
    tracker = Tracker(THREE, "pg2")
    tracker.look(1.0, survey(confirming(), streaming("pg2"), streaming("pg3")))
    alien = {"system_id": "other"}
    tracker.look(2.0, survey(confirming(at=AT + 8, **alien), streaming("pg2"), streaming("pg3", **alien)))
    assert tracker.confirmed == {"pg2": (1, AT), "pg3": (1, AT)}
    tracker.look(3.0, survey(confirming(at=64, **alien), streaming("pg2", **alien), streaming("pg3")))
    assert tracker.confirmed == {"pg2": (1, 64)}
