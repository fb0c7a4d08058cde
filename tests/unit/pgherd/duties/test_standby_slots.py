# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which slots of ours are left over, and which a node is about to need."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from here import here_of
from pgherd.agent.upkeep import INTERVAL, OFF_UPSTREAM, Upkeep
from pgherd.duties.slots import decide
from pgherd.model import Barman, Cluster, Node
from pgherd.observe.node_state import LogicalSlot, NodeState, Survey
from pgherd.observe.tracker import Tracker
from pgherd.ports.links import Links
from pgherd.ports.services import REPMGRD, RUNNING, STOPPED
from pgherd.render.conf_cluster import text

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2", "pg1"),
        Node("pg3", 3, "postgres", "pg3", "pg1"),
    ),
)
PRIMARY = NodeState(
    False,
    1,
    "7",
    "0/5000000",
    name="pg1",
    slots={"repmgr_slot_2": ("0/5000000", True), "repmgr_slot_3": ("0/5000000", True)},
)
STANDBY = NodeState(True, 1, "7", name="pg2", upstream="pg1", receiver="streaming")


def drops(slots: dict[str, tuple[str, bool]], current: bool = True) -> list[str]:
    mine = replace(PRIMARY, slots={**PRIMARY.slots, **slots})
    survey = Survey({"pg1": mine, "pg2": STANDBY, "pg3": replace(STANDBY, name="pg3")})
    changes = decide(CLUSTER, "pg1", "pg1", survey, ("barman",), current)
    return [change.name for change in changes if change.action == "drop"]


@pytest.mark.parametrize(
    ("slots", "current", "dropped"),
    [
        ({"repmgr_slot_9": ("0/4000000", False)}, True, ["repmgr_slot_9"]),
        # A host is being added: the agent has not been told yet, and the clone has made its slot.
        ({"repmgr_slot_9": ("0/4000000", False)}, False, []),
        ({"repmgr_slot_9": ("0/4000000", True)}, True, []),
        ({"repmgr_slot_1": ("0/4000000", False)}, False, ["repmgr_slot_1"]),
        ({"theirs": ("0/4000000", False)}, True, []),
    ],
    ids=["of nobody", "of a node to come", "in use", "its own", "a foreign one"],
)
def test_left_over(slots: dict[str, tuple[str, bool]], current: bool, dropped: list[str]) -> None:
    assert drops(slots, current) == dropped


TREE = replace(
    CLUSTER,
    nodes=(*CLUSTER.nodes, Node("pg4", 4, "postgres", "pg4", "pg2"), Node("w1", 9, "witness", "w1", "pg1")),
    barmans=(Barman("backup1", "backup1"),),
)
HEAD = replace(PRIMARY, slots={**PRIMARY.slots, "barman": ("0/4800000", True)})
LAGGING = replace(STANDBY, name="pg3", replay_lsn="0/4000000")


Slots = dict[str, tuple[Optional[str], bool]]


def changes(me: str, slots: Slots, *others: NodeState, primary: str = "pg1") -> set[tuple[str, str, str]]:
    mine = replace(STANDBY, name=me, slots=slots, replay_lsn="0/4F00000")
    if me == "pg1":
        mine = replace(HEAD, slots=slots)
    states = {state.name: state for state in (HEAD, LAGGING, *others, mine)}
    found = decide(TREE, me, primary, Survey(states), ("barman",))
    return {(change.action, change.name, change.lsn) for change in found}


def test_an_electable_standby_gets_all_that_a_primary_needs() -> None:
    """C68: before any failover; its own reader by design too, the witness not."""
    assert changes("pg2", {}) == {("create", f"repmgr_slot_{n}", "") for n in (1, 3, 4)} | {("create", "barman", "")}


def test_one_that_is_not_electable_keeps_slots_for_those_below_it_only() -> None:
    assert changes("pg4", {}) == set()
    assert changes("pg4", {"repmgr_slot_8": ("0/1", False)}) == {("drop", "repmgr_slot_8", "")}


KEPT = {"repmgr_slot_1": ("0/4F00000", False), "repmgr_slot_4": ("0/1", True), "barman": ("0/4800000", False)}


