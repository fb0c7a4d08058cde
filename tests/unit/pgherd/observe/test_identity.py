# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which data directory counts under a node's name, and how another takes its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.data import datadir
from pgherd.duties import standby as duties
from pgherd.model import Node
from pgherd.nodes import guard
from pgherd.objects.identity import Incarnation, newcomer_name, parse_members, renamed
from pgherd.observe.identity import Admission, admissions, may_take, newcomers, row_of, stands, table, unfit
from pgherd.observe.node_state import NodeState, parse_state
from pgherd.ports.sql import parse_conninfo
from pgherd.promotion.choice import SwitchoverFacts, SwitchoverLimits, candidates, problems
from pgherd.promotion.election import Candidacy, decide, rank
from states import SYSTEM, cluster, primary, standby, streaming, survey, witness
from test_seal import row

THREE, FOUR = cluster(3), cluster(4)
WITNESSED = cluster(3, witness=True)
ASYNC = cluster(3, durability="async")
LEAF = replace(THREE, nodes=(*THREE.nodes, Node("pg4", 4, "postgres", "pg4", "pg1", 0)))
# Each node's data directory is called after it; "pg2b" is the host pg2 made anew.
TABLE = {"pg1": "pg1a", "pg2": "pg2a", "pg3": "pg3a"}
AT = 0x5000000


def known(said: NodeState, own: str = "", *replaces: str, members: Any = ...) -> NodeState:
    return replace(
        said, incarnation=own or f"{said.name}a", replaces=replaces, members=TABLE if members is ... else members
    )


PG2, PG3 = known(standby("pg2")), known(standby("pg3"))
NEW2 = known(standby("pg2"), "pg2b")


@pytest.mark.parametrize(
    ("what", "state", "members", "good"),
    [
        ("the one that is admitted", PG2, TABLE, True),
        ("another under its name", NEW2, TABLE, False),
        ("one that shows none: its settings are another's, or gone", replace(PG2, incarnation=""), TABLE, False),
        ("admitted, and has not seen that it may stand there", known(PG2, "pg2a", "old"), TABLE, False),
        ("nobody is admitted under the name: a new node", NEW2, {"pg1": "pg1a"}, True),
        ("no table: a release before", NEW2, None, True),
    ],
)
def test_stands(what: str, state: NodeState, members: Any, good: bool) -> None:
    assert stands(state, members) is good, what


SWAPPED = {**TABLE, "pg2": "pg2b"}


@pytest.mark.parametrize(
    ("what", "states", "found"),
    [
        ("nobody has a table", [standby("pg2"), standby("pg3")], None),
        ("one has none yet", [standby("pg2", AT + 9), PG3], TABLE),
        ("the one that has replayed most", [PG2, known(standby("pg3", AT + 1), members=SWAPPED)], SWAPPED),
        (
            "received is not replayed",
            [PG2, known(standby("pg3", AT + 1, replay_lsn="0/1"), members=SWAPPED)],
            TABLE,
        ),
        ("a newer timeline first", [known(standby("pg2", 1, timeline=2), members=SWAPPED), PG3], SWAPPED),
        ("the primary is furthest", [known(primary("pg1", at=AT + 1), members=SWAPPED), PG2], SWAPPED),
    ],
)
def test_table(what: str, states: list[NodeState], found: Any) -> None:
    assert table(THREE, survey(*states).states, SYSTEM) == found, what


def test_a_witness_has_no_say() -> None:
    said = replace(witness(), timeline=9, members={"pg2": "pg2b"})
    assert table(WITNESSED, survey(said, PG2).states, SYSTEM) == TABLE


def test_another_cluster_has_no_say() -> None:
    """A host that was away when the cluster was made anew comes back: its table, on a higher timeline, has the same names."""
    alien = replace(
        known(standby("pg3", timeline=9), members={"pg1": "x", "pg2": "y", "pg3": "pg3a"}), system_id="other"
    )
    assert newcomers(THREE, survey(PG2, alien).states) == frozenset()
    assert newcomers(THREE, survey(NEW2, alien).states) == {"pg2"}


