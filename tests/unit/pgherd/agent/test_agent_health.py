# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The part that answers for its host: what it gathers from the other parts, and which parts a host gets."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from here import here_of
from pgherd.agent.barman_part import BarmanPart
from pgherd.agent.endpoints import with_health
from pgherd.agent.fencing import SHUT
from pgherd.agent.health_part import AGAIN, HealthPart, WitnessPart
from pgherd.agent.http import HttpPart
from pgherd.agent.loop import Agent
from pgherd.agent.node_part import BRISK, INTERVAL, NodePart
from pgherd.agent.part import STUCK
from pgherd.agent.pgpool_part import PgpoolPart
from pgherd.agent.reads import against
from pgherd.agent.seen import NodeSeen
from pgherd.model import Cluster
from pgherd.observe.node_state import Survey
from pgherd.ports.links import Links
from pgherd.ports.run import LocalRunner
from pgherd.programs.barman import Client
from test_health import CLUSTER, TABLE, VOICES

ROW = {
    "senders": "[]",
    "slots": "[]",
    "pending_restart": "[]",
    "archive_failing_since": None,
    "archives": False,
    "paused": False,
    "archived_age": None,
}


def row(name: str, **change: Any) -> dict[str, Any]:
    """What a node answers to the node part's question."""
    state = replace(VOICES[name], **change)
    return {
        **vars(state),
        "senders": json.dumps(dict(state.senders)),
        "strangers": "[]",
        "slots": "{}",
        "logical": "{}",
    }


