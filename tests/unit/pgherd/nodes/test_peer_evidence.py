# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What nodes say of their data directories, and who makes the first one by that."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from here import here_of
from pgherd.data import incarnation
from pgherd.errors import Conflict, PgherdError, ProtocolError, SqlError, Unreachable
from pgherd.nodes import directory_state, peer_evidence
from pgherd.nodes.directory_state import KINDS, UNREADABLE, DirectoryState, look
from pgherd.nodes.peer_evidence import NodeEvidence, verdict
from pgherd.nodes.verdict import CLONE, INITIALIZE, REFUSE, STANDBY, START
from pgherd.observe.node_state import NodeState
from pgherd.observe.peer_answers import QUESTION
from pgherd.ports.links import Links
from scripted import ScriptedRunner, ScriptedServer
from states import SYSTEM, cluster, primary, standby

EMPTY = NodeEvidence(DirectoryState("none"))
STRANGE = NodeEvidence(DirectoryState("other"))
UNREAD = NodeEvidence(DirectoryState(UNREADABLE, why="look at /data: Permission denied."))
HALF = NodeEvidence(DirectoryState("broken", system_identifier=SYSTEM))


def data(standby_of: str = "", system: str = SYSTEM, timeline: int = 1, **more: Any) -> NodeEvidence:
    """Of a server that is stopped: a primary's data, or those of a standby of *standby_of*."""
    return NodeEvidence(DirectoryState("cluster", bool(standby_of), system, timeline, standby_of, **more))


def runs(state: NodeState) -> NodeEvidence:
    return NodeEvidence(DirectoryState("cluster", state.in_recovery, state.system_id, running=True), state)


Said = Mapping[str, Optional[NodeEvidence]]


@pytest.mark.parametrize(
    ("what", "me", "mine", "said", "done", "why"),
    [
        ("all are new", "pg1", EMPTY, {"pg2": EMPTY, "pg3": EMPTY}, INITIALIZE, "nobody holds data"),
        ("all are new, and another is chosen", "pg2", EMPTY, {"pg1": EMPTY, "pg3": EMPTY}, CLONE, "is cloned"),
        ("one is silent", "pg1", EMPTY, {"pg2": EMPTY, "pg3": None}, REFUSE, "pg3 cannot be asked"),
        ("of one nothing is there", "pg1", EMPTY, {"pg2": EMPTY}, REFUSE, "pg3 cannot be asked"),
        ("nobody else says anything", "pg1", EMPTY, {}, REFUSE, "pg2, pg3 cannot be asked"),
        ("one cannot read its own", "pg1", EMPTY, {"pg2": UNREAD, "pg3": EMPTY}, REFUSE, "pg2 cannot be asked"),
        ("files that are no cluster", "pg1", EMPTY, {"pg2": STRANGE, "pg3": EMPTY}, INITIALIZE, "nobody holds data"),
        ("one holds a primary's", "pg1", EMPTY, {"pg2": data(), "pg3": EMPTY}, REFUSE, "pg2 holds this cluster"),
        ("one holds a standby's", "pg1", EMPTY, {"pg2": data("pg1"), "pg3": EMPTY}, REFUSE, "pg2 holds this cluster"),
        ("one holds half a copy", "pg1", EMPTY, {"pg2": HALF, "pg3": EMPTY}, REFUSE, "pg2 holds this cluster"),
        ("one holds data just made", "pg1", EMPTY, {"pg2": data(fresh=True), "pg3": EMPTY}, REFUSE, "pg2 holds this"),
        (
            "one holds another's",
            "pg1",
            EMPTY,
            {"pg2": data(system="9"), "pg3": EMPTY},
            REFUSE,
            "pg2 holds this cluster",
        ),
        (
            "one holds data, and one is silent",
            "pg1",
            EMPTY,
            {"pg2": data(), "pg3": None},
            REFUSE,
            "pg2 holds this cluster",
        ),
        ("data, and who is not chosen is empty", "pg3", EMPTY, {"pg1": data(), "pg2": EMPTY}, CLONE, "is cloned"),
        ("there is a primary", "pg1", EMPTY, {"pg2": runs(primary("pg2")), "pg3": None}, CLONE, "pg2 is primary"),
        ("a standby runs", "pg1", EMPTY, {"pg2": runs(standby("pg2")), "pg3": EMPTY}, REFUSE, "pg2 holds this cluster"),
        (
            "one runs and does not answer",
            "pg1",
            EMPTY,
            {"pg2": data("pg1", running=True), "pg3": EMPTY},
            REFUSE,
            "pg2 holds this cluster",
        ),
        # After a start was broken off, or when all were down.
        ("mine were just made", "pg1", data(fresh=True), {"pg2": EMPTY, "pg3": EMPTY}, START, "made just now"),
        (
            "mine were just made, one is silent",
            "pg1",
            data(fresh=True),
            {"pg2": EMPTY, "pg3": None},
            REFUSE,
            "nothing yet",
        ),
        (
            "all were stopped",
            "pg1",
            data(),
            {"pg2": data("pg1"), "pg3": data("pg1")},
            START,
            "no other primary is possible",
        ),
        ("and I am a standby", "pg2", data("pg1"), {"pg1": data(), "pg3": data("pg1")}, START, "pg2 is a standby"),
        (
            "one was promoted",
            "pg1",
            data(),
            {"pg2": data(timeline=2), "pg3": data("pg2")},
            STANDBY,
            "pg2 is on timeline 2",
        ),
        # Files do not say whom a server follows that runs: it may be about to help another's promotion.
        (
            "both run and do not answer",
            "pg1",
            data(),
            {name: data("pg1", running=True) for name in ("pg2", "pg3")},
            STANDBY,
            "nobody knows",
        ),
        ("mine are no cluster", "pg1", STRANGE, {"pg2": EMPTY, "pg3": EMPTY}, REFUSE, "files without PG_VERSION"),
    ],
)
def test_what_follows_from_what_all_say(
    what: str, me: str, mine: NodeEvidence, said: Said, done: str, why: str
) -> None:
    found = verdict(cluster(), me, mine.directory, said)
    assert (found.done, why in found.why) == (done, True), f"{what}: {found.why}"