@pytest.mark.parametrize(
    ("what", "which", "states", "confirmed", "who"),
    [
        ("both are what they were", THREE, [PG2, PG3], {}, set()),
        ("the host of one was made anew", THREE, [NEW2, PG3], {}, {"pg2"}),
        (
            "and the other has seen it admitted",
            THREE,
            [NEW2, known(standby("pg3", AT + 1), members=SWAPPED)],
            {},
            set(),
        ),
        ("it is not listed", LEAF, [known(standby("pg4"), "x", members={**TABLE, "pg4": "y"}), PG3], {}, set()),
        ("a majority counts under async", ASYNC, [NEW2, PG3], {"pg3": (1, AT + 1)}, set()),
        ("rolled back: it ends before what it confirmed", THREE, [PG2, PG3], {"pg2": (1, AT + 1)}, {"pg2"}),
        ("it has what it confirmed", THREE, [PG2, PG3], {"pg2": (1, AT)}, set()),
        ("it was rewound: the newer timeline is shorter", THREE, [PG3], {"pg3": (1, AT + 9)}, {"pg3"}),
        ("and on that one", THREE, [known(standby("pg3", timeline=2))], {"pg3": (1, AT + 9)}, set()),
        ("rolled back past a promotion", THREE, [PG3], {"pg3": (2, 1)}, {"pg3"}),
        ("it still reads its own WAL", THREE, [replace(PG2, settled=False)], {"pg2": (1, AT + 1)}, set()),
    ],
)
def test_unfit(what: str, which: Any, states: list[NodeState], confirmed: Any, who: set[str]) -> None:
    assert set(unfit(which, survey(*states).states, confirmed)) == who, what


def asked(*states: NodeState, me: str = "pg3", gone: str = "pg1", **more: Any) -> Candidacy:
    return Candidacy(me, gone, survey(*states), **more)


@pytest.mark.parametrize(
    ("what", "which", "question", "allowed", "why"),
    [
        ("both count", THREE, asked(PG2, PG3), True, "2 listed"),
        (
            "I1: pg2's old directory may have confirmed what only the primary has besides",
            THREE,
            asked(NEW2, PG3),
            False,
            r"1 listed standbys answer \(pg3\), 2 are needed; pg2 is not the data",
        ),
        ("nor may it be promoted itself", THREE, asked(NEW2, PG3, me="pg2"), False, "pg2 is not the data"),
        ("enough without it", cluster(4, sync_standbys=2), asked(NEW2, PG3, known(standby("pg4"))), True, "2 listed"),
        ("a switchover counts alike", THREE, asked(NEW2, PG3, handover="stopped"), False, "2 are needed"),
        ("a person accepts loss", THREE, asked(NEW2, PG3, me="pg2", accept_loss=True), True, "loss accepted"),
        ("rolled back", THREE, asked(PG2, PG3, confirmed={"pg2": (1, AT + 1)}), False, "pg2 has lost WAL"),
        ("no table anywhere", THREE, asked(standby("pg2"), standby("pg3")), True, "2 listed"),
    ],
)
def test_promotion(what: str, which: Any, question: Candidacy, allowed: bool, why: str) -> None:
    import re

    verdict = decide(which, question)
    assert (verdict.allowed, bool(re.search(why, verdict.why))) == (allowed, True), (what, verdict.why)


def test_who_does_not_count_is_sealed_all_the_same() -> None:
    """It must not go on confirming, and may hold WAL that the others lack."""
    verdict = decide(cluster(4, sync_standbys=2), asked(NEW2, PG3, known(standby("pg4"))))
    assert (set(verdict.seal), verdict.unfit) == ({"pg2", "pg3", "pg4"}, ("pg2",))


def test_the_guard_takes_no_word_from_it() -> None:
    local = datadir.Local(False, SYSTEM, 1)
    good = survey(known(streaming("pg2")), pg3="no answer")
    assert not guard.decide(THREE, "pg1", local, good).as_standby
    anew = survey(known(streaming("pg2"), "pg2b"), pg3="no answer")
    found = guard.decide(THREE, "pg1", local, anew)
    assert (found.as_standby, "pg2, pg3" in found.why) == (True, True), found


def test_a_switchover_neither_goes_to_it_nor_counts_it() -> None:
    found = SwitchoverFacts(
        survey(known(primary("pg1")), known(streaming("pg2"), "pg2b"), known(streaming("pg3"))), "pg1"
    )
    assert candidates(THREE, found.survey, "pg1") == ["pg3"]
    assert any("not the data" in said for said in problems(THREE, "pg2", found, SwitchoverLimits()))
    good = SwitchoverFacts(survey(known(primary("pg1")), known(streaming("pg2")), known(streaming("pg3"))), "pg1")
    assert problems(THREE, "pg2", good, SwitchoverLimits()) == []


def test_it_has_no_rank_and_is_suspected() -> None:
    states = survey(known(primary("pg1")), NEW2, PG3)
    assert rank(THREE, "pg3", states) == 0
    sealed = known(standby("pg3", follows=""))
    assert duties.may_follow(THREE, "pg3", "pg1", survey(known(primary("pg1")), known(streaming("pg2")), sealed))
    anew = known(streaming("pg2"), "pg2b")
    assert not duties.may_follow(THREE, "pg3", "pg1", survey(known(primary("pg1")), anew, sealed))


