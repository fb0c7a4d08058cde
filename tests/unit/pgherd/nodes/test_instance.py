# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What may be initialised, started, reloaded or restarted, and what must be left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from pgherd.errors import Conflict
from pgherd.model import Cluster, Node
from pgherd.nodes import instance
from pgherd.nodes.evidence import Evidence, Stopped, parse
from pgherd.nodes.instance import Instance, made_a_standby, plan
from pgherd.plan import Plan

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2", "pg1"),
        Node("pg3", 3, "postgres", "pg3", "pg1"),
        Node("w1", 4, "witness", "w1", "pg1", priority=0),
    ),
)
EMPTY = Instance("")
STOPPED = Instance("", data="cluster", system_identifier="7", timeline=1)
RUNNING = replace(STOPPED, running=True, role="primary")
STANDBY = replace(STOPPED, standby=True, running=True, role="standby")


def at(name: str, state: Instance) -> Instance:
    return replace(state, name=name)


def peers(pg2: Optional[Instance], pg3: Optional[Instance]) -> dict[str, Optional[Instance]]:
    return {"pg2": at("pg2", pg2) if pg2 else None, "pg3": at("pg3", pg3) if pg3 else None}


def actions(mine: Instance, others: dict[str, Optional[Instance]], **options: Any) -> list[str]:
    return [step.action for step in plan(CLUSTER, mine, others, **options)[0].steps]


def test_first_day() -> None:
    assert actions(at("pg1", EMPTY), peers(EMPTY, EMPTY)) == ["initialize", "start"]


def test_standby_without_data_is_cloned_elsewhere() -> None:
    assert actions(at("pg2", EMPTY), {"pg1": at("pg1", RUNNING), "pg3": at("pg3", EMPTY)}) == []


def test_witness_has_its_own_cluster() -> None:
    assert actions(at("w1", EMPTY), {"pg1": None, "pg2": None, "pg3": None}) == ["initialize", "start"]


@pytest.mark.parametrize(
    "others",
    [peers(STANDBY, EMPTY), peers(replace(STOPPED, standby=True), EMPTY), peers(None, EMPTY)],
)
def test_never_an_empty_primary_where_a_cluster_may_be(others: dict[str, Optional[Instance]]) -> None:
    with pytest.raises(Conflict):
        plan(CLUSTER, at("pg1", EMPTY), others)


def test_blind_initialisation_is_asked_for() -> None:
    assert actions(at("pg1", EMPTY), peers(None, EMPTY), initialize_blind=True) == ["initialize", "start"]
    with pytest.raises(Conflict):
        plan(CLUSTER, at("pg1", EMPTY), peers(None, STANDBY), initialize_blind=True)


def test_an_emptied_first_primary_is_cloned_from_the_new_one() -> None:
    assert actions(at("pg1", EMPTY), peers(replace(RUNNING, timeline=2), STANDBY)) == []


def test_foreign_files_are_never_touched() -> None:
    with pytest.raises(Conflict, match="holds files, but no cluster"):
        plan(CLUSTER, replace(at("pg1", EMPTY), data="other"), peers(EMPTY, EMPTY))


@pytest.mark.parametrize(
    ("others", "starts"),
    [
        (peers(STANDBY, STANDBY), True),
        (peers(STANDBY, None), True),  # one silent node alone cannot have been promoted: R = 2
        (peers(None, None), False),
        (peers(replace(RUNNING, timeline=2), STANDBY), False),
        (peers(replace(STOPPED, timeline=2), STANDBY), False),
        (peers(replace(STOPPED, timeline=2, system_identifier="8"), STANDBY), True),
    ],
)
def test_a_stopped_primary(others: dict[str, Optional[Instance]], starts: bool) -> None:
    todo, left_alone = plan(CLUSTER, at("pg1", STOPPED), others)
    assert ([step.action for step in todo.steps], bool(left_alone)) == ((["start"], False) if starts else ([], True))


def test_async_durability_trusts_no_silent_node() -> None:
    todo, left_alone = plan(replace(CLUSTER, durability="async"), at("pg1", STOPPED), peers(STANDBY, None))
    assert not todo.changed
    assert "pg3 cannot be asked" in left_alone


def test_a_stopped_standby_may_always_start() -> None:
    mine = at("pg2", replace(STOPPED, standby=True))
    assert actions(mine, {"pg1": None, "pg3": None}) == ["start"]


