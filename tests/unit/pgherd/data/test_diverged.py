# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A standby with WAL that the new primary has not is never connected to it: it would confirm commits that it lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from here import here_of
from pgherd.agent.standby_duty import StandbyDuty
from pgherd.agent.work import Work
from pgherd.data.diverged import diverged, history_of, refuse
from pgherd.duties.standby import Duty, Standby
from pgherd.errors import Conflict, SqlError
from pgherd.observe.node_state import NodeState
from pgherd.observe.tracker import Tracker
from pgherd.ports.links import Links
from scripted import ScriptedServer
from states import cluster, primary, standby, streaming, survey

THREE = cluster(3)
HISTORY = b"1\t0/5000000\tno recovery target specified\n"
FILE = "pg_read_binary_file"


@pytest.mark.parametrize(
    ("what", "timeline", "at", "apart"),
    [
        ("it has less than the fork", 1, 0x4FFFFFF, False),
        ("it ends where they part", 1, 0x5000000, False),
        ("it has a record more", 1, 0x5000028, True),
        ("between two promotions", 2, 0x6000000, False),
        ("its timeline is none of the primary's", 3, 0x1000000, True),
    ],
)
def test_whether_a_standby_has_diverged(what: str, timeline: int, at: int, apart: bool) -> None:
    """A retired primary: what it wrote last may be nowhere else."""
    assert diverged(standby("pg2", at, timeline), {1: 0x5000000, 2: 0x7000000}) is apart, what


def test_history_is_read_by_name_and_the_first_timeline_has_none() -> None:
    server = ScriptedServer("pg2", [(FILE, [{"content": HISTORY}])])
    assert history_of(server, 2) == {1: 0x5000000}
    assert server.said[0][1] == ("pg_wal/00000002.history",)
    assert history_of(ScriptedServer("pg2", []), 1) == {}


def test_a_diverged_one_is_refused_by_repmgrds_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, twin = ScriptedServer("pg1", []), "it has WAL of its own"
    server = ScriptedServer("pg2", [(FILE, [{"content": HISTORY}])])
    with pytest.raises(Conflict, match=r"let pg1 follow pg2: .*WAL to 0/5000028 on timeline 1"):
        refuse(standby("pg1", 0x5000028), primary("pg2", 2), mine, server)
    asked: list[tuple[object, ...]] = []

    def found(position: int, timeline: int, _mine: object, theirs: object, now: int) -> str:
        asked.append((position, timeline, theirs, now))
        return twin if len(asked) % 2 else ""

    monkeypatch.setattr("pgherd.data.diverged.parted", found)
    for now, at in ((1, 0x5000028), (2, 0x5000000)):
        server = ScriptedServer("pg2", [(FILE, [{"content": HISTORY}])] * (2 if now > 1 else 0))
        with pytest.raises(Conflict, match=r"let pg1 follow pg2: .*it has WAL of its own"):
            refuse(standby("pg1", at), primary("pg2", now), mine, server)
        refuse(standby("pg1", at), primary("pg2", now), mine, server)
        assert asked[-2:] == [(at, 1, server, now)] * 2


def duty(*servers: ScriptedServer) -> StandbyDuty:
    """The standby's duty on pg1, which opens these sessions, one after the other."""
    opened = iter(servers)
    links = Links(lambda _name: next(opened), lambda: None)
    nothing = None
    return StandbyDuty(here_of(THREE, "pg1", links, nothing, nothing), Tracker(THREE, "pg1"), Work(print))


STRAY = standby("pg1", 0x5000028, 2, follows="pg2")
MORE, SAME = standby("pg1", 0x5000028), standby("pg1", 0x5000000)


@pytest.mark.parametrize(
    ("what", "mine", "theirs", "found"),
    [
        ("it has a record more", MORE, primary("pg2", 2), True),
        ("it has not", SAME, primary("pg2", 2), False),
        ("it still reads its own WAL, and may have more", replace(SAME, settled=False), primary("pg2", 2), None),
        ("nobody is primary", MORE, None, False),
        ("the primary is on its timeline", MORE, primary("pg2", 1), False),
    ],
)
def test_what_the_agent_knows(what: str, mine: NodeState, theirs: NodeState | None, found: bool | None) -> None:
    asks = theirs is not None and theirs.timeline == 2 and mine.settled
    server = ScriptedServer("pg2", [(FILE, [{"content": HISTORY}])] if asks else [])
    asked = duty(server)
    assert asked._diverged(0.0, mine, theirs) is found, what
    # The history of a timeline never changes.
    assert asked._diverged(0.0, mine, theirs) is found, what


