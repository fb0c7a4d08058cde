# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A switchover: what speaks against it, whether the old primary is waited for, and what is done when it does not come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.agent import node_part
from pgherd.errors import Conflict, PgherdError, Unreachable
from pgherd.failover import handover
from pgherd.failover.choice import Found, Limits, candidates, counts_itself, problems, too_few
from pgherd.failover.handover import Handover
from pgherd.failover.links import Links
from pgherd.failover.voice import Round
from pgherd.model import Cluster
from scripted import ScriptedServer
from test_seal import row
from voices import cluster, primary, round_, streaming

THREE, FOUR, FIVE = cluster(3), cluster(4, sync_standbys=2), cluster(5, sync_standbys=2)
BOTH = cluster(3, sync_standbys=2)
PG1, PG2, PG3, PG4 = primary("pg1"), streaming("pg2"), streaming("pg3"), streaming("pg4")
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
        ("asynchronous", cluster(3, durability="async"), (PG1, PG2), "pg1", False, ""),
    ],
)  # fmt: skip
def test_who_is_sealed_for_a_successor(
    what: str, found: Cluster, answer: tuple[Any, ...], old: str, itself: bool, short: str
) -> None:
    assert counts_itself(found, round_(*answer), old) is itself, what
    said = too_few(found, round_(*answer), old)
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
        ("a base backup", THREE, (PG1, PG2, PG3), {"copies": 1}, "A base backup"),
        ("a long transaction", THREE, (PG1, PG2, PG3), {"oldest": 61.0}, "running for 61 s"),
        ("WAL files wait", THREE, (PG1, PG2, PG3), {"unarchived": 17}, "17 WAL files"),
    ],
)
def test_what_speaks_against_it(
    what: str, found: Cluster, answer: tuple[Any, ...], more: dict[str, Any], against: str
) -> None:
    said = problems(found, "pg2", Found(round_(*answer, pg9="gone"), "pg1", **more), Limits())
    assert against in " ".join(said), what
    assert len(said) == bool(against), what


def test_the_best_standby() -> None:
    found = round_(PG1, PG2, streaming("pg3", at=0x5000001), streaming("pg4"), streaming("pg5", follows="pg4"))
    assert candidates(FIVE, found, "pg1") == ["pg3", "pg2", "pg4", "pg5"]


class Attempt:
    """Stands in the place of the promotion: what it is asked for, in order."""

    def __init__(self, answers: Round, done: list[str], quicker: bool) -> None:
        self._answers = answers
        self._done = done
        self._quicker = quicker

    def prepare(self, back: bool = False) -> Round:
        """See Promotion.prepare()."""
        self._done.append("prepare with the old primary" if back else "prepare")
        return self._answers

    def run(self, handover: str) -> None:
        """See Promotion.run()."""
        if self._quicker:
            raise Conflict("promote pg2", "nobody else at it", "a promotion at work on pg1")
        self._done.append(f"promote, {handover}")

    def close(self) -> None:
        """See Promotion.close()."""


class World:
    """A primary that stops when it is asked (*stops*) and then answers as a standby (*back*). Another promotion may be
    *quicker* than this one, and the one that makes the target primary (*elected*)."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        answers: Round,
        stops: bool = True,
        back: bool = True,
        quicker: bool = False,
        elected: bool = False,
    ) -> None:
        self.done: list[str] = []
        self._stops, self._back, self._down, self._elected = stops, back, False, elected
        monkeypatch.setattr(handover, "Promotion", lambda *args: Attempt(answers, self.done, quicker))
        for limit in ("STOP", "STANDBY", "LAST", "ELECTED", "ALERT"):
            monkeypatch.setattr(handover, limit, 0.0 if limit in ("LAST", "ALERT") else 0.05)
        self._handover = Handover(THREE, "pg2", "pg1", Links(self._open, lambda: None), lambda line: None)

    def _open(self, name: str) -> Any:
        if name == "pg1" and self._down and not self._back:
            raise Unreachable("connect to pg1: connection refused")
        server = ScriptedServer(name, [])
        server._answer = lambda said, matches: self._answer(name, said)  # type: ignore[method-assign]
        return server

    def _answer(self, name: str, said: str) -> list[dict[str, Any]]:
        if "default_transaction_read_only = " in said:
            self.done.append("fence" if said.endswith("on") else "lift")
        if said.endswith("AS alive") and self._stops:
            self._down = True
            raise Unreachable("the session ended")
        found = {"taken": True, "conninfo": "", "slot": "", "ended": 0, "lsn": "0/5000000"}
        return [{**row(in_recovery=self._standby(name)), **found}]

    def _standby(self, name: str) -> bool:
        return not (self._elected and self._down) if name == "pg2" else self._down

    def run(self) -> list[str]:
        """Hand over; what was done."""
        self._handover.run()
        return self.done


def test_with_enough_others_the_old_primary_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, round_(PG2, PG3), back=False)
    assert world.run() == ["prepare", "fence", "promote, stopped"]


def test_with_too_few_others_it_is_sealed_as_a_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, round_(PG2))
    assert world.run() == ["prepare", "fence", "prepare with the old primary", "promote, stopped"]


@pytest.mark.parametrize(
    ("what", "how", "why", "done"),
    [
        ("it never comes back", {"back": False}, "does not answer as one after", ["prepare", "fence"]),
        ("it does not stop", {"stops": False}, "has not stopped", ["prepare", "fence", "lift"]),
    ],
)
def test_without_it_nobody_is_promoted(
    what: str, how: dict[str, bool], why: str, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that broke may be the network, and the old primary may still be at work."""
    world = World(monkeypatch, round_(PG2), **how)
    with pytest.raises(PgherdError, match=why):
        world.run()
    assert world.done == done, what


def test_one_that_does_not_stop_is_fenced_while_others_are_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World(monkeypatch, round_(PG2, PG3), stops=False).run() == ["prepare", "fence", "promote, fenced"]


def test_too_few_even_with_it_are_refused_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Round())
    with pytest.raises(Conflict, match="Only 0 of 2"):
        world.run()
    assert world.done == ["prepare"]


@pytest.mark.parametrize(
    ("what", "answers", "elected", "well"),
    [
        ("the agent here, while the old primary was waited for", (PG2,), True, True),
        ("another's", (PG2,), False, False),
        ("nobody was waited for: whoever is at it is not expected", (PG2, PG3), True, False),
    ],
)
def test_one_that_was_quicker(
    what: str, answers: tuple[Any, ...], elected: bool, well: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, round_(*answers), quicker=True, elected=elected)
    if well:
        assert world.run() == ["prepare", "fence", "prepare with the old primary"], what
        return
    with pytest.raises(Conflict, match="nobody else at it"):
        world.run()


def test_the_old_primarys_agent_has_seen_the_lock_before_clients_are_sent_away() -> None:
    assert handover.ALERT > node_part.INTERVAL
