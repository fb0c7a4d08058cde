# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The start guard: what a data directory may start as, given what the others say."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.data import incarnation
from pgherd.data.datadir import Local
from pgherd.errors import Conflict, PgherdError, Unreachable
from pgherd.model import Cluster
from pgherd.nodes import start
from pgherd.nodes.evidence import Evidence, Stopped
from pgherd.nodes.guard import decide, furthest
from pgherd.nodes.verdict import CLONE, INITIALIZE, REFUSE, STANDBY, START, WAIT
from pgherd.observe.node_state import Survey
from pgherd.ports.links import Links
from scripted import ScriptedRunner, ScriptedServer
from states import SYSTEM, cluster, primary, standby, streaming, survey, witness
from test_seal import row

THREE = cluster(3)
FIVE = cluster(5, sync_standbys=2)
BOTH = cluster(3, sync_standbys=2)
WITNESSED = cluster(3, witness=True)
ASYNC = cluster(3, witness=True, durability="async")
WAS_PRIMARY = Local(False, SYSTEM, 1)
FRESH = replace(WAS_PRIMARY, fresh=True)
PG2, PG3 = standby("pg2"), standby("pg3")


def stopped(**nodes: Stopped) -> Evidence:
    """What a playbook has seen of servers that do not run."""
    return Evidence(stopped=nodes)


Case = tuple[str, Cluster, Survey, str]


@pytest.mark.parametrize(
    ("what", "found", "seen", "why"),
    [
        ("F24: all start at once", THREE, survey(PG2, PG3), "pg2, pg3 can acknowledge"),
        ("F24: one never returns", THREE, survey(PG2), "pg2 can acknowledge"),
        ("two standbys of four stay away", FIVE, survey(PG2, PG3), "pg2, pg3 can acknowledge"),
        ("the only other of two", cluster(2), survey(PG2), "pg2 can acknowledge"),
        ("ANY 2 of three: the silent one has not been promoted alone", BOTH, survey(PG2), "pg2 can acknowledge"),
        ("the only electable one", cluster(1, witness=True), survey(), "nobody else"),
        ("asynchronous, a majority", ASYNC, survey(PG2, witness()), "pg2"),
        ("one left behind on an older timeline", THREE, survey(primary("pg3", 0), PG2), "pg2 can acknowledge"),
        ("a foreign one among ours", THREE, survey(PG2, primary("pg3", 5, system_id="1")), "pg2 can acknowledge"),
    ],
)
def test_it_starts_as_it_is(what: str, found: Cluster, seen: Survey, why: str) -> None:
    decision = decide(found, "pg1", WAS_PRIMARY, seen)
    assert not decision.as_standby, (what, decision.why)
    assert why in decision.why


@pytest.mark.parametrize(
    ("what", "found", "seen", "why", "provisional"),
    [
        ("F23: another is primary", THREE, survey(primary("pg2", 2), PG3), "pg2 is primary", False),
        ("the newest of two primaries", THREE, survey(primary("pg2", 2), primary("pg3", 3)), "pg3", False),
        ("F23: a standby is further", THREE, survey(streaming("pg3", timeline=2)), "pg3 is on timeline 2", False),
        ("nobody answers", THREE, survey(), "nobody knows whether one of pg2, pg3", True),
        ("nobody but the witness", WITNESSED, survey(witness()), "pg2, pg3", True),
        ("three of five are silent", FIVE, survey(PG2), "pg3, pg4, pg5", True),
        ("the other of two is silent", cluster(2), survey(), "pg2", True),
        ("ANY 2 of three: both are silent", BOTH, survey(), "pg2, pg3", True),
        ("one is sealed", THREE, survey(standby("pg2", follows="")), "pg2, pg3", True),
        ("one is locked", THREE, survey(replace(PG2, locked=1)), "pg2, pg3", True),
        ("one was pointed at another", THREE, survey(standby("pg3", follows="pg2")), "pg2, pg3", True),
        ("what is left is an old primary", THREE, survey(primary("pg2", 0)), "pg2, pg3", True),
        ("what is left is foreign", FIVE, survey(PG2, PG3, *(standby(f"pg{n}", system_id="1") for n in (4,))), "", None),
        ("asynchronous, no majority", ASYNC, survey(), "pg2, pg3, w1", True),
    ],
)  # fmt: skip
def test_it_starts_as_a_standby(what: str, found: Cluster, seen: Survey, why: str, provisional: bool | None) -> None:
    decision = decide(found, "pg1", WAS_PRIMARY, seen)
    if provisional is None:
        assert not decision.as_standby, what
        return
    assert decision.as_standby, (what, decision.why)
    assert re.search(why, decision.why), decision.why
    assert decision.provisional == provisional