@pytest.mark.parametrize(
    ("what", "slots", "expected"),
    [
        (
            "up to what the reader has confirmed",
            {"repmgr_slot_3": ("0/3000000", False)},
            ("advance", "repmgr_slot_3", "0/5000000"),
        ),
        (
            "Barman's too",
            {"repmgr_slot_3": ("0/5000000", False), "barman": ("0/1", False)},
            ("advance", "barman", "0/4800000"),
        ),
        ("never back", {"repmgr_slot_3": ("0/6000000", False)}, None),
        ("never one in use", {"repmgr_slot_3": ("0/3000000", True)}, None),
        ("a lost one is made anew", {"repmgr_slot_3": (None, False)}, ("drop", "repmgr_slot_3", "")),
        ("foreign ones are nobody's business", {"repmgr_slot_3": ("0/5000000", False), "theirs": ("0/1", False)}, None),
        ("foreign ones without WAL too", {"repmgr_slot_3": ("0/5000000", False), "theirs": (None, False)}, None),
    ],
)
def test_slots_of_a_standby_move_on(what: str, slots: Slots, expected: tuple[str, str, str] | None) -> None:
    assert changes("pg2", {**KEPT, **slots}) == ({expected} if expected else set()), what


def test_a_slot_that_has_lost_wal_is_made_anew_where_nobody_reads_it() -> None:
    """Barman reads the primary's: what that has lost is a person's to know."""
    lost = {"barman": (None, False)}
    assert changes("pg2", {**KEPT, **lost}) >= {("drop", "barman", "")}
    assert drops(dict(lost)) == []


def test_never_beyond_a_reader_that_is_behind() -> None:
    """C69: its slot on the primary is not in use; what it has replayed is safe."""
    head = replace(HEAD, slots={"repmgr_slot_3": ("0/5000000", False)})
    assert ("advance", "repmgr_slot_3", "0/4000000") in changes("pg2", {**KEPT, "repmgr_slot_3": ("0/1", False)}, head)
    gone = replace(LAGGING, receiver="")
    moved = changes("pg2", {**KEPT, "repmgr_slot_3": ("0/1", False)}, head, gone)
    assert not [change for change in moved if change[1] == "repmgr_slot_3"]


def test_a_primary_moves_no_slot() -> None:
    """Its reader does, or it keeps the WAL for it."""
    slots = {f"repmgr_slot_{n}": ("0/1", False) for n in (2, 3)} | {"barman": ("0/1", False)}
    assert changes("pg1", slots) == set()


OWN, COPIED = LogicalSlot(True, False, False), LogicalSlot(True, True, False)


@pytest.mark.parametrize(
    ("what", "here", "there", "dropped"),
    [
        ("a former primary's own, which the primary has", OWN, COPIED, True),
        ("a copy", COPIED, OWN, False),
        ("the primary does not have it: nobody has another", OWN, None, False),
        ("the primary's is another that is not copied", OWN, LogicalSlot(False, False, False), False),
        ("somebody reads it", replace(OWN, active=True), COPIED, False),
        ("a standby's own, made here", LogicalSlot(False, False, False), OWN, False),
    ],
)
def test_a_logical_slot_is_out_of_the_way_of_its_copy(
    what: str, here: LogicalSlot, there: LogicalSlot | None, dropped: bool
) -> None:
    head = replace(HEAD, logical={"sub": there} if there else {})
    mine = replace(STANDBY, logical={"sub": here}, slots=KEPT | {"repmgr_slot_3": ("0/5000000", False)})
    found = decide(TREE, "pg2", "pg1", Survey({"pg1": head, "pg2": mine, "pg3": LAGGING}), ("barman",))
    assert [(change.action, change.name) for change in found] == ([("drop", "sub")] if dropped else []), what


def test_a_primary_keeps_its_logical_slots() -> None:
    head = replace(HEAD, logical={"sub": OWN, "old": COPIED})
    for primary in ("pg1", ""):
        found = decide(TREE, "pg1", primary, Survey({"pg1": head, "pg2": replace(STANDBY, logical={"sub": OWN})}), ())
        assert not [change for change in found if change.name in ("sub", "old")]


def test_without_slots_there_is_nothing_to_do() -> None:
    off = replace(TREE, replication_slots=False)
    assert decide(off, "pg2", "pg1", Survey({"pg2": STANDBY}), ("barman",)) == []
    assert decide(TREE, "pg2", "pg1", Survey(), ("barman",)) == []


