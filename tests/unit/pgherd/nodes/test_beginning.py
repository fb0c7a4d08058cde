# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who initialises a cluster where no playbook decides that: once for its life, and only where nobody can hold it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Optional

import pytest
from pgherd.data.datadir import BROKEN, CLUSTER, NONE, OTHER
from pgherd.model import Cluster, Node
from pgherd.nodes.beginning import (
    BEGIN,
    CLONE,
    END,
    LEAVE,
    MAKE,
    START,
    WAIT,
    adopts,
    another,
    decide,
    grows,
    sources,
    unexplained,
    without_others,
)
from pgherd.nodes.directory_state import UNREADABLE, DirectoryState
from pgherd.nodes.peer_evidence import NodeEvidence
from pgherd.observe.node_state import NodeState
from pgherd.ports.initialization import NOBODY, Initialization, adopted, begun, ended

DEMO = Cluster(
    "demo",
    (
        Node("a", 1, "postgres", "a", version=17),
        Node("b", 2, "postgres", "b", "a", version=17),
        Node("c", 3, "postgres", "c", "a", version=17),
        Node("w", 4, "witness", "w", "a", version=17),
    ),
)
US, THEM = "7000000000000000001", "7000000000000000002"
NOTHING, FRESH, DATA = (
    DirectoryState(NONE),
    DirectoryState(CLUSTER, False, US, 1, fresh=True),
    DirectoryState(CLUSTER, False, US, 1),
)
SILENT = None
EMPTY, HOLDS = NodeEvidence(NOTHING), NodeEvidence(DATA)
PRIMARY = NodeEvidence(replace(DATA, running=True), NodeState(False, 1, US, name="x"))
STRANGER = NodeEvidence(DirectoryState(CLUSTER, False, THEM, 1, running=True), NodeState(False, 1, THEM, name="x"))
STANDBY = NodeEvidence(
    replace(DATA, standby=True, running=True), NodeState(True, 1, US, name="x", receiver="streaming", upstream="a")
)
A_BEGUN, A_DONE, B_DONE = Initialization("a"), Initialization("a", US), Initialization("b", US)
UNREAD = None
# Of whom a word or two are left.
LOST = Initialization(grown=True)