@pytest.mark.parametrize(
    ("what", "durability", "mine", "follow", "found"),
    [
        ("its primary acknowledges without it", "strict", STRAY, ("pg3",), True),
        ("nobody else follows that: the newer timeline may be the cluster's", "strict", STRAY, (), False),
        ("only itself does", "strict", STRAY, ("pg1",), False),
        ("it still reads its own WAL", "strict", replace(STRAY, settled=False), ("pg3",), None),
        ("no count tells whose timeline is right", "async", STRAY, ("pg3",), False),
    ],
)
def test_a_stray_that_is_a_standby_again(
    what: str, durability: str, mine: NodeState, follow: tuple[str, ...], found: bool | None
) -> None:
    """Promoted by hand, stopped, and started as a standby by its guard: PostgreSQL never follows an older timeline."""
    three = cluster(3, durability=durability)
    tracker = Tracker(three, "pg1")
    links = Links(lambda name: ScriptedServer(name, []), lambda: None)
    asked = StandbyDuty(here_of(three, "pg1", links, None, None), tracker, Work(print))
    # An answer counts as fresh for a while, and may be from before the promotion: only what lasts longer tells.
    for now in range(1, 8):
        server = primary("pg2", senders=dict.fromkeys(follow, str(now)))
        tracker.look(now, survey(mine, server, *(streaming(name, follows="pg2") for name in follow if name != "pg1")))
        assert asked._diverged(now, mine, server) is (None if found and now < 6 else found), (what, now)
    # A break begins it anew.
    assert asked._diverged(7.1, mine, None) is False
    assert asked._diverged(7.2, mine, server) is (None if found else found)


def test_a_history_that_cannot_be_read_leaves_it_open() -> None:
    failing = ScriptedServer("pg2", [(FILE, SqlError("read", "pg2", "permission denied"))])
    asked = duty(failing, ScriptedServer("pg2", [(FILE, [{"content": HISTORY}])]))
    assert asked._diverged(0.0, MORE, primary("pg2", 2)) is None
    assert asked._diverged(0.0, MORE, primary("pg2", 2)) is True


@pytest.mark.parametrize("found", ["", "it has WAL of its own"])
def test_the_same_timeline_is_compared_once_before_it_follows(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    """Beside the looks: the primary may not answer."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("pgherd.agent.comparison.parted", lambda *given: asked.append(given) or found)
    here, there, theirs = ScriptedServer("pg1", []), ScriptedServer("pg2", []), primary("pg2", 1)
    looks = duty(here, there)
    assert looks._diverged(0.0, MORE, theirs) is False
    assert looks._diverged(0.1, replace(MORE, settled=False), theirs, due=True) is None
    assert not asked
    assert looks._diverged(0.2, MORE, theirs, due=True) is None
    assert looks._work._thread
    looks._work._thread.join(10)
    for now in (0.3, 99.0):
        assert looks._diverged(now, MORE, theirs, due=True) is bool(found)
    assert [(*one[:2], *one[3:]) for one in asked] == [(0x5000028, 1, there, 1)]
    assert [looks._comparison.own(MORE, name) for name in ("pg2", "", "pg3")] == [found, found, ""]
    # A clone, say: that is other WAL.
    assert looks._comparison.own(replace(MORE, receive_lsn="0/5000100"), "pg2") == ""
    # One that streams from a third one gets on meanwhile.
    on = replace(MORE, receiver="streaming", receive_lsn="0/5000100")
    assert looks._diverged(0.4, on, theirs, due=True) is bool(found)
    assert looks._diverged(99.0, on, theirs, due=True) is None


def test_a_comparison_that_fails_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise SqlError("read", "pg2", "permission denied")

    monkeypatch.setattr("pgherd.agent.comparison.parted", fail)
    looks = duty(ScriptedServer("pg1", []), ScriptedServer("pg2", []))
    for now in (0.0, 0.5):
        assert looks._diverged(now, MORE, primary("pg2", 1), due=True) is None
        assert looks._work._thread
        looks._work._thread.join(10)


@pytest.mark.parametrize("found", ["", "it has WAL of its own"])
def test_a_newer_timeline_says_nothing_of_a_twin_before_it(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    """All up to the fork is the primary's by its history. So a sealed one is compared as well, before it follows."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("pgherd.agent.comparison.parted", lambda *given: asked.append(given) or found)
    told: list[Standby] = []
    monkeypatch.setattr("pgherd.duties.standby.decide", lambda seen: told.append(seen) or Duty(""))
    history = [(FILE, [{"content": HISTORY}])]
    looks = duty(ScriptedServer("pg2", history), ScriptedServer("pg1", []), ScriptedServer("pg2", []))
    sealed, theirs = standby("pg1", 0x5000000, follows=""), primary("pg2", 2)
    looks.run(0.0, sealed, survey(sealed, theirs), "pg2")
    assert looks._work._thread
    looks._work._thread.join(10)
    looks.run(0.5, sealed, survey(sealed, theirs), "pg2")
    assert [seen.diverged for seen in told] == [None, bool(found)]
    assert [(*one[:2], one[4]) for one in asked] == [(0x5000000, 1, 2)]
    # The primary is gone: the twin is no candidate, unless it was cloned meanwhile.
    looks.run(1.0, sealed, survey(sealed), "")
    cloned = replace(sealed, receive_lsn="0/7000000", replay_lsn="0/7000000")
    looks.run(1.5, cloned, survey(cloned), "")
    assert [seen.electable for seen in told[2:]] == [not found, True]
