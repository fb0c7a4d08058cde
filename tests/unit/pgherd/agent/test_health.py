# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the health endpoints answer, as a table: what was seen, the status, and a word of the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pgherd.agent import health
from pgherd.agent.lag import MARKS, LagWatch
from pgherd.agent.seen import BARMAN, NODE, PGPOOL, AgentView, NodeSeen, PgpoolSeen
from pgherd.agent.standing import Standing
from pgherd.duties.fence import FenceVerdict
from pgherd.errors import ConfigError
from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.observe.node_state import NodeState, Survey
from pgherd.observe.topology import Lag, Topology
from pgherd.observe.views import NodeView, PostgresView
from pgherd.programs.barman_view import BarmanView
from pgherd.programs.pgpool import NodeInfo

CLUSTER = Cluster(
    "t",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2", "pg1"),
        Node("pg3", 3, "postgres", "pg3", "pg1"),
        Node("pg4", 4, "postgres", "pg4.example", "pg2"),
        Node("w1", 5, "witness", "w1", "pg1"),
    ),
    (Pgpool("pool1", "pool1"),),
    (Barman("backup1", "backup1"),),
)
NOW, CLOCK = 1000.0, 1_800_000_000.0
MB = 1 << 20

PRIMARY = NodeState(False, 3, "7", "0/5000000", name="pg1", senders={"pg2": "1", "pg3": "1"})


def standby(name: str, upstream: str = "pg1", **more: Any) -> NodeState:
    given = {"receive_lsn": "0/5000000", "replay_lsn": "0/5000000", "receiver": "streaming", **more}
    return NodeState(True, 3, "7", name=name, upstream=upstream, **given)


VOICES = {
    "pg1": PRIMARY,
    "pg2": standby("pg2"),
    "pg3": standby("pg3"),
    "pg4": standby("pg4", "pg2"),
    "w1": NodeState(False, 1, "9", name="w1"),
}


def node(me: str, age: float = 0.5, lag: Lag = Lag(0, 0.0), without: tuple[str, ...] = (), **more: Any) -> AgentView:  # noqa: B008
    """What the agent on *me* knows; *more* are a NodeState by node name, or fields of NodeSeen."""
    states = {**VOICES, **{name: more.pop(name) for name in list(more) if name in VOICES}}
    survey = Survey({name: state for name, state in states.items() if name not in without})
    look = {"primary": "pg1", "backed": ("pg2", "pg3") if me == "pg1" else (), **more}
    return AgentView(me, CLUSTER.node(me).kind, NOW, CLOCK, NodeSeen(NOW - age, me, survey, **look), lag=lag)


def view(name: str, in_recovery: bool) -> NodeView:
    more = {"upstream": "pg1", "receiver": "streaming"} if in_recovery else {}
    found = PostgresView(in_recovery, 3, "7", version=170000, **more)  # type: ignore[arg-type]
    return NodeView(name, "postgres", CLUSTER.node(name).id, CLOCK, found)


TRUTH = Topology("t", CLOCK, tuple(view(name, name != "pg1") for name in ("pg1", "pg2", "pg3")))
_FENCED = replace(TRUTH.nodes[0], postgres=PostgresView(False, 3, "7", version=170000, read_only=True))
FENCED = replace(TRUTH, nodes=(_FENCED, *TRUTH.nodes[1:]))
TABLE = {0: NodeInfo(0, "pg1", 5432, "up", role="primary"), 1: NodeInfo(1, "pg2", 5432, "waiting")}
BACKUP = BarmanView("backup1", "t", CLOCK - 1, "3.12", receiving=True, receiving_wal="0" * 24)


def pool(age: float = 0.5, listens: bool = True, **more: Any) -> AgentView:
    look = PgpoolSeen(NOW - age, **{"truth": TRUTH, "table": TABLE, **more})
    return AgentView("pool1", "pgpool", NOW, CLOCK, pgpool=look, listens=listens)


def barman(**more: Any) -> AgentView:
    return AgentView("backup1", "barman", NOW, CLOCK, barman=replace(BACKUP, **more))


# It followed one until there was none.
KEPT = Standing(NOW, "", NOW - 30, 0.0)
NOTHING = AgentView("pg1", "postgres", NOW, CLOCK)
DETACHED = {**TABLE, 0: replace(TABLE[0], status="down")}
MISTAKEN = {0: replace(TABLE[0], role="standby"), 1: replace(TABLE[1], role="primary")}

