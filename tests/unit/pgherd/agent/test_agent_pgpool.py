# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent, and its part beside a pgpool: what it remembers, when it tells pgpool what, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.agent import secrets
from pgherd.agent.loop import Agent
from pgherd.agent.part import Decision
from pgherd.agent.pgpool_part import HURRIED, HURRY, INTERVAL, PATIENCE, REFRESH, SETTLING, PgpoolPart, ServersWatch
from pgherd.agent.secrets import secret_file
from pgherd.errors import PgherdError, Unreachable
from pgherd.model import Cluster, Node, Origins, Pgpool
from pgherd.options import Options
from pgherd.pools.backends import ALONE, IDLE
from pgherd.pools.gate import wait
from pgherd.programs.pgpool import NodeInfo

CLUSTER = Cluster(
    "t",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2.example", "pg1"),
        Node("w1", 3, "witness", "w1", "pg1"),
        Node("pg3", 4, "postgres", "pg3", "pg1", origins=Origins(known="10.0.0.4")),
    ),
    (Pgpool("pool1", "pool1"),),
    options=Options.of({"pgpool_min_backends": 2}),
)


def primary(timeline: int = 1) -> dict[str, Any]:
    """What a primary answers."""
    return {
        "in_recovery": False,
        "timeline": timeline,
        "version": 170000,
        "system_id": "7",
        "started_at": 0.0,
        "upstream": "",
    }


def standby(host: str, timeline: int = 1, receiver: str = "streaming") -> dict[str, Any]:
    """What a standby answers that streams from *host*."""
    return {**primary(timeline), "in_recovery": True, "upstream": host, "receiver": receiver}


HEALTHY = {"pg1": primary(), "pg2": standby("pg1"), "pg3": standby("pg2.example")}


@dataclass
class World:
    """The nodes and the pgpool, as they are; also the part's Asker and its PCP client."""

    rows: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(HEALTHY))
    failed: dict[str, str] = field(default_factory=dict)
    table: dict[int, NodeInfo] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    looks: int = 0
    dead: str = ""
    obeys: bool = True

    def ask(self, query: str, limit: float) -> tuple[dict[str, Any], dict[str, str]]:
        return dict(self.rows), dict(self.failed)

    def close(self) -> None:
        pass

    def nodes(self) -> dict[int, NodeInfo]:
        self.looks += 1
        if self.dead:
            raise Unreachable(self.dead)
        return dict(self.table)

    def _order(self, verb: str, number: int, **change: str) -> None:
        self.orders.append(f"{verb} {number}")
        if self.obeys:
            self.table[number] = replace(self.table[number], **change)

    def attach(self, number: int) -> None:
        self._order("attach", number, status="waiting")

    def detach(self, number: int) -> None:
        self._order("detach", number, status="down")

    def promote(self, number: int) -> None:
        for other in self.table if self.obeys else ():
            self.table[other] = replace(self.table[other], role="standby", status="down")
        self._order("promote", number, role="primary", status="up")


@pytest.fixture
def world() -> World:
    return World(
        table={
            0: NodeInfo(0, "pg1", 5432, "up", role="primary"),
            1: NodeInfo(1, "pg2.example", 5432, "up"),
            3: NodeInfo(3, "pg3", 5432, "up"),
        }
    )


@pytest.fixture
def status(tmp_path: Path) -> Path:
    path = tmp_path / "pgpool_status"
    path.write_text("up\nup\nunused\nup\n")
    return path


@pytest.fixture
def part(world: World, status: Path) -> PgpoolPart:
    return PgpoolPart(CLUSTER, CLUSTER.pgpools[0], world, world, str(status))  # type: ignore[arg-type]


def lines(decisions: Sequence[Decision]) -> list[str]:
    return [decision.text for decision in decisions]


class Shut:
    """A login watch that names backend 0 once."""

    def __init__(self) -> None:
        self.stirred: list[bool] = []

    def look(self, now: float, stirred: bool) -> int | None:
        self.stirred.append(stirred)
        return 0 if len(self.stirred) == 2 else None