@pytest.mark.parametrize("system", [SYSTEM, "9"])
def test_never_more_than_one_makes_a_cluster(system: str) -> None:
    """Whatever each of three says: by what all say, one at most initialises, and none beside data."""
    every = [EMPTY, STRANGE, UNREAD, data(), data("pg1", system), data(fresh=True), data(running=True), None]
    for one in every:
        for two in every:
            for three in every:
                said = {"pg1": one, "pg2": two, "pg3": three}
                makers = []
                for me, mine in said.items():
                    if mine and mine is not UNREAD:
                        others = {name: item for name, item in said.items() if name != me}
                        makers += [me] * (verdict(cluster(), me, mine.directory, others).done == INITIALIZE)
                held = any(item is None or item is UNREAD or item.directory.kind == "cluster" for item in said.values())
                assert len(makers) <= (0 if held else 1), said


def test_a_persons_word_counts_for_silent_ones_alone() -> None:
    assert verdict(cluster(), "pg1", EMPTY.directory, {"pg2": EMPTY, "pg3": None}, blind=True).done == INITIALIZE
    assert verdict(cluster(), "pg1", EMPTY.directory, {"pg2": data(), "pg3": None}, blind=True).done == REFUSE


def test_whose_own_cannot_be_read_decides_nothing() -> None:
    with pytest.raises(PgherdError, match=r"decide about the data of pg1: look at /data: Permission denied\."):
        verdict(cluster(), "pg1", UNREAD.directory, {"pg2": EMPTY, "pg3": EMPTY}, blind=True)


# What is there.


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(incarnation, "FILE", str(tmp_path / "note"))
    return tmp_path / "main"


def looked(place: Path, *scripts: tuple[str, Any]) -> DirectoryState:
    return look(here_of(cluster(), "pg2", runner=ScriptedRunner(list(scripts)), data=str(place)))


CONTROL = f"""\
Database system identifier:           {SYSTEM}
Database cluster state:               in archive recovery
Latest checkpoint location:           0/5000028
Latest checkpoint's REDO location:    0/5000000
Latest checkpoint's TimeLineID:       1
Min recovery ending loc's timeline:   2
"""


def filled(place: Path, conninfo: str = "host=pg1 application_name=pg2") -> None:
    (place / "global").mkdir(parents=True)
    (place / "PG_VERSION").write_text("17\n")
    (place / "global/pg_control").write_bytes(b"\0" * 8192)
    (place / "standby.signal").write_text("")
    (place / "postgresql.auto.conf").write_text(f"primary_conninfo = '{conninfo}'\n")


def test_no_directory_and_an_empty_one(place: Path) -> None:
    assert looked(place) == DirectoryState("none")
    place.mkdir()
    assert looked(place) == DirectoryState("none")
    (place / "lost+found").mkdir()
    assert looked(place) == DirectoryState("none")
    (place / "notes.txt").write_text("")
    assert looked(place) == DirectoryState("other")
    (place / "PG_VERSION").write_text("17\n")
    assert looked(place) == DirectoryState("broken")