CASES = [
    # what is asked, what was seen, the status (None: not known), and of the reason
    ("primary", node("pg1"), True, "pg1 is the primary on timeline 3"),
    ("primary", node("pg1", backed=()), True, "0 of 1 needed standbys stream, writes wait"),
    ("primary", node("pg1", pg1=replace(PRIMARY, read_only=True)), False, "pg1 is fenced"),
    ("primary", node("pg1", backed=(), verdict=FenceVerdict("fence", "0 of 1")), False, "must refuse writes: 0 of 1"),
    ("primary", node("pg1", verdict=FenceVerdict("rival", "pg2 is primary")), False, "must be demoted"),
    (
        "primary",
        node("pg1", verdict=FenceVerdict("left behind", "pg2 has followed a later one")),
        False,
        "must be demoted",
    ),
    ("primary", node("pg1", verdict=FenceVerdict("lift", "x")), True, "pg1 is the primary"),
    ("primary", node("pg1", primary="pg2"), False, "pg2 is the real primary, not pg1"),
    ("primary", node("pg1", primary=""), False, "nobody is the real primary"),
    ("primary", node("pg1", without=("pg1",)), False, "PostgreSQL on pg1 does not answer"),
    ("primary", node("pg2"), False, "pg2 is a standby; the primary is pg1"),
    ("primary", node("pg1", age=NODE + 0.1), None, "4.1 s old"),
    ("primary", NOTHING, None, "nothing has been seen yet"),
    ("primary", node("w1"), False, "w1 is a witness host"),
    ("primary", pool(), False, "pool1 is a pgpool host"),
    ("primary", barman(), False, "backup1 is a barman host"),
    ("replica", node("pg2"), True, "pg2 streams from pg1"),
    ("replica", node("pg4"), True, "pg4 streams from pg1"),
    ("replica", node("pg4", pg2=standby("pg2", receiver="")), False, "chain of streams is broken"),
    ("replica", node("pg4", without=("pg2",)), False, "chain of streams is broken"),
    ("replica", node("pg1"), False, "pg1 is not a standby"),
    ("replica", node("pg2", pg2=standby("pg2", receiver="")), False, "is broken, and pg1 is primary"),
    ("replica", node("pg2", pg2=standby("pg2", has_upstream=False)), False, "sealed"),
    ("replica", node("pg2", primary="pg3", pg3=replace(PRIMARY, name="pg3")), False, "ends at pg1, and pg3 is primary"),
    ("replica", node("pg2", primary="", without=("pg1",)), False, "no primary is seen"),
    (
        "replica",
        node("pg2", primary="", without=("pg1",), standing=KEPT),
        True,
        "no primary is seen; pg2 serves what it has",
    ),
    (
        "ready",
        node("pg2", primary="", without=("pg1",), standing=KEPT),
        True,
        "no primary is seen; pg2 serves what it has",
    ),
    (
        "primary",
        node("pg2", primary="", without=("pg1",), standing=KEPT),
        False,
        "pg2 is a standby; the primary is nobody",
    ),
    ("replica", node("pg2", primary="", without=("pg1", "pg2"), standing=KEPT), False, "does not answer"),
    ("replica", node("pg2", primary="", age=NODE + 1, standing=KEPT), None, "5.0 s old"),
    (
        "replica",
        node("pg2", pg2=standby("pg2", receiver=""), standing=replace(KEPT, primary="pg1")),
        False,
        "is broken, and pg1",
    ),
    ("replica", node("pg2", without=("pg2",)), False, "does not answer"),
    ("replica", node("pg2", age=NODE + 1), None, "5.0 s old"),
    ("replica", pool(), False, "pgpool host"),
    ("health", node("pg2"), True, "PostgreSQL answers"),
    ("health", node("pg1", pg1=replace(PRIMARY, read_only=True)), True, "PostgreSQL answers"),
    ("health", node("pg2", without=("pg2",)), False, "does not answer"),
    ("health", node("w1"), True, "PostgreSQL answers"),
    ("health", NOTHING, None, "nothing has been seen"),
    ("health", pool(), True, "pgpool answers"),
    ("health", pool(listens=False), False, "nothing listens"),
    ("health", pool(why="PCP says no"), False, "pgpool does not answer"),
    ("health", pool(age=PGPOOL + 1), None, "9.0 s old"),
    ("health", barman(), True, "Barman answers"),
    ("health", barman(unread={"config": "gone"}), False, "configuration"),
    ("health", barman(version=""), None, "nothing has been seen"),
    ("health", barman(collected_at=CLOCK - BARMAN - 1), None, "46.0 s old"),
    ("ready", node("pg1"), True, "is the primary"),
    ("ready", node("pg1", pg1=replace(PRIMARY, read_only=True)), False, "fenced"),
    ("ready", node("pg2", lag=Lag(1 << 40, 999.0)), True, "streams from pg1"),
    ("ready", node("pg2", without=("pg2",)), False, "does not answer"),
    ("ready", node("w1"), True, "repmgrd runs and votes"),
    ("ready", node("w1", w1=replace(VOICES["w1"], repmgrd=False)), False, "repmgrd does not run"),
    ("ready", node("w1", without=("w1",)), False, "does not answer"),
    ("ready", NOTHING, None, "nothing has been seen"),
    ("ready", pool(), True, "with the primary pg1"),
    ("ready", pool(table=DETACHED), False, "has not attached the primary pg1"),
    ("ready", pool(table=MISTAKEN), False, "has not attached the primary pg1"),
    ("ready", pool(truth=FENCED), False, "the primary pg1 is fenced: it refuses writes"),
    ("ready", pool(truth=FENCED, table=DETACHED), False, "has not attached the primary pg1"),
    ("health", pool(truth=FENCED), True, "pgpool answers"),
    ("ready", node("pg1", backed=(), verdict=FenceVerdict("fence", "0 of 1")), False, "must refuse writes"),
    ("ready", pool(table={}), False, "has not attached the primary pg1"),
    ("ready", pool(truth=replace(TRUTH, nodes=TRUTH.nodes[1:])), False, "no primary is seen"),
    ("ready", pool(listens=False), False, "nothing listens"),
    ("ready", barman(), True, "WAL is received"),
    ("ready", barman(receiving=False), False, "WAL is not received"),
    ("ready", barman(collected_at=CLOCK - 99), None, "99.0 s old"),
    ("live", NOTHING, True, "looks, decides and acts"),
    ("live", replace(NOTHING, begun={"node": NOW - 1.0, "http": NOW - 29.0}), True, "looks"),
    ("live", replace(node("pg1", age=99.0, job="rejoin"), begun={"node": NOW - 1.0}), True, "looks"),
    ("live", replace(NOTHING, begun={"node": NOW - 31.0}), False, "its part node has hung for 31 s"),
]


