# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A switchover: what speaks against it, whether the old primary is waited for, and what is done when it does not come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.agent import node_part
from pgherd.errors import Busy, Conflict, PgherdError, Unreachable
from pgherd.model import Cluster
from pgherd.observe.node_state import SEAL_LOCK, STOP_LOCK, Survey
from pgherd.ports.links import Links
from pgherd.promotion import choice, handover
from pgherd.promotion.choice import SwitchoverFacts, SwitchoverLimits, candidates, counts_itself, problems, too_few
from pgherd.promotion.handover import Handover
from scripted import ScriptedServer
from states import cluster, primary, streaming, survey, witness
from test_seal import row

THREE, FOUR, FIVE = cluster(3), cluster(4, sync_standbys=2), cluster(5, sync_standbys=2)
BOTH = cluster(3, sync_standbys=2)
PG1, PG2, PG3, PG4 = primary("pg1"), streaming("pg2"), streaming("pg3"), streaming("pg4")
# Restarted with more connections than its standbys have.
HIGH, LOW = replace(PG1, limits={"max_connections": 400}), replace(PG2, limits={"max_connections": 300})
ASYNC, TWO = cluster(3, durability="async"), cluster(2, durability="async")
VOTED = cluster(2, witness=True, durability="async")
BY_HAND = replace(THREE, nodes=(*THREE.nodes, replace(THREE.nodes[2], name="pg4", id=4, address="pg4", priority=0)))


@pytest.mark.parametrize(
    ("what", "found", "answer", "old", "itself", "short"),
    [
        ("all of three", THREE, (PG1, PG2, PG3), "pg1", False, ""),
        ("a standby of three is down: the old primary counts", THREE, (PG1, PG2), "pg1", True, ""),
        ("the old primary alone", THREE, (PG1,), "pg1", True, "Only 0 of 2"),
        ("ANY 2 of three, one is down", BOTH, (PG1, PG2), "pg1", True, ""),
        ("two standbys of five are down", FIVE, (PG1, PG2, PG3), "pg1", True, ""),
        ("three are", FIVE, (PG1, PG2), "pg1", True, "Only 1 of 3"),
        ("one standby of four is", FOUR, (PG1, PG2, PG3), "pg1", False, ""),
        ("two are: with the old primary there would be two halves", FOUR, (PG1, PG2), "pg1", True, "Only 1 of 2"),
        ("the other is a primary too", THREE, (PG1, PG2, primary("pg3")), "pg1", True, ""),
        ("promoted by hand, all listed answer", BY_HAND, (primary("pg4"), PG2, PG3, streaming("pg1")), "pg4", False, ""),
        ("promoted by hand, one is down: it never counts", BY_HAND, (primary("pg4"), PG2, PG3), "pg4", True, "Only 2 of 3"),
        ("asynchronous, all of three", ASYNC, (PG1, PG2, PG3), "pg1", False, ""),
        ("a node of three is down: the old primary makes the majority", ASYNC, (PG1, PG2), "pg1", True, ""),
        ("none answers beside it", ASYNC, (PG1,), "pg1", True, "Only 0 of 2 nodes"),
        ("two nodes", TWO, (PG1, PG2), "pg1", True, ""),
        ("two nodes and a witness", VOTED, (PG1, PG2, witness()), "pg1", False, ""),
        ("the witness is down", VOTED, (PG1, PG2), "pg1", True, ""),
    ],
)  # fmt: skip
def test_who_is_sealed_for_a_successor(
    what: str, found: Cluster, answer: tuple[Any, ...], old: str, itself: bool, short: str
) -> None:
    assert counts_itself(found, survey(*answer), old) is itself, what
    said = too_few(found, survey(*answer), old)
    assert said.startswith(short), what
    assert bool(said) is bool(short), what