class TestPart:
    @pytest.mark.parametrize("leads", [0, 1])
    def test_a_pgpool_that_lets_nobody_in_has_its_lowest_backend_taken_out_and_in(
        self, world: World, status: Path, leads: int
    ) -> None:
        """Unless that is the primary, which the main node cannot have been moved from."""
        names = ["pg1", "pg2.example"]
        world.rows = {"pg1": primary(), "pg2": standby("pg1"), "pg3": standby("pg1")}
        if leads:
            world.rows = {"pg1": standby("pg2.example"), "pg2": primary(), "pg3": standby("pg2.example")}
        for number, name in enumerate(names):
            world.table[number] = NodeInfo(number, name, 5432, "up", role="primary" if number == leads else "standby")
        watch = Shut()
        part = PgpoolPart(CLUSTER, CLUSTER.pgpools[0], world, world, str(status), logins=watch)  # type: ignore[arg-type]
        for turn in range(6):
            part.tick(turn * 0.5)
        assert world.orders == (["detach 0", "attach 0"] if leads else [])
        assert watch.stirred[:2] == [False, False]

    def test_a_healthy_cluster_costs_one_look_at_pgpool(self, part: PgpoolPart, world: World) -> None:
        for turn in range(10):
            assert part.tick(turn * 0.5) == []
        assert world.looks == 1
        part.tick(REFRESH + 1)
        assert world.looks == 2

    def test_pgpool_is_looked_at_when_its_status_file_changes(
        self, part: PgpoolPart, world: World, status: Path
    ) -> None:
        part.tick(0.0)
        part.tick(0.5)
        before = world.looks
        world.table[3] = replace(world.table[3], status="down")
        status.write_text("up\nup\nunused\ndown\n")
        assert lines(part.tick(1.0)) == ["attach backend 3 (pg3): it streams from pg2"]
        assert world.looks == before + 1

    def test_a_promotion(self, part: PgpoolPart, world: World) -> None:
        part.tick(0.0)
        world.rows = {"pg2": primary(2), "pg3": standby("pg2.example", 2)}
        world.failed = {"pg1": 'connection to server at "pg1", port 5432 failed: Connection refused'}
        said = lines(part.tick(0.5))
        assert said == [
            "pg1 does not answer: Connection refused",
            "promote backend 1 (pg2): it is the primary, and pgpool takes pg1 for it",
        ]
        assert world.orders == ["promote 1"]
        assert lines(part.tick(1.0)) == ["attach backend 3 (pg3): it streams from pg2"]

    def test_a_promotion_is_told_though_a_standby_went_just_before(self, part: PgpoolPart, world: World) -> None:
        world.rows, world.failed = {"pg1": primary(), "pg2": standby("pg1")}, {"pg3": "refused"}
        part.tick(0.0)
        part.tick(0.5)
        assert world.orders == ["detach 3"]
        world.rows, world.failed = {"pg2": primary(2)}, {"pg1": "refused", "pg3": "refused"}
        part.tick(1.0)
        assert world.orders == ["detach 3", "promote 1"]

    def test_nothing_is_told_twice_while_pgpool_may_still_obey(self, part: PgpoolPart, world: World) -> None:
        world.obeys = False
        world.table[1] = replace(world.table[1], status="down")
        for turn in range(int(PATIENCE)):
            part.tick(float(turn))
        assert world.orders == ["attach 1"]
        part.tick(PATIENCE)
        assert world.orders == ["attach 1", "attach 1"]

    def test_what_became_right_may_be_told_again_at_once(self, part: PgpoolPart, world: World) -> None:
        world.table[1] = replace(world.table[1], status="down")
        part.tick(0.0)
        part.tick(0.5)
        world.table[1] = replace(world.table[1], status="down")
        part.tick(REFRESH + 1)
        assert world.orders == ["attach 1", "attach 1"]

    def test_no_promotion_while_pgpool_may_find_the_primary_itself(self, part: PgpoolPart, world: World) -> None:
        for number in world.table:
            world.table[number] = replace(world.table[number], role="standby")
        world.table[0] = replace(world.table[0], status="down")
        part.tick(0.0)
        assert world.orders == ["attach 0"]
        part.tick(1.0)
        part.tick(2.0)
        assert world.orders == ["attach 0"]
        part.tick(SETTLING)
        assert world.orders == ["attach 0", "promote 0"]

    def test_a_silent_primary_is_given_time(self, part: PgpoolPart, world: World) -> None:
        part.tick(0.0)
        del world.rows["pg1"]
        world.rows = {"pg2": standby("", receiver=""), "pg3": standby("", receiver="")}
        world.failed = {"pg1": "no answer within 2 s"}
        for turn in range(1, int(ALONE) + 1):
            part.tick(float(turn))
        assert world.orders == []
        part.tick(ALONE + 1)
        assert world.orders == ["detach 0"]

    def test_a_fault_of_pgpool_hides_no_node(self, part: PgpoolPart, world: World) -> None:
        part.tick(0.0)
        world.dead, world.failed = "no such\nsocket", {"pg3": "refused"}
        del world.rows["pg3"]
        assert lines(part.tick(REFRESH)) == ["pg3 does not answer: refused", "pgpool does not answer: no such socket"]
        assert part.tick(REFRESH + 0.5) == []
        world.dead = ""
        assert lines(part.tick(REFRESH + 1.0)) == [
            "pgpool answers again",
            "detach backend 3 (pg3): it has not answered for 1.0 s: refused",
        ]

    def test_a_failed_order_is_said_and_the_next_one_still_given(self, part: PgpoolPart, world: World) -> None:
        def refuse(number: int) -> None:
            raise PgherdError("not valid for failover")

        world.attach = refuse  # type: ignore[method-assign]
        world.table[1] = replace(world.table[1], status="down")
        world.table[3] = replace(world.table[3], status="down")
        said = lines(part.tick(0.0))
        assert said == [
            "attach backend 1 (pg2): it streams from pg1; failed: not valid for failover",
            "attach backend 3 (pg3): it streams from pg2; failed: not valid for failover",
        ]