@pytest.mark.parametrize(("asked", "seen", "ok", "why"), CASES, ids=lambda item: item if isinstance(item, str) else "")
def test_answers(asked: str, seen: AgentView, ok: bool | None, why: str) -> None:
    found = health.replica(CLUSTER, seen, Lag()) if asked == "replica" else getattr(health, asked)(CLUSTER, seen)
    assert why in found.why
    assert (found.ok, found.known) == (bool(ok), ok is not None)
    json.dumps(dict(found.more))


def test_a_cascade_ends_at_the_primary() -> None:
    """By the upstream's address, as PostgreSQL says it."""
    below = Cluster("t", (*CLUSTER.nodes, Node("pg5", 6, "postgres", "pg5", "pg4")))
    seen = node("pg4")
    assert seen.node
    states = {**seen.node.survey.states, "pg5": standby("pg5", "pg4.example")}
    look = NodeSeen(NOW, "pg5", Survey(states), "pg1")
    assert health.replica(below, AgentView("pg5", "postgres", NOW, CLOCK, look), Lag()).ok


@pytest.mark.parametrize(
    ("query", "lag", "ok", "known"),
    [
        ({}, Lag(), True, True),
        ({"lag": "16MB"}, Lag(16 * MB, 0.0), True, True),
        ({"lag": "16MB"}, Lag(16 * MB + 1, 0.0), False, True),
        ({"lag": "0"}, Lag(0, 9.0), True, True),
        ({"lag": "1kB"}, Lag(None, None), False, False),
        ({"seconds": "5"}, Lag(1 << 40, 5.0), True, True),
        ({"seconds": "5"}, Lag(0, 5.01), False, True),
        ({"seconds": "0.5"}, Lag(0, None), False, False),
        ({"lag": "1GB", "seconds": "2"}, Lag(5, 3.0), False, True),
    ],
)
def test_lag_limits(query: dict[str, str], lag: Lag, ok: bool, known: bool) -> None:
    found = health.replica(CLUSTER, node("pg2", lag=lag), health.lag_limits(query))
    assert (found.ok, found.known) == (ok, known), found


@pytest.mark.parametrize(
    "query", [{"lag": "a lot"}, {"lag": "-1"}, {"lag": ""}, {"seconds": "1e9"}, {"seconds": "nan"}, {"leg": "1"}]
)
def test_a_limit_that_is_none_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        health.lag_limits(query)


class TestLagWatch:
    def test_idle_is_no_lag(self) -> None:
        watch = LagWatch()
        assert watch.seconds(100) is None
        for at in range(10):
            watch.look(float(at), "pg1", 1, 100)
        assert watch.seconds(100) == 0.0
        assert watch.seconds(150) == 0.0

    def test_since_when_the_primary_has_been_further(self) -> None:
        watch = LagWatch()
        for at, position in enumerate((100, 200, 200, 300, 400)):
            watch.look(float(at), "pg1", 1, position)
        assert watch.seconds(200) == 2.0  # it was at 200 last at 2.0, it is 4.0 now
        assert watch.seconds(399) == 1.0
        assert watch.seconds(400) == 0.0

    def test_what_was_never_seen_is_not_known(self) -> None:
        watch = LagWatch()
        watch.look(0.0, "pg1", 1, 100)
        watch.look(1.0, "pg1", 1, 200)
        assert watch.seconds(50) is None

    def test_another_primary_begins_anew(self) -> None:
        watch = LagWatch()
        watch.look(0.0, "pg1", 1, 1000)
        watch.look(1.0, "pg2", 2, 900)
        assert watch.seconds(900) == 0.0
        assert watch.seconds(800) is None

    def test_it_does_not_grow_for_ever(self) -> None:
        watch = LagWatch()
        for at in range(MARKS * 5):
            watch.look(float(at), "pg1", 1, at)
        assert len(watch._marks) <= MARKS
        assert watch.seconds(0) == MARKS * 5 - 1