HEAD = known(primary("pg1"))
OURS = known(streaming("pg2"), "pg2b", "pg2a")


@pytest.mark.parametrize(
    ("what", "which", "states", "marks", "admitted"),
    [
        ("no table: nothing to do", THREE, [primary("pg1"), streaming("pg2", incarnation="x")], {}, []),
        ("all are admitted", THREE, [HEAD, known(streaming("pg2"))], {}, []),
        (
            "an update of the release: all who stream, and itself",
            THREE,
            [known(HEAD, members={}), known(streaming("pg2"), members={}), known(standby("pg3"), members={})],
            {},
            [("pg1", "pg1a", ""), ("pg2", "pg2a", "")],
        ),
        ("I1: nobody knows that the old one is gone", THREE, [HEAD, known(streaming("pg2"), "pg2b")], {}, []),
        ("its agent shows none yet", THREE, [HEAD, replace(known(streaming("pg2")), incarnation="")], {}, []),
        ("emptied by us: first it is only seen", THREE, [HEAD, OURS], {}, []),
        ("and where the primary is", THREE, [HEAD, OURS], {"pg2": ("pg2b", None)}, []),
        ("it has not come there", THREE, [HEAD, OURS], {"pg2": ("pg2b", AT + 1)}, []),
        ("it has", THREE, [HEAD, OURS], {"pg2": ("pg2b", AT)}, [("pg2", "pg2b", "pg2a")]),
        ("another one than was seen", THREE, [HEAD, OURS], {"pg2": ("pg2c", AT)}, []),
        ("it does not stream", THREE, [HEAD, known(standby("pg2"), "pg2b", "pg2a")], {"pg2": ("pg2b", AT)}, []),
        ("it replaces another", THREE, [HEAD, known(streaming("pg2"), "pg2c", "pg2b")], {"pg2": ("pg2c", AT)}, []),
        ("two in a row", THREE, [HEAD, known(streaming("pg2"), "pg2c", "pg2b", "pg2a")], {"pg2": ("pg2c", 1)}, ["pg2"]),
        ("another timeline", THREE, [HEAD, replace(OURS, timeline=2)], {"pg2": ("pg2b", AT)}, []),
        ("another cluster", THREE, [HEAD, replace(OURS, system_id="8")], {"pg2": ("pg2b", AT)}, []),
        (
            "a copy shows what another is",
            THREE,
            [HEAD, known(streaming("pg2"), "pg1a", "pg2a")],
            {"pg2": ("pg1a", 1)},
            [],
        ),
        ("of a node that does not answer", THREE, [HEAD, known(streaming("pg2"), "pg3a", "pg2a")], {}, []),
        ("nobody counts a leaf", LEAF, [HEAD, known(streaming("pg4"), "b", members=None)], {}, [("pg4", "b", "")]),
        (
            "nor a copy of one",
            LEAF,
            [known(HEAD, members={**TABLE, "pg4": "a"}), known(streaming("pg4"), "b")],
            {},
            ["pg4"],
        ),
        ("the primary is compared with nobody", THREE, [known(HEAD, "pg1b"), PG2], {}, [("pg1", "pg1b", "pg1a")]),
        ("new, and has not dropped whom it replaces", THREE, [known(HEAD, members={"pg1": "pg1a"}), OURS], {}, []),
    ],
)
def test_admissions(what: str, which: Any, states: list[NodeState], marks: Any, admitted: list[Any]) -> None:
    found, _marks = admissions(which, "pg1", survey(*states), marks)
    assert [item.node if isinstance(one, str) else item for item, one in zip(found, admitted)] == [
        one if isinstance(one, str) else Admission(*one) for one in admitted
    ], what
    assert len(found) == len(admitted), what


def test_the_position_is_taken_after_the_old_one_was_seen_gone() -> None:
    """The first look may have asked the primary before it asked the standby."""
    _none, seen = admissions(THREE, "pg1", survey(HEAD, OURS), {})
    assert seen == {"pg2": ("pg2b", None)}
    later = replace(HEAD, write_lsn=f"0/{AT + 64:X}")
    _none, reach = admissions(THREE, "pg1", survey(later, OURS), seen)
    assert reach == {"pg2": ("pg2b", AT + 64)}
    further = replace(HEAD, write_lsn=f"0/{AT + 128:X}")
    found, _marks = admissions(THREE, "pg1", survey(further, replace(OURS, receive_lsn=f"0/{AT + 64:X}")), reach)
    assert [item.node for item in found] == ["pg2"]


LET_IN = known(streaming("pg2"), "pg2b", "pg2a", members=SWAPPED)
HOLDS = {"pg3": f"0/{AT:X}"}


def head(**flushed: str) -> NodeState:
    return replace(known(primary("pg1"), members=SWAPPED), flushed=flushed)