class Told:
    """A server that keeps the statements it is given."""

    name = "pg1"

    def __init__(self) -> None:
        self.statements: list[tuple[str, Any]] = []

    def rows(self, query: str, params: Optional[Sequence[Any]] = None) -> list[dict[str, Any]]:
        self.statements.append((query, params))
        return []

    def run(self, statement: str, params: Optional[Sequence[Any]] = None) -> None:
        self.statements.append((statement, params))

    def close(self) -> None:
        pass


def test_an_agent_with_an_older_description_keeps_the_slot_of_a_node_that_is_being_added(tmp_path: Path) -> None:
    told, server = tmp_path / "cluster.json", Told()
    told.write_text(text(CLUSTER))
    links = Links(lambda _name: server, lambda: None)
    upkeep = Upkeep(here_of(CLUSTER, "pg1", links), Tracker(CLUSTER, "pg1"), str(told))
    mine = replace(PRIMARY, slots={**PRIMARY.slots, "repmgr_slot_9": ("0/4000000", False)})
    survey = Survey({"pg1": mine, "pg2": STANDBY, "pg3": replace(STANDBY, name="pg3")})

    def dropped(now: float) -> bool:
        server.statements.clear()
        upkeep.tick(now, mine, survey, "")
        return ("SELECT pg_drop_replication_slot(%s)", ("repmgr_slot_9",)) in server.statements

    assert dropped(0.0)
    # The playbook has written another one, which the agent is to take up later in the run.
    for turn, other in enumerate((text(replace(CLUSTER, sync_standbys=2)), "{"), 1):
        told.write_text(other)
        os.utime(told, (turn, turn))
        assert not dropped(2 * turn * INTERVAL)
    told.unlink()
    assert not dropped(6 * INTERVAL)
    # It was put back, and written once more as it is.
    told.write_text(text(CLUSTER))
    assert dropped(8 * INTERVAL)
    os.utime(told, (9, 9))
    assert dropped(10 * INTERVAL)


def test_a_description_that_was_written_while_an_agent_began_is_another_one(tmp_path: Path) -> None:
    told = tmp_path / "cluster.json"
    told.write_text(text(replace(CLUSTER, sync_standbys=2)))
    upkeep = Upkeep(
        here_of(CLUSTER, "pg1", Links(lambda _name: Told(), lambda: None)), Tracker(CLUSTER, "pg1"), str(told)
    )
    assert not upkeep._is_current()


class Repmgrd:
    """A repmgrd that runs, or does not."""

    def __init__(self, active: bool) -> None:
        self.active, self.restarts = active, 0

    def state(self, name: str) -> str:
        assert name == REPMGRD
        return RUNNING if self.active else STOPPED

    def restart(self, _name: str, wait: bool = True) -> None:
        assert not wait, "it looks after the fence too"
        self.restarts += 1


@pytest.mark.parametrize(
    ("what", "active", "state", "restarts"),
    [
        ("all is well", True, PRIMARY, 0),
        ("F01: the postmaster was restarted under it", True, replace(PRIMARY, repmgrd=False), 1),
        ("a person stopped it", False, replace(PRIMARY, repmgrd=False), 0),
        ("a standby's that has lost its upstream", True, replace(STANDBY, upstream_seen_age=60), 1),
    ],
)
def test_a_repmgrd_that_is_of_no_use_is_restarted_once(
    what: str, active: bool, state: NodeState, restarts: int
) -> None:
    unit = Repmgrd(active)
    links = Links(lambda _name: Told(), lambda: None)
    said: list[str] = []
    tracker = Tracker(CLUSTER, "pg1")
    upkeep = Upkeep(here_of(CLUSTER, "pg1", links, services=unit, say=said.append), tracker)
    upkeep._repmgrd(0.0, state)
    upkeep._repmgrd(OFF_UPSTREAM - 1, state)
    assert not unit.restarts, what
    upkeep._repmgrd(OFF_UPSTREAM, state)
    upkeep._repmgrd(OFF_UPSTREAM + INTERVAL, state)
    assert (unit.restarts, len(said)) == (restarts, restarts), what