@pytest.mark.parametrize(
    ("what", "found", "answer", "more", "against"),
    [
        ("nothing", THREE, (PG1, PG2, PG3), {}, ""),
        ("nothing where a standby of three is down", THREE, (PG1, PG2), {}, ""),
        ("ANY 2 of three, one is down", BOTH, (PG1, PG2), {}, "Only 1 of 2 standbys that must confirm"),
        ("two of five left", FIVE, (PG1, PG2), {}, "Only 1 of 3 standbys that a promotion must seal"),
        ("the target is silent", THREE, (PG1, PG3), {}, "pg2 does not answer"),
        ("it follows nobody", THREE, (PG1, streaming("pg2", follows="pg9"), PG3), {}, "does not stream from pg1"),
        ("it is behind", THREE, (PG1, streaming("pg2", at=0x1000000), PG3), {}, "bytes behind"),
        ("replay is paused", THREE, (PG1, PG2, PG3), {"paused": True}, "Replay is paused"),
        (
            "and cannot go on",
            THREE,
            (HIGH, LOW, PG3),
            {"paused": True},
            "max_connections is 300 and has to be 400. Run",
        ),
        ("it will not replay", THREE, (HIGH, LOW, PG3), {}, "pg2 cannot replay what pg1 writes"),
        ("it has more than it needs", THREE, (HIGH, replace(PG2, limits={"max_connections": 900}), PG3), {}, ""),
        ("a base backup", THREE, (PG1, PG2, PG3), {"copies": 1}, "A base backup"),
        ("a long transaction", THREE, (PG1, PG2, PG3), {"oldest": 61.0}, "running for 61 s"),
        ("WAL files wait", THREE, (PG1, PG2, PG3), {"unarchived": 17}, "17 WAL files"),
    ],
)
def test_what_speaks_against_it(
    what: str, found: Cluster, answer: tuple[Any, ...], more: dict[str, Any], against: str
) -> None:
    said = problems(found, "pg2", SwitchoverFacts(survey(*answer, pg9="gone"), "pg1", **more), SwitchoverLimits())
    assert against in " ".join(said), what
    assert len(said) == bool(against), what


def test_the_best_standby() -> None:
    found = survey(PG1, PG2, streaming("pg3", at=0x5000001), streaming("pg4"), streaming("pg5", follows="pg4"))
    assert candidates(FIVE, found, "pg1") == ["pg3", "pg2", "pg4", "pg5"]


class Attempt:
    """Stands in the place of the promotion: what it is asked for, in order. *failures* are those of its first runs; *then* is
    what all nodes say when the sessions are opened again."""

    def __init__(self, answers: Survey, done: list[str], failures: list[PgherdError], then: Survey) -> None:
        self._answers, self._then = answers, then
        self._done = done
        self._failures = failures
        self.withdrawn = False

    def prepare(self, back: bool = False) -> Survey:
        """See Promotion.prepare()."""
        self._done.append("prepare with the old primary" if back else "prepare")
        return self._then if back else self._answers

    def run(self, handover: str) -> None:
        """See Promotion.run()."""
        if self._failures:
            self._done.append("fail")
            failure = self._failures.pop(0)
            self.withdrawn = "stopped" in str(failure)
            raise failure
        self._done.append(f"promote, {handover}")

    def wait_longer(self) -> None:
        """See Promotion.wait_longer()."""
        self._done.append("more time")

    def close(self) -> None:
        """See Promotion.close()."""


