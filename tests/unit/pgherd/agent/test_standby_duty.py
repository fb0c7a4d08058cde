# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent counts, in seconds, before it acts: a wait that has a break in it begins anew."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import standby_duty
from pgherd.agent.comparison import Comparison
from pgherd.agent.standby_duty import StandbyDuty
from pgherd.agent.work import Work
from pgherd.data.wal import AvailableWal
from pgherd.duties import standby
from pgherd.errors import Conflict
from pgherd.model import Cluster
from pgherd.observe.node_state import NodeState, Survey
from pgherd.observe.tracker import OF_STANDBY, Tracker
from pgherd.options import Options
from pgherd.ports.links import Links
from pgherd.ports.services import FAILED, STARTING
from states import cluster, primary, streaming, survey
from states import standby as voice_of
from world import CLUSTER as TREE

THREE = cluster(3)
FIRST, SECOND = "000000010000000000000003", "000000010000000000000004"


def duty_of(world: Cluster, me: str, service: Any = None) -> StandbyDuty:
    """The standby's duty on *me*, which may ask nobody."""
    links = Links(lambda name: pytest.fail(f"asked {name}"), lambda: None)
    return StandbyDuty(here_of(world, me, links, services=service), Tracker(world, me), Work(print))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What every look at the silent server is told of its wait, in seconds."""
    told: list[float] = []
    monkeypatch.setattr(standby, "decide_down", lambda seen: told.append(seen.waiting) or standby.Duty(""))
    return told


@pytest.mark.parametrize(
    ("what", "between"),
    [
        ("the server answers in between", "run"),
        ("its unit ends and starts again", "failed"),
        ("it gets on to another segment", SECOND),
        ("its startup process is not seen", ""),
    ],
)
def test_a_recovery_is_given_up_for_one_segment_only(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], what: str, between: str
) -> None:
    at, state = (FIRST, True), STARTING
    monkeypatch.setattr(standby_duty.wal, "recovering", lambda _directory: at)
    duty = duty_of(THREE, "pg1", SimpleNamespace(state=lambda _name: state))
    duty.down(0.0, "")
    duty.down(15.0, "")
    assert waits == [0.0, 15.0]
    if between == "run":
        duty.run(16.0, voice_of("pg1", 1), Survey({}, {}), "")
    else:
        state, at = (FAILED, at) if between == "failed" else (state, (between, bool(between)))
        duty.down(16.0, "")
        state, at = STARTING, (FIRST, True)
    duty.down(18.0, "")
    duty.down(20.0, "")
    assert waits[-2:] == [0.0, 2.0], what


MIDDLE, LEAF = streaming("pg2"), streaming("pg3", follows="pg1")


@pytest.mark.parametrize(
    ("what", "middle", "leaf", "away"),
    [
        ("it streams from the primary, its upstream by design is back", MIDDLE, LEAF, 60.0),
        ("it is where it should be", MIDDLE, streaming("pg3", follows="pg2"), 0.0),
        ("its upstream does not stream", voice_of("pg2"), LEAF, 0.0),
        ("its upstream streams from itself", streaming("pg2", follows="pg3"), LEAF, 0.0),
        ("it is sealed", MIDDLE, voice_of("pg3", follows=""), 0.0),
        ("it has no stream", MIDDLE, voice_of("pg3", follows="pg1"), 0.0),
    ],
)
def test_how_long_a_leaf_is_away(
    monkeypatch: pytest.MonkeyPatch, what: str, middle: NodeState, leaf: NodeState, away: float
) -> None:
    told: list[float] = []
    monkeypatch.setattr(standby, "decide", lambda seen: told.append(seen.off_design) or standby.Duty(""))
    monkeypatch.setattr(Comparison, "parted", lambda *_: False)
    duty = duty_of(TREE, "pg3")
    for now in (0.0, 60.0):
        duty.run(now, leaf, survey(primary("pg1"), middle, leaf), "pg1")
    assert told == [0.0, away], what


def stuck(monkeypatch: pytest.MonkeyPatch, foreign: str, oldest: int) -> list[standby.Standby]:
    """What is decided about pg2, which is pointed at pg1 and does not stream for 20 s; what was found out about it."""
    seen: list[standby.Standby] = []
    monkeypatch.setattr(standby, "decide", lambda found: seen.append(found) or standby.Duty(""))
    monkeypatch.setattr(standby_duty.last_words, "said", lambda *_: "FATAL: could not connect to the primary server")
    monkeypatch.setattr(standby_duty.datadir, "local", lambda *_: None)
    monkeypatch.setattr(standby_duty, "foreign", lambda *_: foreign)
    monkeypatch.setattr(Comparison, "parted", lambda *_: None)
    monkeypatch.setattr(standby_duty.wal, "available_wal", lambda _server: AvailableWal(oldest, 16 * 1024 * 1024, 1))
    duty = duty_of(THREE, "pg2")
    links = Links(lambda _name: SimpleNamespace(close=lambda: None), lambda: None)  # type: ignore[arg-type, return-value]
    duty._here = replace(duty._here, links=links)
    mine = voice_of("pg2", at=5 * 16 * 1024 * 1024)
    for now in (0.0, 10.0):
        duty.run(now, mine, survey(primary("pg1"), mine), "pg1")
        thread = duty._work._thread
        if thread:
            thread.join(10)
    duty.run(20.0, mine, survey(primary("pg1"), mine), "pg1")
    assert duty.words == "FATAL: could not connect to the primary server"
    duty.run(21.0, streaming("pg2"), survey(primary("pg1"), streaming("pg2")), "pg1")
    assert (duty.words, seen[-1].useless, seen[-1].words) == ("", "", "")
    return seen[:-1]


@pytest.mark.parametrize(
    ("what", "foreign", "oldest", "useless"),
    [
        ("a reason of its own", "", 5, ""),
        ("its WAL is gone", "", 6, "it needs WAL from 0/5000000 on, and pg1 no longer has that"),
        ("its WAL is not the primary's", "another checkpoint", 0, "another checkpoint"),
    ],
)
def test_why_a_running_standby_does_not_stream(
    monkeypatch: pytest.MonkeyPatch, what: str, foreign: str, oldest: int, useless: str
) -> None:
    first, *_between, last = stuck(monkeypatch, foreign, oldest)
    assert (first.useless, first.words) == ("", "")
    assert (last.useless, last.words) == (useless, "FATAL: could not connect to the primary server"), what


@pytest.mark.parametrize(
    ("what", "missing", "said", "useless"),
    [
        ("a reason of its own", "", "FATAL: could not load server certificate", ""),
        ("its data are broken", "", "PANIC: could not locate a valid checkpoint record at 0/3", "PANIC"),
        ("there are none", "PG_VERSION", "", "there is no PG_VERSION"),
        ("a part is gone", "global/pg_control", "", "there is no global/pg_control"),
        (
            "half of it is there",
            "half of global/pg_control",
            "PANIC: could not read file",
            "there is no whole global/pg_control",
        ),
        ("it cannot be seen", "all but a file for global", "FATAL: could not open file", ""),
    ],
)
def test_why_a_server_fails_to_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, missing: str, said: str, useless: str
) -> None:
    seen: list[standby.Down] = []
    monkeypatch.setattr(standby, "decide_down", lambda found: seen.append(found) or standby.Duty(""))
    monkeypatch.setattr(standby_duty.last_words, "said", lambda *_: said)
    duty = duty_of(
        cluster(3, options=Options.of({"data_directory": str(tmp_path)})),
        "pg2",
        SimpleNamespace(state=lambda _: FAILED),
    )
    if missing.startswith("all"):
        (tmp_path / "global").touch()
    else:
        (tmp_path / "global").mkdir()
    for name in {*standby_duty.NEEDED} - {missing} if not missing.startswith("all") else {"PG_VERSION"}:
        (tmp_path / name).write_bytes(bytes(4096 if missing.startswith("half") else 8192))
    duty.down(0.0, "pg1")
    assert (seen[0].state, seen[0].words) == (FAILED, said)
    assert seen[0].useless.startswith(useless), what
    assert bool(seen[0].useless) is bool(useless), what
    assert duty.words == said


@pytest.mark.parametrize("foreign", ["", "another checkpoint"])
def test_a_recovery_that_gets_nowhere_is_looked_into(monkeypatch: pytest.MonkeyPatch, foreign: str) -> None:
    """B00 as a release before this has left it: it calls itself recovering, and the primary has all that it asks for."""
    seen: list[standby.Down] = []
    monkeypatch.setattr(standby, "decide_down", lambda found: seen.append(found) or standby.Duty(""))
    monkeypatch.setattr(standby_duty.wal, "recovering", lambda _directory: (FIRST, False))
    monkeypatch.setattr(standby_duty.wal, "available_wal", lambda _server: AvailableWal(0, 16 * 1024 * 1024, 1))
    monkeypatch.setattr(standby_duty.datadir, "local", lambda *_: None)
    monkeypatch.setattr(standby_duty, "foreign", lambda *_: foreign)
    monkeypatch.setattr(Comparison, "parted", lambda *_: None)
    duty = duty_of(THREE, "pg2", SimpleNamespace(state=lambda _: STARTING))
    links = Links(lambda _name: SimpleNamespace(close=lambda: None), lambda: None)  # type: ignore[arg-type, return-value]
    duty._here = replace(duty._here, links=links)
    for now in (0.0, 10.0, 20.0, 21.0):
        duty.down(now, "pg1")
        thread = duty._work._thread
        if thread:
            thread.join(10)
    assert [found.useless for found in seen[:2]] == ["", ""]
    assert seen[3].useless == foreign


@pytest.mark.parametrize(
    ("what", "late", "heard", "limits"),
    [
        ("those who are heard are late", ("pg2", "pg3"), ("pg2", "pg3"), [2.0, 4.0, 8.0, 10.0, 10.0]),
        ("this node itself is", ("pg2",), ("pg2",), [2.0, 4.0, 8.0, 10.0, 10.0]),
        ("one that is gone is", ("pg3",), ("pg2",), [2.0] * 5),
        ("nobody is: it was refused", (), ("pg2", "pg3"), [2.0] * 5),
    ],
)
def test_elections_are_given_more_time_where_nodes_are_late(
    monkeypatch: pytest.MonkeyPatch, what: str, late: tuple[str, ...], heard: tuple[str, ...], limits: list[float]
) -> None:
    """Else on a machine that is out of breath each would fail like the one before."""
    given: list[float] = []

    class Late:
        """A promotion that comes to nothing."""

        def __init__(self, *args: Any) -> None:
            given.append(args[3].limit)
            self.late = list(late)

        def run(self, **_how: Any) -> None:
            raise Conflict("promote pg2", "a safe promotion", "no answer in time")

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(standby_duty, "Promotion", Late)
    duty = duty_of(THREE, "pg2")
    duty._tracker.primary = "pg1"
    for _attempt in limits:
        with pytest.raises(Conflict):
            duty._elect(9.0, heard)
    assert given == limits, what
    duty.run(0.0, streaming("pg2"), survey(primary("pg1"), streaming("pg2")), "pg1")
    with pytest.raises(Conflict):
        duty._elect(9.0, heard)
    assert given[-1] == 2.0, "a primary was seen meanwhile"


def test_what_a_standby_counts_says_nothing_of_the_next_time_that_it_is_one() -> None:
    """Each wait of its is one that the tracker forgets when the node is primary meanwhile; hung() counts for itself."""
    counted = {item.name for item in fields(standby.Standby) if item.type == "float"} - {"hung"}
    assert counted <= set(OF_STANDBY)
    assert "off_design" in counted