@pytest.mark.parametrize(
    ("what", "which", "states", "stood", "good"),
    [
        ("another holds the row", THREE, [head(**HOLDS), LET_IN, PG3], (0, ""), True),
        ("another may not", THREE, [head(pg3="0/1"), LET_IN, PG3], (0, ""), False),
        ("nobody else: the others may have sealed the old one", THREE, [head(), LET_IN], (0, ""), False),
        ("its own word is none", THREE, [head(pg2=f"0/{AT:X}"), LET_IN], (0, ""), False),
        ("a newcomer's is none", THREE, [head(**HOLDS), LET_IN, known(streaming("pg3"), "pg3b")], (0, ""), False),
        ("one that left another's name is none", THREE, [head(**{"(new) pg3": f"0/{AT:X}"}), LET_IN], (0, ""), False),
        ("the old one stood where it would", THREE, [head(), LET_IN], (1, "pg1"), True),
        ("on an older timeline", THREE, [replace(head(), timeline=2), replace(LET_IN, timeline=2)], (1, "pg1"), False),
        ("below another", THREE, [head(), LET_IN], (1, "pg3"), False),
        ("it does not see it yet", THREE, [head(**HOLDS), OURS, PG3], (1, "pg1"), False),
        ("the primary is a standby", THREE, [known(standby("pg1")), LET_IN], (1, "pg1"), False),
        ("no primary", THREE, [LET_IN], (1, "pg1"), False),
        (
            "all have to confirm: R is two, so one is enough",
            cluster(3, sync_standbys=2),
            [head(**HOLDS), LET_IN, PG3],
            (0, ""),
            True,
        ),
        ("R is two of three", cluster(4, sync_standbys=2), [head(**HOLDS), LET_IN, PG3], (0, ""), False),
        ("R is three of three", cluster(4), [head(**HOLDS), LET_IN, PG3], (0, ""), True),
    ],
)
def test_may_take(what: str, which: Any, states: list[NodeState], stood: tuple[int, str], good: bool) -> None:
    found = survey(*states)
    assert may_take(which, "pg2", found, "pg1", stood, row_of(found.states["pg2"], None)) is good, what


def test_the_row_is_where_it_was_seen_first() -> None:
    """Under load the others are always a little behind what this node has replayed meanwhile."""
    row = row_of(LET_IN, None)
    assert row == (LET_IN.timeline, AT)
    later = replace(LET_IN, replay_lsn=f"0/{AT + 4096:X}")
    assert row_of(later, row) == row
    assert may_take(THREE, "pg2", survey(head(**HOLDS), later, PG3), "pg1", (0, ""), row)
    # Another timeline may have lost it, and written it again further on.
    assert row_of(replace(later, timeline=2), row) == (2, AT + 4096)
    assert not may_take(THREE, "pg2", survey(head(**HOLDS), later, PG3), "pg1", (0, ""), (2, AT))
    assert row_of(replace(later, members=TABLE), row) is None


def test_what_a_node_says() -> None:
    """As PostgreSQL 15 gave it."""
    found = parse_state(
        "pg2",
        row(
            shown="x replaces y z",
            members='<table xmlns:xsi="http://www.w3.org/2001">\n\n<row>\n  <m>{"pg1": "a&amp;b"}</m>\n</row>\n',
            called="(new) pg2",
            flushed='{"pg3": "0/5000000"}',
        ),
    )
    assert (found.incarnation, found.replaces, found.members) == ("x", ("y", "z"), {"pg1": "a&b"})
    assert (found.called, found.flushed) == ("(new) pg2", {"pg3": "0/5000000"})
    silent = parse_state("pg2", row())
    assert (silent.incarnation, silent.replaces, silent.members, silent.flushed) == ("", (), None, {})


def test_an_incarnation_is_a_text_and_back() -> None:
    for one in (Incarnation(), Incarnation("a"), Incarnation("a", ("b", "c"))):
        assert Incarnation.parse(str(one)) == one
    assert parse_members("") is None


def test_no_list_has_a_newcomer() -> None:
    text = renamed("host=pg1 application_name=pg2 user=repmgr", "pg2", True)
    assert parse_conninfo(text) == {"host": "pg1", "application_name": "(new) pg2", "user": "repmgr"}
    assert newcomer_name("pg2") not in THREE.synchronous_standby_names
    # PostgreSQL cuts it off after 63 bytes.
    longest = "n" * 63
    assert newcomer_name(longest)[:63] != longest


def test_newcomers_are_listed_standbys() -> None:
    assert newcomers(THREE, survey(HEAD, NEW2, PG3).states) == {"pg2"}
    assert newcomers(THREE, survey(known(primary("pg2"), "pg2b"), PG3).states) == frozenset()