class World:
    """A primary that stops when it is asked (*stops*) and then answers as a standby (*back*). It is further than the target for
    so many looks (*ahead*)."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        answers: Survey,
        stops: bool = True,
        back: bool = True,
        found: Cluster = THREE,
        failures: tuple[PgherdError, ...] = (),
        then: Survey | None = None,
        ahead: int = 0,
        unflushed: int = 0,
    ) -> None:
        self.done: list[str] = []
        #: Whether the target is locked, and was when the primary was asked to stop, and each promotion begun.
        self.locked: list[bool] = []
        self._holders: list[Any] = []
        self._stops, self._back, self._down = stops, back, False
        self._ahead = ahead
        #: How often the primary has to be told to flush until the target has all.
        self.unflushed = unflushed
        attempt = Attempt(answers, self.done, list(failures), survey() if then is None else then)
        run = attempt.run

        def promote(handover: str) -> None:
            self.locked.append(self._is_locked())
            run(handover)

        attempt.run = promote  # type: ignore[method-assign]
        monkeypatch.setattr(handover, "Promotion", lambda *args: attempt)
        limits = {
            "STOP": 0.05,
            "STANDBY": 0.3,
            "LAST": 0.0,
            "ALERT": 0.0,
            "TRIES": 5.0,
            "PAUSE": 0.0,
            "AGAIN": 0.02,
        }
        for limit, seconds in limits.items():
            monkeypatch.setattr(handover, limit, seconds)
        #: How long each session was given to open, in seconds.
        self.limits: list[float] = []
        links = Links(lambda name: pytest.fail(f"{name} in a hurry"), lambda: None, within=self._within)
        self._handover = Handover(found, "pg2", "pg1", links, lambda line: None)

    def _within(self, limit: float) -> Any:
        def open_(name: str) -> Any:
            self.limits.append(limit)
            return self._open(name)

        return open_

    def _open(self, name: str) -> Any:
        if name == "pg1" and self._down and not self._back:
            raise Unreachable("connect to pg1: connection refused")
        server = ScriptedServer(name, [])
        server._answer = lambda said, matches: self._answer(server, said)  # type: ignore[method-assign]
        return server

    def _answer(self, server: ScriptedServer, said: str) -> list[dict[str, Any]]:
        name = server.name
        if "default_transaction_read_only = " in said:
            self.done.append("fence" if said.endswith("on") else "lift")
        if str(SEAL_LOCK) in said and "try" in said and name == "pg2" and "AS in_recovery" not in said:
            self._holders.append(server)
        if f"({STOP_LOCK})" in said:
            self.locked.append(self._is_locked())
        if said.endswith("AS alive") and self._stops:
            self._down = True
            raise Unreachable("the session ended")
        if said == handover.FLUSH:
            self.unflushed -= 1
        written = "0/5000070" if self.unflushed > 0 else "0/5000000"
        found = {"taken": True, "conninfo": "", "slot": "", "ended": 0, "lsn": written}
        if name == "pg1" and self._down and self._ahead:
            self._ahead -= 1
            found["receive_lsn"] = found["replay_lsn"] = "0/5000070"
        return [{**row(in_recovery=name == "pg2" or self._down), **found}]

    def _is_locked(self) -> bool:
        return any(not server.closed for server in self._holders)

    def run(self) -> list[str]:
        """Hand over; what was done."""
        self._handover.run()
        return self.done


def test_with_enough_others_the_old_primary_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, survey(PG2, PG3), back=False)
    assert world.run() == ["prepare", "fence", "promote, stopped"]


@pytest.mark.parametrize(
    ("what", "found", "answers"),
    [
        ("strict, one is down", THREE, (PG2,)),
        ("asynchronous, two nodes", TWO, (PG2,)),
        ("asynchronous, all of three: it may have been killed with what only it has", ASYNC, (PG2, PG3)),
        ("asynchronous, with a witness", VOTED, (PG2, witness())),
    ],
)
def test_else_it_is_sealed_as_a_standby(
    what: str, found: Cluster, answers: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, survey(*answers), found=found)
    assert world.run() == ["prepare", "fence", "prepare with the old primary", "promote, stopped"], what


@pytest.mark.parametrize(
    ("what", "answers", "how", "why", "done"),
    [
        ("it never comes back", (PG2,), {"back": False}, "is here after", ["prepare", "fence"]),
        ("it comes back with more", (PG2,), {"ahead": 1000}, "is here after", ["prepare", "fence"]),
        ("it does not stop", (PG2,), {"stops": False}, "has not stopped .*too few", ["prepare", "fence", "lift"]),
        (
            "what is asynchronous acknowledges until it stops",
            (PG2, PG3),
            {"stops": False, "found": ASYNC},
            "has not stopped .*would be lost",
            ["prepare", "fence", "lift"],
        ),
    ],
)
def test_without_it_nobody_is_promoted(
    what: str,
    answers: tuple[Any, ...],
    how: dict[str, Any],
    why: str,
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that broke may be the network, and the old primary may still be at work."""
    world = World(monkeypatch, survey(*answers), **how)
    with pytest.raises(PgherdError, match=why):
        world.run()
    assert world.done == done, what


def test_one_that_does_not_stop_is_fenced_while_others_are_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World(monkeypatch, survey(PG2, PG3), stops=False).run() == ["prepare", "fence", "promote, fenced"]