Said = tuple[Optional[NodeEvidence], Optional[NodeEvidence]]
CASES: dict[str, tuple[str, DirectoryState, Optional[Initialization], Said, str, str]] = {
    "all are new, and it is first": ("a", NOTHING, NOBODY, (EMPTY, EMPTY), BEGIN, "no data node holds data"),
    "all are new, and another is first": ("b", NOTHING, NOBODY, (EMPTY, EMPTY), WAIT, "a is to initialise the cluster"),
    "one is silent": ("a", NOTHING, NOBODY, (EMPTY, SILENT), WAIT, "c cannot be asked whether it holds data"),
    "one is silent, another waits": ("b", NOTHING, NOBODY, (EMPTY, SILENT), WAIT, "nobody initialises the cluster: c"),
    "both are silent": ("a", NOTHING, NOBODY, (SILENT, SILENT), WAIT, "b, c cannot be asked"),
    "one holds data": ("a", NOTHING, NOBODY, (HOLDS, EMPTY), WAIT, r"b \(data\) may hold the cluster"),
    "one holds data, one is silent": ("a", NOTHING, NOBODY, (HOLDS, SILENT), WAIT, r"b \(data\) may hold"),
    "one holds new data": ("a", NOTHING, NOBODY, (NodeEvidence(FRESH), EMPTY), WAIT, r"b \(new data\)"),
    "one has a broken copy": ("a", NOTHING, NOBODY, (NodeEvidence(DirectoryState(BROKEN)), EMPTY), WAIT, "broken data"),
    "one has strange files": ("a", NOTHING, NOBODY, (NodeEvidence(DirectoryState(OTHER)), EMPTY), WAIT, "other data"),
    "one cannot read its own": (
        "a",
        NOTHING,
        NOBODY,
        (NodeEvidence(DirectoryState(UNREADABLE)), EMPTY),
        WAIT,
        "unreadable",
    ),
    "a standby runs alone": ("a", NOTHING, NOBODY, (STANDBY, EMPTY), WAIT, r"b \(its server runs\)"),
    "the record cannot be read": ("a", NOTHING, UNREAD, (EMPTY, EMPTY), WAIT, "the record .* cannot be read"),
    "it has begun": ("a", NOTHING, A_BEGUN, (EMPTY, EMPTY), MAKE, "a has begun"),
    "it has begun, and others are gone": ("a", NOTHING, A_BEGUN, (SILENT, SILENT), MAKE, "a has begun"),
    "it has begun, and another holds data": ("a", NOTHING, A_BEGUN, (HOLDS, EMPTY), WAIT, "may hold the cluster"),
    "it has made it": ("a", FRESH, A_BEGUN, (EMPTY, EMPTY), END, "a has begun"),
    "it has said so": ("a", FRESH, A_DONE, (EMPTY, EMPTY), START, f"a has made the cluster .*{US}"),
    "it has said so, and others are gone": ("a", FRESH, A_DONE, (SILENT, SILENT), START, "a has made the cluster"),
    "its new data are another's": (
        "a",
        replace(FRESH, system_identifier=THEM),
        A_DONE,
        (EMPTY, EMPTY),
        WAIT,
        "no primary answers",
    ),
    "the record is not its own": ("a", FRESH, B_DONE, (EMPTY, EMPTY), WAIT, "initialised by b"),
    "another has begun": (
        "b",
        NOTHING,
        A_BEGUN,
        (EMPTY, EMPTY),
        WAIT,
        "a has begun to initialise the cluster, and is waited for",
    ),
    "another has begun, and is gone": ("b", NOTHING, A_BEGUN, (SILENT, EMPTY), WAIT, "a has begun"),
    "the first has lost its data": (
        "a",
        NOTHING,
        A_DONE,
        (EMPTY, EMPTY),
        WAIT,
        "was initialised by a .* no primary answers",
    ),
    "the first has lost its data, others are silent": (
        "a",
        NOTHING,
        A_DONE,
        (SILENT, SILENT),
        WAIT,
        "no primary answers",
    ),
    "the first has lost its data, b is primary": ("a", NOTHING, A_DONE, (PRIMARY, STANDBY), CLONE, "b is primary"),
    "the primary has no roles yet": (
        "b",
        NOTHING,
        A_DONE,
        (NodeEvidence(replace(DATA, running=True)), EMPTY),
        WAIT,
        "the server of a does not let agents in: the site playbook makes their roles",
    ),
    "it is cloned": ("b", NOTHING, A_DONE, (PRIMARY, EMPTY), CLONE, "a is primary"),
    "it is cloned without a record": ("b", NOTHING, NOBODY, (PRIMARY, SILENT), CLONE, "a is primary"),
    "it is cloned while nobody says the record": ("b", NOTHING, UNREAD, (PRIMARY, SILENT), CLONE, "a is primary"),
    "new data that are no use": ("b", FRESH, A_DONE, (PRIMARY, EMPTY), CLONE, "a is primary"),
    "a primary of another cluster": ("b", NOTHING, A_DONE, (STRANGER, EMPTY), WAIT, "no primary answers"),
    "two primaries": ("c", NOTHING, A_DONE, (PRIMARY, PRIMARY), WAIT, "a and b both run as primary"),
    "there are data": ("a", DATA, A_DONE, (SILENT, SILENT), LEAVE, "^$"),
    "there are data, and no record": ("a", DATA, NOBODY, (SILENT, SILENT), LEAVE, "^$"),
    "there are data, and nobody says the record": ("a", DATA, UNREAD, (SILENT, SILENT), LEAVE, "^$"),
    "data of another cluster": (
        "b",
        replace(DATA, system_identifier=THEM),
        A_DONE,
        (PRIMARY, SILENT),
        WAIT,
        f"of another cluster .*{THEM}.*{US}",
    ),
    "a broken copy": ("a", DirectoryState(BROKEN, system_identifier=US), A_DONE, (PRIMARY, SILENT), LEAVE, "^$"),
    "strange files": ("a", DirectoryState(OTHER), NOBODY, (EMPTY, EMPTY), WAIT, "holds files, but no cluster"),
    "what cannot be read": ("a", DirectoryState(UNREADABLE, why="denied"), NOBODY, (EMPTY, EMPTY), WAIT, "denied"),
    "others were cloned, and nobody says from what": (
        "a",
        NOTHING,
        LOST,
        (EMPTY, EMPTY),
        WAIT,
        "others were cloned, and not",
    ),
    "it has begun, and others were cloned": (
        "a",
        NOTHING,
        replace(A_BEGUN, grown=True),
        (EMPTY, EMPTY),
        WAIT,
        "others were cloned, and not from which cluster",
    ),
    "it has begun, and has data that are not new": (
        "a",
        DATA,
        A_BEGUN,
        (EMPTY, EMPTY),
        WAIT,
        "nobody knows whether these are .* remove the claim and the pod of a",
    ),
    "another has begun, and there are data": ("b", DATA, A_BEGUN, (SILENT, SILENT), LEAVE, "^$"),
    "a witness": ("w", NOTHING, UNREAD, (SILENT, SILENT), MAKE, "w is a witness"),
    "a witness whose server was never started": ("w", FRESH, UNREAD, (SILENT, SILENT), START, "w is a witness"),
    "a witness with data": ("w", DATA, UNREAD, (SILENT, SILENT), LEAVE, "^$"),
}