class Server:
    """The local server, and all of them."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.asked = 0

    def ask(self, query: str, limit: float) -> tuple[dict[str, Any], dict[str, str]]:
        self.asked += 1
        return dict(self.rows), {name: "gone" for name in VOICES if name not in self.rows}

    def close(self) -> None:
        pass


class Looked:
    """A part that has looked."""

    def __init__(self) -> None:
        self.now: NodeSeen | None = None

    def view(self) -> NodeSeen | None:
        return self.now


def seen(me: str, at: float, **states: Any) -> NodeSeen:
    return NodeSeen(at, me, Survey({**VOICES, **states}), "pg1", ("pg2",))


def body(part: HealthPart, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    answer = part.routes()[path](query)
    return answer.status, json.loads(answer.body)


class TestHealthPart:
    def test_before_the_first_look_nothing_is_known(self) -> None:
        part = HealthPart(CLUSTER, "pg1", "postgres", {}, node=Looked())
        part.tick(time.monotonic())
        for path in ("/primary", "/replica", "/health", "/ready"):
            assert body(part, path)[0] == 503, path
        assert body(part, "/live")[0] == 200

    def test_lag_by_looking_again(self) -> None:
        looked = Looked()
        part = HealthPart(CLUSTER, "pg2", "postgres", {}, node=looked)
        behind = replace(VOICES["pg2"], replay_lsn="0/5000000")
        now = time.monotonic()
        for back, lsn in ((3.0, "0/5000000"), (2.0, "0/5000100"), (0.0, "0/5000200")):
            looked.now = seen("pg2", now - back, pg1=replace(VOICES["pg1"], write_lsn=lsn), pg2=behind)
            part.tick(now - back)
        status, said = body(part, "/replica")
        assert (status, said["lag_bytes"], round(said["lag_seconds"])) == (200, 0x200, 3)
        assert body(part, "/replica", lag="511B")[0] == 503
        assert body(part, "/replica", lag="512B", seconds="4")[0] == 200
        assert body(part, "/replica", seconds="2")[0] == 503
        assert body(part, "/replica", seconds="x") == (
            400,
            {"ok": False, "host": "pg2", "why": "seconds is a number such as 5, not 'x'."},
        )

    def test_changes_of_the_primary_are_counted(self) -> None:
        looked = Looked()
        part = HealthPart(CLUSTER, "pg2", "postgres", {}, node=looked)
        for turn, primary in enumerate(("pg1", "", "pg1", "pg3", "", "pg3", "pg1")):
            looked.now = replace(seen("pg2", float(turn)), primary=primary)
            part.tick(float(turn))
        assert part.seen().changed == 2
        assert abs((part.seen().changed_at or 0.0) - time.time()) < 60

    def test_details_are_asked_rarely_and_grow_old(self) -> None:
        server = Server()
        server.rows = {"pg1": {**ROW, "ends": '{"app": 9}'}}
        part = HealthPart(CLUSTER, "pg1", "postgres", {}, node=Looked(), asker=server)
        for turn in range(10):
            part.tick(turn * 0.5)
        # Once for the ends of passwords, which are asked more rarely still.
        assert server.asked == 2
        server.rows = {}
        part.tick(AGAIN)
        assert server.asked == 3
        assert part.seen().passwords == {"app": 9}
        found = part.seen().details
        assert found is not None
        assert found.at == 0.0

    def test_metrics_are_served(self) -> None:
        looked = Looked()
        looked.now = seen("pg1", time.monotonic())
        answer = HealthPart(CLUSTER, "pg1", "postgres", {"node": 0.0}, node=looked).routes()["/metrics"]({})
        assert "\npgherd_primary 1.0\n" in answer.body
        assert 'pgherd_node_answers{node="w1"} 1.0' in answer.body


def test_a_witness_looks_at_itself() -> None:
    server = Server()
    server.rows = {"w1": row("w1")}
    part = WitnessPart("w1", server)
    assert part.view() is None
    part.tick(5.0)
    found = part.view()
    assert found is not None
    assert found.mine is not None
    assert found.mine.repmgrd


class TestViews:
    """What the node part shows, with no server to be changed: nothing is decided in these looks."""

    def node(self, server: Server, me: str = "pg1") -> NodePart:
        links = Links(lambda name: pytest.fail(f"asked {name}"), lambda: pytest.fail("stopped"))
        part = NodePart(here_of(CLUSTER, me, links, say=lambda line: None), server)
        part._upkeep.tick = lambda *args: None  # type: ignore[method-assign]
        part._identity.tick = lambda *args: None  # type: ignore[method-assign]
        return part

    def test_of_a_primary(self) -> None:
        server = Server()
        server.rows = {name: row(name) for name in VOICES}
        part = self.node(server)
        assert part.view() is None
        part.tick(10.0)
        found = part.view()
        assert found is not None
        assert (found.at, found.primary, found.backed, found.verdict.action) == (10.0, "pg1", ("pg2", "pg3"), "")

    def test_a_fence_is_seen_before_it_is_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Server()
        server.rows = {"pg1": row("pg1", senders={})}
        part = self.node(server)
        at_the_fence = []
        monkeypatch.setattr(
            part._primary._fencing,
            "want",
            lambda wanted, connected: wanted == SHUT and not at_the_fence.append(part.view()),  # type: ignore[func-returns-value]
        )
        for turn in range(20):
            part.tick(turn * 0.5)
        first = at_the_fence[0]
        assert first is not None
        assert first.verdict.action == "fence"
        assert (part.view() or first).decided.keys() == {"fence"}

    def test_of_a_standby_and_of_silence(self) -> None:
        server = Server()
        server.rows = {name: row(name) for name in VOICES}
        part = self.node(server, "pg2")
        part.tick(1.0)
        found = part.view()
        assert found is not None
        assert (found.primary, found.backed) == ("pg1", ())

    def test_of_a_standby_that_has_lost_its_primary(self) -> None:
        """It is read from all the same, also by the description that comes next; one that begins now is not."""
        server = Server()
        server.rows = {name: row(name) for name in VOICES}
        part, begun, next_one = self.node(server, "pg2"), self.node(server, "pg2"), self.node(server, "pg2")
        part.tick(1.0)
        del server.rows["pg1"]
        server.rows["pg2"] = row("pg2", receiver="", has_upstream=False)
        for one in (part, begun):
            one.tick(1.5)
        next_one.take_over(part)
        next_one.tick(2.0)
        found = {name: one.view() for name, one in (("part", part), ("begun", begun), ("next", next_one))}
        why = {name: against(CLUSTER, look) if look else "no look" for name, look in found.items()}
        assert why == {"part": "", "begun": "it did not stream from the primary before", "next": ""}

    def test_who_is_being_promoted_looks_often_for_a_while(self) -> None:
        server = Server()
        server.rows = {name: row(name) for name in VOICES}
        part, now = self.node(server, "pg2"), time.monotonic()
        part.tick(now)
        pace = [part.interval]
        part.hurry()
        part.tick(now + 1)
        pace.append(part.interval)
        part.tick(now + 60)
        pace.append(part.interval)
        assert pace == [INTERVAL, BRISK, INTERVAL]

    def test_so_does_a_node_that_promotes_itself(self) -> None:
        server = Server()
        server.rows = {name: row(name) for name in VOICES}
        part, over = self.node(server, "pg2"), threading.Event()
        part._work.begin("elect", lambda: over.wait(10))
        part.tick(time.monotonic())
        assert part.interval == BRISK
        over.set()
        part.tick(time.monotonic())
        assert part.interval == BRISK, "what it has become is seen as soon"


def test_parts_by_kind_of_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgherd.agent.endpoints._local", lambda cluster, me: Server())
    pool = PgpoolPart(CLUSTER, CLUSTER.pgpools[0], Server(), None)  # type: ignore[arg-type]
    pool._table = TABLE  # type: ignore[assignment]
    wanted = {"w1": ["witness", "health", "http"], "pool1": ["pgpool", "health", "http"], "backup1": ["health", "http"]}
    for name, names in wanted.items():
        given = [pool] if name == "pool1" else []
        assert [part.name for part in with_health(CLUSTER, name, given, {})] == names


def test_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """/barman stands behind TLS alone."""
    monkeypatch.setattr("pgherd.agent.endpoints._local", lambda cluster, me: Server())
    cluster = Cluster.from_dict({**CLUSTER.to_dict(), "options": {"agent_plain_listen": ["127.0.0.1"]}})
    barman = BarmanPart("backup1", Client(LocalRunner(), "t", user=None), (), time.time)
    parts = with_health(cluster, "backup1", [barman], {})
    doors = [part for part in parts if isinstance(part, HttpPart)]
    found = {part.name: (part._port, part._context is not None, "/barman" in part._routes) for part in doors}
    assert found == {"http": (8765, True, True), "http-plain": (8766, False, False)}
    (health_part,) = (part for part in parts if isinstance(part, HealthPart))
    for door in doors:
        door.door.unanswered["late"] += 1
    assert health_part.seen().unanswered == {"late": 2, "displaced": 0}


def test_the_agent_says_when_its_parts_began() -> None:
    begun: dict[str, float] = {}
    Agent([HealthPart(CLUSTER, "pg1", "postgres", begun)], lambda line: None, begun)
    assert set(begun) == {"health"}
    assert STUCK == 30.0