def test_too_few_even_with_it_are_refused_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Survey())
    with pytest.raises(Conflict, match="Only 0 of 2"):
        world.run()
    assert world.done == ["prepare"]


def test_what_the_old_primary_has_more_is_fetched_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No seal has kept it from acknowledging under async durability, and its last record spares it a rewind."""
    world = World(monkeypatch, survey(PG2), found=TWO, ahead=3)
    assert world.run()[-1] == "promote, stopped"
    assert world._ahead == 0


def test_what_nobody_commits_is_flushed_as_often_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of a fenced primary write WAL that no standby is sent before something commits."""
    world = World(monkeypatch, survey(PG2, PG3), unflushed=3)
    assert world.run()[-1] == "promote, stopped"
    assert world.unflushed <= 0


def test_no_agent_elects_while_the_old_primary_goes_and_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back with as much WAL as the target, and its own agent would take it for as good. The promotion takes the same
    lock, in a session of its own."""
    world = World(monkeypatch, survey(PG2), found=TWO)
    world.run()
    assert world.locked == [True, False]


def test_its_own_sessions_may_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too late half-way leaves nobody primary, until agents elect."""
    world = World(monkeypatch, survey(PG2), found=TWO)
    world.run()
    assert set(world.limits) == {8.0}


def test_what_is_asked_beforehand_has_as_long_as_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[float] = []

    def refuse(_names: Any, links: Links) -> Any:
        met.append(links.limit)
        raise Conflict("look", "nothing", "enough")

    monkeypatch.setattr(choice, "OpenSessions", refuse)
    with pytest.raises(Conflict):
        choice.look(THREE, Links(lambda _name: pytest.fail("opened"), lambda: None))
    assert met[0] >= choice.PATIENCE


LATE = Conflict("promote pg2", "a safe promotion", "pg2 does not answer itself: no answer in time")
BESIDE = Busy("promote pg2", "a promotion on pg1")
AGAIN = ["fail", "more time", "prepare with the old primary"]


@pytest.mark.parametrize(
    ("what", "answers", "failures", "then", "did"),
    [
        ("an answer was late", (PG2, PG3), (LATE,), (PG2,), [*AGAIN, "promote, stopped"]),
        ("and again", (PG2, PG3), (LATE, LATE), (), [*AGAIN, *AGAIN, "promote, stopped"]),
        ("the agent here is at it", (PG2, PG3), (BESIDE,), (primary("pg2", 2), PG3), AGAIN),
        ("so it is with a witness", (PG2, PG3), (BESIDE,), (primary("pg2", 2), witness()), AGAIN),
    ],
)
def test_a_promotion_that_failed_is_tried_again(
    what: str,
    answers: tuple[Any, ...],
    failures: tuple[PgherdError, ...],
    then: tuple[Any, ...],
    did: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody is primary any more, so giving up helps nobody."""
    found = cluster(3, witness=True)
    world = World(monkeypatch, survey(*answers), failures=failures, then=survey(*then), found=found)
    assert world.run() == ["prepare", "fence", *did], what


@pytest.mark.parametrize(
    ("what", "failures", "then", "how", "did"),
    [
        ("another was promoted", (BESIDE,), (PG2, primary("pg3", 2)), {}, AGAIN),
        ("this one was, and had to stop", (Conflict("promote pg2", "locks", "none; stopped"),), (), {}, ["fail"]),
        ("the old primary is there, fenced", (LATE,), (), {"stops": False}, ["fail"]),
    ],
)
def test_or_it_is_not(
    what: str,
    failures: tuple[PgherdError, ...],
    then: tuple[Any, ...],
    how: dict[str, bool],
    did: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, survey(PG2, PG3), failures=failures, then=survey(*then), **how)
    with pytest.raises(Conflict, match="promote pg2"):
        world.run()
    assert world.done == ["prepare", "fence", *did], what


def test_it_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, survey(PG2, PG3), failures=(LATE,) * 1000)
    monkeypatch.setattr(handover, "TRIES", 0.0)
    with pytest.raises(Conflict, match="no answer in time"):
        world.run()


def test_the_old_primarys_agent_has_seen_the_lock_before_clients_are_sent_away() -> None:
    assert handover.ALERT > node_part.INTERVAL