class TestWatch:
    def test_misses_count_failures_in_a_row(self) -> None:
        world = World(rows={}, failed={"pg1": "refused"})
        watch = ServersWatch(CLUSTER, world)
        assert watch.look(0.0)[1].misses == {"pg1": 1}
        assert watch.look(1.0)[1].misses == {"pg1": 2}
        assert watch.look(3.0)[1].silent == {"pg1": 3.0}
        world.rows, world.failed = {"pg1": primary()}, {}
        assert watch.look(4.0)[1].misses == {}
        assert watch.look(4.0)[1].silent == {}

    def test_a_node_that_is_being_connected_to_keeps_its_last_word(self) -> None:
        world = World()
        watch = ServersWatch(CLUSTER, world)
        watch.look(0.0)
        del world.rows["pg2"]
        truth, doubt = watch.look(0.5)
        node = truth.node("pg2")
        assert node is not None
        assert node.postgres is not None
        assert doubt.misses == {}

    def test_upstreams_have_the_nodes_names(self) -> None:
        world = World(rows={**HEALTHY, "pg2": standby("10.0.0.4"), "pg3": standby("pg1")})
        truth, _doubt = ServersWatch(CLUSTER, world).look(0.0)
        assert truth.upstream("pg2") == "pg3"
        assert set(truth.streaming_standbys()) == {"pg2", "pg3"}

    def test_idle_time_begins_anew_with_a_new_primary(self) -> None:
        world = World(rows={"pg1": primary(), "pg2": standby("", receiver=""), "pg3": standby("pg1")})
        watch = ServersWatch(CLUSTER, world)
        watch.look(0.0)
        assert watch.look(IDLE)[1].idle == {"pg2": IDLE}
        world.rows = {"pg1": standby("", receiver=""), "pg2": standby("", receiver=""), "pg3": primary(2)}
        assert watch.look(IDLE + 1)[1].idle == {"pg1": 0.0, "pg2": 0.0}

    def test_the_newest_timeline_is_remembered_per_system(self) -> None:
        world = World(rows={"pg1": primary(5)})
        watch = ServersWatch(CLUSTER, world)
        watch.look(0.0)
        world.rows = {"pg1": primary(4)}
        assert watch.look(1.0)[1].timeline == 5
        world.rows = {"pg1": {**primary(1), "system_id": "8"}}
        assert watch.look(2.0)[1].timeline == 1

    def test_another_clusters_timeline_makes_nobody_stale(self) -> None:
        world = World(rows={"pg1": primary(), "pg2": standby("pg1"), "pg3": {**primary(9), "system_id": "8"}})
        truth, doubt = ServersWatch(CLUSTER, world).look(0.0)
        assert doubt.timeline == 1
        assert (truth.live_primary() or truth.nodes[2]).name == "pg1"