@pytest.mark.parametrize("data", ["none", "cluster", "broken", "other"])
def test_one_that_another_starts_is_left_to_it(data: str) -> None:
    """A pod's agent. What stands there is not judged here either."""
    for node in CLUSTER.nodes:
        todo, why = plan(CLUSTER, Instance(node.name, data=data), {}, start=False, files_changed=True, restart=True)
        assert (todo.steps, why) == ((), "")


def test_a_primary_that_its_guard_made_a_standby_is_said() -> None:
    todo, _left_alone = plan(CLUSTER, at("pg1", STOPPED), peers(STANDBY, STANDBY))
    before, standby = at("pg1", STOPPED), at("pg1", STANDBY)
    assert "the start guard has started it as a standby" in made_a_standby(before, todo, standby)
    assert made_a_standby(before, todo, at("pg1", RUNNING)) == ""
    assert made_a_standby(replace(before, standby=True), todo, standby) == ""
    assert made_a_standby(standby, Plan("pg1", {}, {}), standby) == ""


def test_the_guard_hears_what_it_cannot_ask() -> None:
    """A primary's start is told what was seen of the others; a standby's needs nothing, and what runs can be asked."""
    down = replace(STOPPED, standby=True, follows="pg1")
    todo, _left_alone = plan(CLUSTER, at("pg1", STOPPED), peers(down, EMPTY))
    said = {"standby": True, "system_id": STOPPED.system_identifier, "timeline": 1, "follows": "pg1"}
    assert [step.args for step in todo.steps] == [{"stopped": {"pg2": said}, "empty": ["pg3"]}]
    assert parse(json.dumps(todo.steps[0].args)) == Evidence(stopped={"pg2": Stopped(**said)}, empty=("pg3",))
    todo, _left_alone = plan(CLUSTER, at("pg1", STOPPED), peers(STANDBY, None))
    assert [step.args for step in todo.steps] == [{"stopped": {}, "empty": []}]
    todo, _left_alone = plan(CLUSTER, at("pg1", replace(STOPPED, standby=True)), peers(down, down))
    assert [step.args for step in todo.steps] == [{}]
    todo, _left_alone = plan(CLUSTER, at("pg1", EMPTY), peers(EMPTY, EMPTY))
    assert [step.args for step in todo.steps] == [{}, {"new": True}]


def test_new_data_begin_the_cluster_as_no_data_would() -> None:
    """A run ended between initdb and the first start, and a node is missing: no standby of nobody, and no second cluster."""
    mine = at("pg1", replace(STOPPED, fresh=True))
    for others, options in ((peers(EMPTY, EMPTY), {}), (peers(EMPTY, None), {"initialize_blind": True})):
        todo, left_alone = plan(CLUSTER, mine, others, **options)
        assert ([(step.action, step.args) for step in todo.steps], left_alone) == ([("start", {"new": True})], "")
    with pytest.raises(Conflict, match=r"pg3 cannot be asked whether it holds the cluster.* cluster_initialize=true"):
        plan(CLUSTER, mine, peers(EMPTY, None))


def test_what_would_be_a_standby_of_nobody_is_left_alone() -> None:
    """The first primary after its first start, with one node missing and no standby yet: pg2 can say nothing, nor can pg3."""
    todo, left_alone = plan(CLUSTER, at("pg1", STOPPED), peers(EMPTY, None), initialize_blind=True)
    assert not todo.changed
    assert "pg3 cannot be asked" in left_alone
    assert "pg2 has no data that could tell" in left_alone


@pytest.mark.parametrize("data", ["other", "broken"])
def test_what_is_no_whole_cluster_waits_for_a_clone_where_it_may_go(data: str) -> None:
    mine = replace(at("pg2", EMPTY), data=data)
    others: dict[str, Optional[Instance]] = {"pg1": at("pg1", RUNNING), "pg3": at("pg3", STANDBY)}
    assert actions(mine, others, wipe=True) == []
    with pytest.raises(Conflict, match="name the host in cluster_wipe"):
        plan(CLUSTER, mine, others)
    with pytest.raises(Conflict, match="name the host in cluster_wipe"):
        plan(CLUSTER, mine, {"pg1": at("pg1", STOPPED), "pg3": None}, wipe=True)


def test_a_backup_that_never_ended_is_left_to_a_clone() -> None:
    mine = Instance("pg2", data="broken", system_identifier="7")
    others: dict[str, Optional[Instance]] = {"pg1": at("pg1", RUNNING), "pg3": at("pg3", STANDBY)}
    assert plan(CLUSTER, mine, others)[1] == ""
    assert not plan(CLUSTER, mine, others)[0].changed
    assert "when there is a primary" in plan(CLUSTER, mine, {**others, "pg1": None})[1]