@pytest.mark.parametrize(("me", "mine", "record", "said", "done", "why"), CASES.values(), ids=list(CASES))
def test_what_a_node_without_data_does(
    me: str, mine: DirectoryState, record: Initialization | None, said: Said, done: str, why: str
) -> None:
    others = [node.name for node in DEMO.data_nodes if node.name != me]
    found = decide(DEMO, me, mine, record, dict(zip(others, said)))
    assert found.done == done
    assert re.search(why, found.why), found.why
    assert bool(found.target) == (done == CLONE)


@pytest.mark.parametrize("name", sorted(CASES))
def test_nobody_makes_a_cluster_beside_one_that_may_be(name: str) -> None:
    """Whatever the row says: a silent node without a record, one that may hold it, or a record of another keeps initdb away."""
    me, _mine, record, said, done, _why = CASES[name]
    if me == "w" or done not in (BEGIN, MAKE, END):
        return
    assert record is not None
    assert not record.grown
    assert record.by in ("", me)
    assert not record.system_id
    assert all(one is None or one.directory.kind == NONE for one in said)
    assert record.by == me or None not in said


@pytest.mark.parametrize(
    ("found", "by", "system_id", "after_begin", "after_end"),
    [
        (NOBODY, "a", US, A_BEGUN, NOBODY),
        (A_BEGUN, "a", US, A_BEGUN, A_DONE),
        (A_BEGUN, "b", US, A_BEGUN, A_BEGUN),
        (A_DONE, "a", THEM, A_DONE, A_DONE),
        (A_DONE, "b", THEM, A_DONE, A_DONE),
        (Initialization("a", grown=True), "a", US, Initialization("a", grown=True), Initialization("a", US, True)),
        # What it knew is kept.
        (LOST, "a", US, Initialization("a", grown=True), LOST),
        (Initialization("", US), "a", THEM, Initialization("", US), Initialization("", US)),
    ],
)
def test_the_record_is_written_once(
    found: Initialization, by: str, system_id: str, after_begin: Initialization, after_end: Initialization
) -> None:
    assert (begun(found, by), ended(found, by, system_id)) == (after_begin, after_end)


@pytest.mark.parametrize(
    ("system_id", "record", "is_wrong"),
    [
        (US, A_DONE, False),
        (THEM, A_DONE, True),
        (THEM, A_BEGUN, False),
        (THEM, NOBODY, False),
        (THEM, UNREAD, False),
        ("", A_DONE, False),
    ],
)
def test_data_of_another_cluster(system_id: str, record: Initialization | None, is_wrong: bool) -> None:
    assert bool(another("a", system_id, record)) is is_wrong


@pytest.mark.parametrize(
    ("primary", "record", "does"),
    [
        ("a", NOBODY, True),
        ("a", LOST, True),
        ("a", A_BEGUN, True),
        # Whoever has begun, and not ended, has nothing that counts.
        ("a", Initialization("b"), True),
        ("a", A_DONE, False),
        ("a", B_DONE, False),
        ("b", NOBODY, False),
        ("", NOBODY, False),
    ],
)
def test_a_record_that_is_gone_is_written_by_the_primary(primary: str, record: Initialization, does: bool) -> None:
    assert adopts("a", primary, record) is does
    written = adopted(record, "a", US)
    assert written == (Initialization("a", US, True) if not record.system_id else record)


@pytest.mark.parametrize("record", [A_BEGUN, Initialization("b"), LOST, NOBODY])
def test_what_a_lost_record_is_written_as_makes_no_second_cluster(record: Initialization) -> None:
    """Whatever was left of it, and whoever has lost its claim and is alone then."""
    written = adopted(record, "b", US)
    for me in ("a", "b", "c"):
        others = [node.name for node in DEMO.data_nodes if node.name != me]
        for said in (EMPTY, SILENT):
            found = decide(DEMO, me, NOTHING, written, dict.fromkeys(others, said))
            assert (found.done, "no primary answers" in found.why) == (WAIT, True), me


@pytest.mark.parametrize(
    ("record", "said"), [(A_BEGUN, True), (A_DONE, False), (B_DONE, False), (NOBODY, False), (UNREAD, False)]
)
def test_data_that_nobody_explains(record: Initialization | None, said: bool) -> None:
    assert bool(unexplained("a", record)) is said