class TestGate:
    """C62: pgpool does not serve before enough backends can be used, and starts with those only."""

    def test_waits_until_enough_are_there_and_says_who_is_missing(self, tmp_path: Path) -> None:
        world = World(rows={"pg1": primary()}, failed={"pg2": "refused", "pg3": "refused"})
        said: list[str] = []
        turns: list[int] = []

        def sleep(_seconds: float) -> None:
            turns.append(1)
            assert len(turns) < 5
            if len(turns) == 3:
                world.rows["pg3"], world.failed = standby("pg1"), {"pg2": "refused"}

        path = tmp_path / "pgpool_status"
        assert wait(CLUSTER, world, sleep, said.append, str(path)) == 0
        assert len(turns) == 3
        assert said == [
            "1 of 2 backends can be used (pg2: refused; pg3: refused)",
            "2 of 2 backends can be used (pg2: refused)",
        ]
        assert path.read_text() == "up\ndown\nunused\nup\n"

    def test_a_stale_primary_is_not_started_with(self, tmp_path: Path) -> None:
        world = World(rows={"pg1": primary(1), "pg2": primary(2), "pg3": standby("pg2.example", 2)})
        path = tmp_path / "pgpool_status"
        path.write_text("up\nup\nunused\nup\n")
        assert wait(CLUSTER, world, path=str(path), say=lambda _line: None) == 0
        assert path.read_text() == "down\nup\nunused\nup\n"

    def test_without_a_primary_standbys_serve_reads(self, tmp_path: Path) -> None:
        idle = standby("", receiver="")
        world = World(rows={"pg2": idle, "pg3": idle}, failed={"pg1": "refused"})
        path = tmp_path / "pgpool_status"
        assert wait(CLUSTER, world, path=str(path), say=lambda _line: None) == 0
        assert path.read_text() == "down\nup\nunused\nup\n"


@dataclass
class OnePart:
    """A part that does as told."""

    name: str
    do: Callable[[int], Sequence[Decision]]
    interval: float = 0.01
    ticks: int = 0
    closed: bool = False

    def tick(self, now: float) -> Sequence[Decision]:
        self.ticks += 1
        return self.do(self.ticks)

    def close(self) -> None:
        self.closed = True


class TestAgent:
    def test_a_part_that_fails_is_shown_once_and_hides_no_other(self) -> None:
        said: list[str] = []

        def bad(turn: int) -> Sequence[Decision]:
            if turn < 3:
                raise PgherdError("two\nlines")
            if turn == 3:
                raise ZeroDivisionError("x")
            return []

        def good(turn: int) -> Sequence[Decision]:
            if turn == 20:
                agent.stop()
            return [Decision("did it")] if turn == 1 else []

        parts = [OnePart("bad", bad), OnePart("good", good)]
        agent = Agent(parts, said.append)
        assert agent.run() == 0
        assert [line for line in said if line.startswith("bad")] == [
            "bad: fault: two lines",
            "bad: fault: unforeseen: ZeroDivisionError: x",
            "bad: recovered",
        ]
        assert "good: did it" in said
        assert said[0] == "agent: runs bad, good"
        assert said[-1] == "agent: stopped"
        assert all(part.closed for part in parts)


def test_the_looks_are_hurried_while_a_primary_has_just_gone(world: World, part: PgpoolPart) -> None:
    pace = []
    for now, there in [(0.0, True), (1.0, False), (HURRIED + 1.0, False), (HURRIED + 2.0, True)]:
        world.rows = dict(HEALTHY) if there else {name: row for name, row in HEALTHY.items() if name != "pg1"}
        world.failed = {} if there else {"pg1": "connection refused"}
        part.tick(now)
        pace.append(part.interval)
    assert pace == [INTERVAL, HURRY, INTERVAL, INTERVAL]


def test_a_file_is_read_where_the_agent_has_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "AGENT_DIRECTORY", str(tmp_path))
    assert secret_file("/etc/pgherd/pcp.pass") == "/etc/pgherd/pcp.pass"
    (tmp_path / "pcp.pass").write_text("x")
    assert secret_file("/etc/pgherd/pcp.pass") == str(tmp_path / "pcp.pass")