FOLLOWS = Stopped(True, SYSTEM, 1, "pg1")
RESTORED = Evidence(restored=True)


@pytest.mark.parametrize(
    ("what", "local", "seen", "evidence", "as_standby", "why"),
    [
        ("made just now", FRESH, survey(), Evidence(new=True), False, "made just now"),
        # A server has run on them since: what anybody has of them is not known any more.
        ("no longer new", WAS_PRIMARY, survey(), Evidence(new=True), True, "pg2, pg3"),
        ("nobody else has data", WAS_PRIMARY, survey(), Evidence(empty=("pg2", "pg3")), False, "no other node holds data"),
        ("one was not asked", WAS_PRIMARY, survey(), Evidence(empty=("pg2",)), True, "pg2, pg3"),
        ("all stopped, all its own", WAS_PRIMARY, survey(), stopped(pg2=FOLLOWS, pg3=FOLLOWS), False, "pg2, pg3 can"),
        ("one of two is known: the other alone had no R", WAS_PRIMARY, survey(), stopped(pg2=FOLLOWS), False, "pg2 can"),
        ("one that runs, and one stopped", WAS_PRIMARY, survey(PG2), stopped(pg3=FOLLOWS), False, "pg2, pg3 can"),
        # The one that is silent may have sealed it before it was stopped.
        ("stopped while sealed", WAS_PRIMARY, survey(), stopped(pg3=replace(FOLLOWS, follows="")), True, "pg2, pg3"),
        ("of another's", WAS_PRIMARY, survey(), stopped(pg3=replace(FOLLOWS, follows="pg2")), True, "pg2, pg3"),
        ("a primary by its files", WAS_PRIMARY, survey(), stopped(pg3=replace(FOLLOWS, standby=False)), True, "pg2, pg3"),
        ("another cluster's", WAS_PRIMARY, survey(), stopped(pg3=replace(FOLLOWS, system_id="1")), True, "pg2, pg3"),
        ("further", WAS_PRIMARY, survey(PG2), stopped(pg3=replace(FOLLOWS, timeline=2)), True, "pg3 is on timeline 2"),
        # What answers knows better than what was seen before.
        ("sealed since", WAS_PRIMARY, survey(standby("pg2", follows="")), stopped(pg2=FOLLOWS), True, "pg2, pg3"),
        ("another is primary", WAS_PRIMARY, survey(primary("pg2", 2)), stopped(pg3=FOLLOWS), True, "pg2 is primary"),
        ("a backup", replace(WAS_PRIMARY, restoring=True), survey(), RESTORED, False, "as a person says"),
        ("a backup without a signal", replace(WAS_PRIMARY, state="in archive recovery"), survey(), RESTORED, False, "person"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_servers(
    what: str, local: Local, seen: Survey, evidence: Evidence, as_standby: bool, why: str
) -> None:
    decision = decide(THREE, "pg1", local, seen, evidence)
    assert decision.as_standby == as_standby, (what, decision.why)
    assert re.search(why, decision.why), (what, decision.why)


@pytest.mark.parametrize(
    ("what", "local", "seen", "evidence", "refused"),
    [
        ("nobody has asked for it", replace(WAS_PRIMARY, restoring=True), survey(), Evidence(), "touch /run/pgherd-start-permit"),
        ("a playbook cannot", replace(WAS_PRIMARY, restoring=True), survey(), Evidence(new=True), "touch /run/pgherd"),
        ("beside a primary", replace(WAS_PRIMARY, restoring=True), survey(primary("pg2")), RESTORED, "pg2 is primary"),
        ("it was started without the word", Local(True, SYSTEM, 1), survey(), RESTORED, "remove standby.signal"),
        ("the same, with its signal", Local(True, SYSTEM, 1, restoring=True), survey(), RESTORED, "remove standby.signal"),
    ],
)  # fmt: skip
def test_a_restored_backup_takes_a_persons_word(
    what: str, local: Local, seen: Survey, evidence: Evidence, refused: str
) -> None:
    """Nothing is written into it meanwhile, so that a word said later still helps."""
    found = decide(THREE, "pg1", local, seen, evidence)
    assert found.done == REFUSE
    assert refused in str(found.conflict), what


def test_a_standby_that_was_restored_once_is_one() -> None:
    """PostgreSQL looks at standby.signal alone where there are both."""
    assert not decide(THREE, "pg1", Local(True, SYSTEM, 1, restoring=True), survey()).as_standby


def test_a_standby_and_a_witness_may_always_start() -> None:
    assert not decide(THREE, "pg2", Local(True, SYSTEM, 1), survey()).as_standby
    assert not decide(WITNESSED, "w1", Local(False, "9", 1), survey()).as_standby


def test_one_that_a_person_promoted_may_start_when_nobody_is_further() -> None:
    found = replace(THREE, nodes=(*THREE.nodes, replace(THREE.nodes[2], name="pg4", id=4, address="pg4", priority=0)))
    assert not decide(found, "pg4", replace(WAS_PRIMARY, timeline=2), survey(PG2, PG3)).as_standby
    assert decide(found, "pg4", WAS_PRIMARY, survey(streaming("pg3", timeline=2))).as_standby


def test_one_that_was_promoted_beside_the_primary_does_not_start_again() -> None:
    """It is on a newer timeline, and the other one acknowledges commits."""
    found = replace(THREE, nodes=(*THREE.nodes, replace(THREE.nodes[2], name="pg4", id=4, address="pg4", priority=0)))
    stray, pg1 = replace(WAS_PRIMARY, timeline=2), primary("pg1", 1)
    assert decide(found, "pg4", stray, survey(pg1, streaming("pg2"), PG3)).why == "pg1 is primary (timeline 1)"
    # Left behind, or of another cluster, it is nobody to follow.
    assert not decide(found, "pg4", stray, survey(pg1, PG2, PG3)).as_standby
    assert not decide(found, "pg4", stray, survey(primary("pg1", 1, system_id="1"), PG2, PG3)).as_standby
    # Of two, the one that acknowledges is.
    two = survey(pg1, primary("pg3", 3), streaming("pg2"))
    assert decide(found, "pg4", stray, two).why == "pg1 is primary (timeline 1)"


def test_data_of_another_cluster_do_not_start() -> None:
    for found, said in (
        (decide(THREE, "pg1", replace(WAS_PRIMARY, system_id="1"), survey(PG2, PG3)), "Start pg1"),
        (decide(THREE, "pg2", Local(True, "1", 1), survey(primary("pg1"))), "cluster_wipe"),
    ):
        assert found.done == REFUSE
        assert said in str(found.conflict)


@pytest.mark.parametrize(
    ("seen", "holder", "position"),
    [
        pytest.param(survey(), "", 0, id="nobody"),
        pytest.param(survey(PG2, standby("pg3", 0x5000100)), "pg3", 0x5000100, id="the furthest"),
        pytest.param(survey(standby("pg2", 0x2FFFF00)), "", 0, id="nothing behind the checkpoint"),
        pytest.param(
            survey(standby("pg2", 0x5002000, replay_lsn="0/5000080")),
            "pg2",
            0x5000080,
            id="half a record at a page's end",
        ),
        pytest.param(
            survey(standby("pg2", 0x5002010, replay_lsn="0/5000080")),
            "pg2",
            0x5002010,
            id="whole, and not replayed yet",
        ),
        pytest.param(survey(standby("pg2", 0x5002000, replay_lsn=None)), "", 0, id="nothing replayed since its start"),
        pytest.param(survey(standby("pg2", 0x5000100, timeline=2)), "", 0, id="another timeline"),
        pytest.param(survey(standby("pg2", 0x5000100, system_id="1")), "", 0, id="another cluster"),
        pytest.param(survey(primary("pg2", 1)), "", 0, id="a primary received nothing"),
    ],
)
def test_who_has_received_most(seen: Survey, holder: str, position: int) -> None:
    assert furthest("pg1", replace(WAS_PRIMARY, redo=0x3000000), seen) == (holder, position)


def started(scripts: Mapping[str, list[dict[str, Any]]], local: Local = WAS_PRIMARY) -> Any:
    """start._decide() with nodes that answer one row for each time they are asked."""
    left = {name: list(rows) for name, rows in scripts.items()}

    def open_(name: str) -> Any:
        if not left.get(name):
            raise Unreachable(f"connect to {name}: no route to host")
        return ScriptedServer(name, [("AS in_recovery", [left[name].pop(0)])])

    return start._decide(THREE, "pg1", local, Links(open_, lambda: None))[0]


NOTHING, FILES = Local(False, "", 0, data="none"), Local(False, "", 0, data="other")
COPY = Local(False, SYSTEM, 0, data="broken")
TWO = Stopped(False, SYSTEM, 2, "")


def run(*empty: str, **more: Any) -> Evidence:
    """What a run of the playbook knows that has asked all hosts; *empty* hold nothing."""
    return Evidence(empty=empty, by_playbook=True, **more)


ALL_EMPTY, ONE_SILENT = run("pg2", "pg3"), run("pg2", silent=("pg3",))
BOTH_SILENT = run(silent=("pg2", "pg3"))
BLIND = replace(ONE_SILENT, blind=True)
PG3_SILENT = run(silent=("pg3",))
# Data that are not whole: nobody knows whose, of a backup that never ended, and another cluster's.
WRECK, HALF, ALIEN = Stopped(False, "", 0, ""), Stopped(False, SYSTEM, 0, ""), Stopped(True, "1", 3, "pg1")
WRECKED_SILENT, WRECKED_EMPTY = run(silent=("pg2",), stopped={"pg3": WRECK}), run("pg3", stopped={"pg2": WRECK})
FOREIGN = {"system_id": "1"}
SEALED = standby("pg2", follows="")


@pytest.mark.parametrize(
    ("what", "me", "local", "seen", "evidence", "done", "why"),
    [
        # A new cluster.
        ("first day", "pg1", NOTHING, survey(), ALL_EMPTY, INITIALIZE, "nobody holds data"),
        ("another than the first", "pg2", NOTHING, survey(), run("pg1", "pg3"), CLONE, "it is cloned, not initialised"),
        ("one is silent", "pg1", NOTHING, survey(), ONE_SILENT, REFUSE, "pg3 cannot be asked whether it holds the cluster"),
        ("and a person says so", "pg1", NOTHING, survey(), BLIND, INITIALIZE, "nobody holds data"),
        ("one was not asked at all", "pg1", NOTHING, survey(), Evidence(), REFUSE, "pg2, pg3 cannot be asked"),
        ("another holds it, stopped", "pg1", NOTHING, survey(), run("pg3", stopped={"pg2": TWO}), REFUSE, "pg2 holds this"),
        ("the same, whoever says so", "pg1", NOTHING, survey(), replace(BLIND, stopped={"pg2": TWO}), REFUSE, "pg2 holds this"),
        ("another runs as a standby", "pg1", NOTHING, survey(PG2), run("pg3"), REFUSE, "pg2 holds this cluster"),
        ("another is primary", "pg1", NOTHING, survey(primary("pg2")), run("pg3"), CLONE, "pg2 is primary"),
        ("another's files are left to its own run", "pg1", NOTHING, survey(), run("pg2", strange=("pg3",)), INITIALIZE, ""),
        ("a witness has its own", "w1", NOTHING, survey(), BOTH_SILENT, INITIALIZE, "witness"),
        # What initdb has made, and no server has run on.
        ("a run that ended before the start", "pg1", FRESH, survey(), ALL_EMPTY, START, "no server has run on them"),
        ("the same with one that is silent", "pg1", FRESH, survey(), ONE_SILENT, REFUSE, "-e cluster_initialize=true"),
        ("and a person says so again", "pg1", FRESH, survey(), BLIND, START, "no server has run on them"),
        ("the first is another by now", "pg2", FRESH, survey(), run("pg1", "pg3"), START, "no server has run on them"),
        ("two have begun", "pg1", FRESH, survey(), run("pg3", stopped={"pg2": replace(TWO, system_id="1")}), REFUSE, "pg2 holds"),
        ("and another is primary", "pg1", FRESH, survey(primary("pg2", system_id="1")), run("pg3"), WAIT, "pg2 is primary now"),
        ("by its service, without a run", "pg1", FRESH, survey(), Evidence(), REFUSE, "Run the site playbook"),
        ("a run has asked, and one answers now", "pg1", FRESH, survey(PG2), Evidence(new=True), REFUSE, "Run the site playbook"),
        # What is not whole.
        ("files", "pg1", FILES, survey(PG2), run("pg3"), REFUSE, "holds files, but no cluster"),
        ("the primary's backup", "pg2", COPY, survey(primary("pg1")), run("pg3"), CLONE, "never ended"),
        ("that of a standby's", "pg1", COPY, survey(PG2), run("pg3"), WAIT, "when there is a primary"),
        ("another cluster's", "pg2", replace(COPY, system_id="1"), survey(primary("pg1")), run("pg3"), REFUSE, "cluster_wipe"),
        ("nobody knows whose", "pg2", replace(COPY, system_id=""), survey(primary("pg1")), run("pg3"), REFUSE, "See what it is"),
        # A former primary, when a run finds it stopped.
        ("there is another", "pg1", WAS_PRIMARY, survey(primary("pg2", 2)), run(), WAIT, "pg2 is primary now .timeline 2"),
        ("left behind", "pg1", replace(WAS_PRIMARY, timeline=2), survey(primary("pg2"), PG3), run(), WAIT, "pg2 is primary now"),
        ("of another cluster", "pg1", WAS_PRIMARY, survey(primary("pg2", system_id="1"), PG3), run(), WAIT, "pg2 is primary now"),
        ("one is further", "pg1", WAS_PRIMARY, survey(PG3), run(stopped={"pg2": TWO}), WAIT, "newer timeline 2: start that one"),
        ("nobody can be asked", "pg1", WAS_PRIMARY, survey(), BOTH_SILENT, WAIT, "pg2, pg3 cannot be asked .* Bring them back"),
        ("nor has the rest any data", "pg1", WAS_PRIMARY, survey(), ONE_SILENT, WAIT, "pg3 cannot be asked .* pg2 has no data"),
        ("not whole, one is silent", "pg1", WAS_PRIMARY, survey(), WRECKED_SILENT, WAIT, "pg2 cannot be .* pg3 has no data"),
        ("not whole, one is empty", "pg1", WAS_PRIMARY, survey(), WRECKED_EMPTY, WAIT, "pg2, pg3 has no data .* touch /run"),
        ("both are not whole", "pg1", WAS_PRIMARY, survey(), run(stopped={"pg2": WRECK, "pg3": WRECK}), WAIT, "has no data"),
        ("a broken copy of its own", "pg1", WAS_PRIMARY, survey(), run("pg2", stopped={"pg3": HALF}), WAIT, "has no data that"),
        ("files, and one is empty", "pg1", WAS_PRIMARY, survey(), run("pg2", strange=("pg3",)), WAIT, "pg2, pg3 has no data"),
        ("another cluster's, and empty", "pg1", WAS_PRIMARY, survey(), run("pg2", stopped={"pg3": ALIEN}), WAIT, "no data"),
        ("not whole, and one answers", "pg1", WAS_PRIMARY, survey(PG2), run(stopped={"pg3": WRECK}), START, "pg2 can"),
        ("a person's word is for new data", "pg1", WAS_PRIMARY, survey(), BLIND, WAIT, "pg3 cannot be asked"),
        ("one is silent, one has no R", "pg1", WAS_PRIMARY, survey(PG2), PG3_SILENT, START, "pg2 can"),
        ("it answers by now", "pg1", WAS_PRIMARY, survey(PG2, PG3), BOTH_SILENT, START, "pg2, pg3 can"),
        ("sealed, and one is silent", "pg1", WAS_PRIMARY, survey(SEALED), PG3_SILENT, STANDBY, "pg2, pg3"),
        ("a backup", "pg1", replace(WAS_PRIMARY, restoring=True), survey(), ALL_EMPTY, REFUSE, "touch /run/pgherd-start-permit"),
        ("a standby", "pg2", Local(True, SYSTEM, 1), survey(primary("pg1")), PG3_SILENT, START, "is a standby"),
        # A primary that runs.
        ("it runs", "pg1", WAS_PRIMARY, survey(primary("pg1"), PG2), ONE_SILENT, START, "pg1 runs"),
        ("a newer one", "pg1", WAS_PRIMARY, survey(primary("pg1"), primary("pg2", 2)), run(), WAIT, "pg2 is primary now"),
        ("most hold another", "pg1", WAS_PRIMARY, survey(primary("pg1", **FOREIGN), PG2, PG3), run(), WAIT, "than pg2, pg3"),
        ("it or one other", "pg1", WAS_PRIMARY, survey(primary("pg1", **FOREIGN), PG2), run(), START, "pg1 runs"),
        ("not the first", "pg2", WAS_PRIMARY, survey(primary("pg2"), primary("pg1", **FOREIGN)), run(), WAIT, "than pg1"),
        ("by files", "pg2", WAS_PRIMARY, survey(primary("pg2")), run(stopped={"pg1": replace(TWO, **FOREIGN)}), WAIT, "than pg1"),
    ],
)  # fmt: skip
def test_what_is_done(what: str, me: str, local: Local, seen: Survey, evidence: Evidence, done: str, why: str) -> None:
    found = decide(WITNESSED if me == "w1" else THREE, me, local, seen, evidence)
    assert (found.done, bool(found.conflict)) == (done, done == REFUSE), (what, found.why)
    assert re.search(why, found.why), (what, found.why)


def test_asynchronous_a_run_trusts_no_silent_node() -> None:
    seen, evidence = survey(PG2, witness()), run(silent=("pg3",))
    assert decide(ASYNC, "pg1", WAS_PRIMARY, seen, evidence).done == WAIT
    assert decide(ASYNC, "pg1", WAS_PRIMARY, seen).done == START
    # One that says nothing and cannot be brought back leaves a majority.
    assert decide(ASYNC, "pg1", WAS_PRIMARY, seen, run(stopped={"pg3": WRECK})).done == START


def test_where_nobody_is_silent_nobody_is_waited_for() -> None:
    """Whoever runs can be elected with it when it is a standby."""
    sealed = stopped(pg5=replace(FOLLOWS, follows="")).stopped
    assert decide(FIVE, "pg1", WAS_PRIMARY, survey(), run("pg2", "pg3", "pg4", stopped=sealed)).done == STANDBY


def test_a_broken_one_of_two_is_nobody_to_elect_with() -> None:
    found = decide(cluster(2), "pg1", WAS_PRIMARY, survey(), run(stopped={"pg2": WRECK}))
    assert found.done == WAIT
    assert (
        "because pg2 has no data that could tell. If it certainly was the last primary, say so: touch /run" in found.why
    )


def held(name: str, data: str) -> dict[str, Any]:
    """What a node is told of *name*, which holds that."""
    return {
        "nothing": {"empty": (name,)},
        "files": {"strange": (name,)},
        "silent": {"silent": (name,)},
        "a cluster": {"stopped": {name: TWO}},
        "new data": {"stopped": {name: Stopped(False, name, 1, "")}},
    }[data]


@pytest.mark.parametrize("blind", [False, True])
def test_never_two_clusters(blind: bool) -> None:
    """Whatever three nodes hold, and hear of each other: two of them never begin, and none does beside a cluster."""
    kinds = ("nothing", "files", "silent", "a cluster", "new data")
    locals_ = {"nothing": NOTHING, "files": FILES, "a cluster": replace(WAS_PRIMARY, timeline=2)}
    for holds in product(kinds, repeat=3):
        names = dict(zip(("pg1", "pg2", "pg3"), holds))
        begin = []
        for me, kind in names.items():
            told: dict[str, Any] = {"by_playbook": True, "blind": blind}
            for name, other in names.items():
                for key, value in held(name, other).items() if name != me else ():
                    told[key] = {**told.get(key, {}), **value} if key == "stopped" else (*told.get(key, ()), *value)
            mine = locals_.get(kind, Local(False, me, 1, fresh=True))
            found = decide(THREE, me, mine, survey(), Evidence(**told)) if kind != "silent" else None
            if found and (found.done == INITIALIZE or (kind == "new data" and found.done == START)):
                begin.append(me)
        assert len(begin) <= 1, names
        assert not begin or "a cluster" not in holds, names
        assert blind or not begin or "silent" not in holds, names


def test_it_asks_again_while_the_answer_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are starting too."""
    looks = iter([[], [], [row(has_upstream=True, pointed_at="pg1")]])

    def open_(name: str) -> Any:
        rows = next(looks, []) if name == "pg2" else []
        if not rows:
            raise Unreachable("connect: refused")
        return ScriptedServer(name, [("AS in_recovery", rows)])

    monkeypatch.setattr(start, "PATIENCE", 20.0)
    began = time.monotonic()
    decision, _survey = start._decide(THREE, "pg1", WAS_PRIMARY, Links(open_, lambda: None))
    assert not decision.as_standby
    assert time.monotonic() - began < 15


def test_new_data_hear_the_others_as_long_as_files_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them may have begun meanwhile, and be slow to say so."""

    def open_(name: str) -> Any:
        time.sleep(0.3)
        return ScriptedServer(name, [("AS in_recovery", [row(has_upstream=True, pointed_at="pg1")])])

    monkeypatch.setattr(start, "POSITIONS", 0.02)
    monkeypatch.setattr(start, "PATIENCE", 20.0)
    found = start._decide(THREE, "pg1", FRESH, Links(open_, lambda: None), Evidence(new=True))[0]
    assert found.done == REFUSE, found.why


def test_its_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PATIENCE", 0.1)
    assert started({}).provisional


def test_a_standby_asks_nobody() -> None:
    assert not started({}, replace(WAS_PRIMARY, standby=True)).as_standby


CONTROL = f"""Database system identifier:           {SYSTEM}
Database cluster state:               in production
Latest checkpoint location:           0/4000060
Latest checkpoint's TimeLineID:       1
Latest checkpoint's REDO location:    0/4000028
"""
RECEIVED = row(has_upstream=True, pointed_at="pg1", receive_lsn="0/5000100", replay_lsn="0/5000100")
BROKEN = (1, "", "pg_waldump: error: error in WAL record at 0/4000100: invalid magic number 3A24\n")


def begun(read: tuple[int, str, str]) -> tuple[Any, list[str]]:
    """start.decide() for a primary that crashed, whose standbys have its WAL to 0/5000100, and what it asked pg_waldump."""
    runner = ScriptedRunner([("pg_controldata", CONTROL), ("pg_waldump", read)])

    def open_(name: str) -> Any:
        return ScriptedServer(name, [("AS in_recovery", [RECEIVED])])

    decision = start.decide(here_of(THREE, "pg1", Links(open_, lambda: None), runner))
    return decision, [" ".join(call.argv) for call in runner.calls[1:]]


def test_it_starts_when_its_wal_is_whole() -> None:
    decision, asked = begun((0, "", ""))
    assert not decision.as_standby
    assert "--start 0/4000028 --end 0/5000100" in asked[0]
    assert "--timeline 1 " in asked[0]


def test_a_primary_that_has_lost_wal_starts_as_a_standby() -> None:
    """F29: recovery would end early without a word, and the standbys would confirm what they do not have."""
    decision, _asked = begun(BROKEN)
    assert decision.as_standby
    assert decision.why == (
        "pg2 has received its WAL up to 0/5000100, and here it ends before: error in WAL record at 0/4000100: invalid "
        "magic number 3A24"
    )


def test_new_data_are_refused_and_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its unit, after a run that ended too early: as a standby of nobody they would be new no longer."""
    data = tmp_path / "main"
    (data / "global").mkdir(parents=True)
    (data / "global/pg_control").touch()
    said = CONTROL.replace("in production", "shut down")
    here = here_of(
        THREE, "pg1", Links(nobody, lambda: None), ScriptedRunner([("pg_controldata", said)] * 3), data=str(data)
    )
    monkeypatch.setattr(start, "marked", lambda: "")
    incarnation.initialized(str(data), f"{SYSTEM} shut down 0/4000060")
    for ask in (start.decide, start.as_it_is):
        with pytest.raises(Conflict, match=r"no server has run\. pg1 has nothing yet, .* Run the site playbook"):
            ask(here)
    assert not start.decide(here, Evidence(new=True)).as_standby
    assert [path.name for path in data.iterdir()] == ["global"]


def test_what_waits_does_not_start(tmp_path: Path) -> None:
    here = here_of(THREE, "pg1", Links(nobody, lambda: None), ScriptedRunner([("pg_controldata", CONTROL)]))
    with pytest.raises(PgherdError, match="start pg1: pg1 was a primary and stays stopped"):
        start.decide(here, BOTH_SILENT)


def nobody(name: str) -> Any:
    """How a node is reached that does not run."""
    raise Unreachable(f"connect to {name}: refused")


def test_its_answer_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = started({"pg2": [row(in_recovery=False, timeline=2)]})
    start.prepare(here_of(THREE, "pg1", data=str(tmp_path)), decision)
    assert (tmp_path / "standby.signal").exists()
    text = (tmp_path / "postgresql.auto.conf").read_text()
    # Its WAL has not been compared with pg2's yet.
    assert "primary_conninfo = ''" in text
    assert "primary_slot_name = 'repmgr_slot_1'" in text


@pytest.mark.parametrize(
    ("state", "as_standby"),
    [("in archive recovery", True), ("shut down in recovery", True), ("in production", False), ("shut down", False)],
)
def test_only_a_promotion_ends_a_recovery(state: str, as_standby: bool) -> None:
    """A standby's data whose standby.signal is gone: everybody else says that no other primary is possible."""
    others = survey(streaming("pg2"), streaming("pg3"))
    found = decide(cluster(3), "pg1", Local(False, SYSTEM, 1, state=state), others)
    assert found.as_standby is as_standby, found.why