@pytest.mark.parametrize(
    ("me", "system_id", "record", "others"),
    [
        ("a", US, A_DONE, ("b", "c")),
        ("a", US, replace(A_DONE, grown=True), ()),
        ("a", THEM, A_DONE, ()),
        ("a", US, B_DONE, ()),
        ("a", US, A_BEGUN, ()),
        ("a", US, NOBODY, ()),
        ("a", US, UNREAD, ()),
    ],
)
def test_before_a_clone_nobody_else_has_anything(
    me: str, system_id: str, record: Initialization | None, others: tuple[str, ...]
) -> None:
    assert without_others(DEMO, me, system_id, record) == others


def test_a_record_of_before_is_none_after_a_promotion() -> None:
    assert without_others(DEMO, "a", US, A_DONE, 1) == ("b", "c")
    assert without_others(DEMO, "a", US, A_DONE, 2) == ()


ALONE = NodeState(False, 1, US, name="a")
BELOW = NodeState(True, 1, US, name="b", receiver="streaming", upstream="a")


@pytest.mark.parametrize(
    ("what", "me", "states", "record", "does"),
    [
        ("nobody has been cloned", "a", [ALONE], A_DONE, False),
        ("one streams", "a", [ALONE, BELOW], A_DONE, True),
        ("one runs", "a", [ALONE, replace(BELOW, receiver="")], A_DONE, True),
        ("one is another cluster's", "a", [ALONE, replace(BELOW, system_id=THEM)], A_DONE, False),
        ("a witness is a cluster of its own", "a", [ALONE, NodeState(False, 1, THEM, name="w")], A_DONE, False),
        ("one that cannot be asked streams", "a", [replace(ALONE, senders={"b": ""})], A_DONE, True),
        ("a new one does", "a", [replace(ALONE, senders={"(new) c": ""})], A_DONE, True),
        ("Barman does", "a", [replace(ALONE, senders={"barman_receive_wal": ""})], A_DONE, False),
        ("it is admitted alone", "a", [replace(ALONE, members={"a": "1"})], A_DONE, False),
        ("one that is gone was admitted", "a", [replace(ALONE, members={"a": "1", "c": "2"})], A_DONE, True),
        ("all are gone, and one was promoted", "a", [replace(ALONE, timeline=2)], A_DONE, True),
        ("a copy sees it", "b", [BELOW], A_DONE, True),
        ("a copy was promoted", "b", [NodeState(False, 2, US, name="b")], A_DONE, True),
        ("it follows one that cannot be asked", "a", [replace(BELOW, name="a")], A_DONE, True),
        ("it is made a standby of nobody, alone", "a", [NodeState(True, 1, US, name="a")], A_DONE, False),
        ("it says so", "a", [ALONE, BELOW], replace(A_DONE, grown=True), False),
        ("it has no identifier: the primary writes all", "a", [ALONE, BELOW], A_BEGUN, False),
        ("it says nothing", "a", [ALONE, BELOW], NOBODY, False),
        ("it cannot be read", "a", [ALONE, BELOW], UNREAD, False),
        ("it is of another cluster", "b", [replace(BELOW, system_id=THEM)], A_DONE, False),
        ("its own server does not answer", "a", [BELOW], A_DONE, False),
    ],
)
def test_a_record_from_before_the_first_copy_grows_again(
    what: str, me: str, states: list[NodeState], record: Initialization | None, does: bool
) -> None:
    assert grows(DEMO, me, {state.name: state for state in states}, record) is does, what


def test_a_copy_is_made_from_a_standby_that_streams() -> None:
    later = replace(DEMO, nodes=(*DEMO.nodes[:2], replace(DEMO.nodes[2], settings={"recovery_min_apply_delay": "1h"})))
    assert sources(DEMO, "a", {"a": PRIMARY, "b": STANDBY, "c": EMPTY}) == ["b"]
    assert sources(DEMO, "a", {"a": PRIMARY, "b": SILENT, "c": STANDBY}) == ["c"]
    assert sources(later, "a", {"a": PRIMARY, "b": SILENT, "c": STANDBY}) == []
    assert sources(DEMO, "a", {"a": SILENT, "b": STANDBY, "c": STANDBY}) == []
    resting = NodeEvidence(STANDBY.directory, replace(STANDBY.state or NodeState(True, 1, US), receiver=""))
    assert sources(DEMO, "a", {"a": PRIMARY, "b": resting}) == []
    # Of another server, which may be no primary of the cluster's, and of the one before.
    strays = NodeEvidence(STANDBY.directory, replace(STANDBY.state or NodeState(True, 1, US), upstream="c"))
    assert sources(DEMO, "a", {"a": PRIMARY, "b": strays}) == []
    before = NodeEvidence(PRIMARY.directory, replace(PRIMARY.state or NodeState(False, 1, US), timeline=2))
    assert sources(DEMO, "a", {"a": before, "b": STANDBY}) == []