def test_a_cluster_read_anew_each_time(place: Path) -> None:
    filled(place)
    found = looked(place, ("pg_controldata", CONTROL))
    assert found == DirectoryState("cluster", True, SYSTEM, 2, "pg1")
    own = incarnation.current(str(place)).id
    (place / "postgresql.auto.conf").write_text("primary_conninfo = ''\n")
    assert looked(place, ("pg_controldata", CONTROL)) == replace(found, follows="", incarnation=own)
    # The note is not that of another directory's data.
    (place / "global/pg_control").rename(place / "global/gone")
    (place / "global/pg_control").write_bytes(b"\0" * 8192)
    assert looked(place, ("pg_controldata", CONTROL)).incarnation == ""


def test_whether_its_server_runs(place: Path) -> None:
    filled(place)
    me = os.getcwd()
    (place / "postmaster.pid").write_text(f"{os.getpid()}\n{place}\n")
    assert not looked(place, ("pg_controldata", CONTROL)).running  # another's number
    os.chdir(place)
    try:
        assert looked(place, ("pg_controldata", CONTROL)).running
    finally:
        os.chdir(me)
    (place / "postmaster.pid").write_text("what\n")
    assert looked(place, ("pg_controldata", CONTROL)).running  # it may


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((1, "", "pg_controldata: error: could not read file"), "could not read file"),
        ("no such thing", "KeyError"),
        (CONTROL.replace("0/5000000", "what"), "ValueError"),
    ],
)
def test_what_cannot_be_read_says_why(place: Path, answer: Any, why: str) -> None:
    filled(place)
    found = looked(place, ("pg_controldata", answer))
    assert (found.kind, why in found.why) == ("unreadable", True), found.why


def test_a_directory_that_cannot_be_seen(place: Path) -> None:
    place.write_text("")
    assert looked(place).kind == "unreadable"


# What is told.


@pytest.mark.parametrize(
    "one", [EMPTY, STRANGE, UNREAD, HALF, data("pg1", fresh=True, restoring=True, incarnation="a")]
)
def test_it_is_told_and_read(one: NodeEvidence) -> None:
    said = json.loads(json.dumps(one.directory.as_json()))
    assert DirectoryState.from_json({**said, "of a later release": 1}) == one.directory


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "none",
        {},
        {"kind": "empty"},
        {"kind": ["none"]},
        {"kind": "cluster", "timeline": "1"},
        {"kind": "cluster", "timeline": True},
        {"kind": "cluster", "standby": 1},
        {"kind": "cluster", "system_identifier": 7},
    ],
    ids=str,
)
def test_what_is_none_is_refused(said: Any) -> None:
    with pytest.raises(ProtocolError, match="it says of its data directory"):
        DirectoryState.from_json(said)


def test_the_kinds_are_those_of_data_directories() -> None:
    assert set(KINDS) == {"none", "other", "cluster", "broken", "unreadable"}


def answered(place: Path, server: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    def open_(_name: str) -> Any:
        if isinstance(server, Exception):
            raise server
        return server

    return peer_evidence.answer(here_of(cluster(), "pg2", links=Links(open_, lambda: None), data=str(place)), asked)


ASKED = {"question": QUESTION, "data": True}


@pytest.mark.parametrize(
    "error", [Unreachable("connect to pg2: no such file"), SqlError("ask", "pg2", "shutting down")]
)
def test_a_node_whose_server_is_down_says_what_it_holds(place: Path, error: Exception) -> None:
    said = answered(place, error, ASKED)
    assert said == {"node": "pg2", "down": str(error), "data": DirectoryState("none").as_json()}
    with pytest.raises(type(error)):
        answered(place, error, {"question": QUESTION})


def test_who_does_not_ask_for_the_directory_pays_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_state, "_look", lambda _here: pytest.fail("it was read"))
    said = answered(place, ScriptedServer("pg2", [("AS in_recovery", [{"in_recovery": True}])]), {"question": QUESTION})
    assert said == {"node": "pg2", "row": '{"in_recovery": true}'}


def test_an_agent_of_another_release_is_refused(place: Path) -> None:
    with pytest.raises(ProtocolError, match="this release does not know"):
        answered(place, Unreachable("down"), {**ASKED, "question": "another"})


def test_a_refusal_names_the_cluster_that_may_exist() -> None:
    found = verdict(cluster(), "pg1", EMPTY.directory, {"pg2": EMPTY, "pg3": None})
    assert isinstance(found.conflict, Conflict)