@pytest.mark.parametrize(
    ("what", "others", "expected"),
    [
        ("cloned later", peers(RUNNING, STANDBY), []),
        ("nobody to clone it from", peers(STANDBY, None), ["start"]),
    ],
)
def test_one_whose_data_may_go_is_not_waited_for(
    what: str, others: dict[str, Optional[Instance]], expected: list[str]
) -> None:
    """D7: a recovery that lacks WAL never ends its start."""
    assert actions(at("pg1", replace(STOPPED, standby=True)), others, wipe=True) == expected, what
    assert actions(at("pg1", STANDBY), others, wipe=True) == []


def test_reload() -> None:
    mine = at("pg1", RUNNING)
    assert actions(mine, peers(STANDBY, STANDBY)) == []
    assert actions(replace(mine, stale=True), peers(STANDBY, STANDBY)) == ["reload"]
    assert actions(mine, peers(STANDBY, STANDBY), files_changed=True) == ["reload"]


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (peers(replace(RUNNING, timeline=2), replace(STANDBY, timeline=2)), "pg2 is primary now (timeline 2)"),
        (peers(replace(STANDBY, system_identifier="8"), replace(STANDBY, system_identifier="8")), "another cluster"),
        (peers(STANDBY, replace(RUNNING, system_identifier="8", timeline=9)), ""),
        (peers(replace(RUNNING, system_identifier="8", timeline=9), None), ""),
        (peers(None, None), ""),
    ],
    ids=["a newer one", "a foreign one", "beside a foreign one", "it or the other: the first day's", "alone"],
)
def test_nothing_is_written_to_a_primary_that_is_not_the_clusters(
    others: dict[str, Optional[Instance]], reason: str
) -> None:
    todo, left_alone = plan(CLUSTER, at("pg1", replace(RUNNING, pending={"a": "1 -> 2"})), others, files_changed=True)
    assert [step.action for step in todo.steps] == ([] if reason else ["reload"])
    assert reason in left_alone
    assert bool(reason) == bool(left_alone)


def test_restart_only_where_asked_for() -> None:
    mine = replace(at("pg2", STANDBY), pending={"shared_buffers": "128MB -> 256MB"})
    assert actions(mine, {}) == []
    assert actions(mine, {}, restart=True) == ["restart"]
    assert actions(at("pg2", STANDBY), {}, restart=True) == []


def test_instance_survives_its_own_dictionary() -> None:
    mine = replace(at("pg2", STANDBY), pending={"a": "1 -> 2"}, lowered=("a",), restoring=True, fresh=True)
    assert Instance.from_dict(mine.to_dict()) == mine


def test_whom_a_host_names_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert (instance._names(str(path)), instance._counts(str(path))) == ("", {})
    path.write_text("port = 5432\nsynchronous_standby_names = 'ANY 1 (\"pg1\", \"o''brien\")'\n")
    assert instance._names(str(path)) == 'ANY 1 ("pg1", "o\'brien")'
    assert instance._counts(str(path)) == {}
    path.write_text(json.dumps(CLUSTER.to_dict()))
    assert instance._counts(str(path)) == {"names": ["pg1", "pg2", "pg3"], "needed": 1}
    path.write_text(json.dumps(replace(CLUSTER, counted=("pg1", "pg2"), sync_standbys=2).to_dict()))
    assert instance._counts(str(path)) == {"names": ["pg1", "pg2"], "needed": 2}
    path.write_text(json.dumps(replace(CLUSTER, durability="async").to_dict()))
    assert instance._counts(str(path)) == {}


@pytest.mark.parametrize(
    ("pending", "failed", "expected"),
    [
        ({"huge_pages": "try -> on"}, ("pg2",), ["put_back"]),
        # It has started with what it has.
        ({}, ("pg2",), []),
        ({"huge_pages": "try -> on"}, (), []),
    ],
)
@pytest.mark.parametrize("state", [RUNNING, STANDBY])
def test_what_waits_is_taken_back_where_another_did_not_come_back(
    state: Instance, pending: dict[str, str], failed: tuple[str, ...], expected: list[str]
) -> None:
    mine = at("pg1", replace(state, pending=pending))
    assert actions(mine, peers(STANDBY, STANDBY), failed=failed) == expected


def test_a_stopped_one_has_nothing_to_take_back() -> None:
    assert actions(at("pg1", replace(STOPPED, standby=True)), peers(RUNNING, STANDBY), failed=("pg2",)) == ["start"]
