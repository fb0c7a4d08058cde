# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A standby that replays late because somebody wants it: nobody waits for it, and it is not taken for a broken one."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import standby_duty, upkeep
from pgherd.agent.comparison import Comparison
from pgherd.agent.upkeep import Upkeep
from pgherd.data.wal import AvailableWal
from pgherd.duties import standby
from pgherd.inventory.check import cluster_problems
from pgherd.model import Cluster, Node
from pgherd.nodes import node_apply
from pgherd.observe.node_state import TOLD_TO_WAIT, WANTS_WAL
from pgherd.observe.tracker import Tracker
from pgherd.options import Options
from pgherd.places.host.systemd import SystemdServices
from pgherd.places.host.units import units
from pgherd.places.host.words import words
from pgherd.ports.links import Links
from pgherd.render import conf_pgpool, conf_postgres
from pgherd.status.problems import problems
from scripted import ScriptedRunner, ScriptedServer
from test_root import CLUSTER as RENDERED
from test_standby_duty import THREE, duty_of, primary, streaming, survey, voice_of
from world import CLUSTER, REGISTERED, healthy, stopped, with_postgres, with_repmgr

HEALTHY = healthy()
HOUR = {"recovery_min_apply_delay": "1h"}


def late(world: Cluster, name: str, **changes: Any) -> Cluster:
    """*world* in which one node is a late one."""
    given = {"settings": HOUR, "priority": 0, **changes}
    return replace(world, nodes=tuple(replace(node, **given) if node.name == name else node for node in world.nodes))


@pytest.mark.parametrize(
    ("value", "delay"),
    [("1h", "1h"), (5000, "5000"), ("0.5 min", "0.5 min"), (0, ""), ("0", ""), ("0s", ""), (None, "")],
)
def test_what_is_a_delay(value: Any, delay: str) -> None:
    settings = {} if value is None else {"Recovery_min_apply_delay": value}
    assert Node("pg1", 1, "postgres", "pg1", settings=settings).delay == delay


@pytest.mark.parametrize(("priority", "settings", "wrong"), [(0, HOUR, 0), (100, HOUR, 1), (100, {}, 0)])
def test_who_may_take_over_is_not_late(priority: int, settings: dict[str, str], wrong: int) -> None:
    world = replace(late(THREE, "pg3", priority=priority, settings=settings), durability="async")
    said = [text for text in cluster_problems(world) if "recovery_min_apply_delay" in text]
    assert len(said) == wrong
    assert all(text.startswith("pg3: it replays commits 1h late") and "give it priority 0" in text for text in said)


@pytest.mark.parametrize(("weights", "weight"), [({}, 0.0), ({"pg3": 2}, 2.0)], ids=["by default", "asked for"])
def test_it_answers_no_reads(weights: dict[str, int], weight: float) -> None:
    world = replace(late(CLUSTER, "pg3"), options=Options.of({**vars(CLUSTER.options), "pgpool_weights": weights}))
    assert {one.name: one.weight for one in conf_pgpool.backends(world)} == {
        **{node.name: 1.0 for node in world.data_nodes},
        "pg3": weight,
    }


@pytest.mark.parametrize("name", ["pg1", "w1"])
def test_it_does_not_hold_vacuum_back(name: str) -> None:
    world = late(RENDERED, "pg1")
    found = conf_postgres.settings(world, world.node(name), 17)
    assert found["hot_standby_feedback"] == (name != "pg1")


@pytest.mark.parametrize("is_late", [True, False])
def test_its_own_record_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, is_late: bool) -> None:
    world = late(CLUSTER, "pg3") if is_late else CLUSTER
    wait = [] if is_late else ["--wait-sync=300"]
    words = ["-f", "/etc/repmgr/17/repmgr.conf", "standby", "register", "--force", "--upstream-node-id=1", *wait]
    runner = ScriptedRunner([(["/usr/lib/postgresql/17/bin/repmgr", *words], "")])
    monkeypatch.setattr(
        node_apply, "connect", lambda *_: nullcontext(ScriptedServer("pg3", [("RecoveryApplyDelay", [])]))
    )
    services = SystemdServices(runner, units(17))
    node_apply.NodeExecutor(here_of(world, "pg3", runner=runner, services=services)).register_standby("pg1")


@pytest.mark.parametrize("startup", [*WANTS_WAL, *TOLD_TO_WAIT, ""])
def test_what_it_still_replays_nobody_need_have(monkeypatch: pytest.MonkeyPatch, startup: str) -> None:
    """After a failover it has no stream until it has replayed what it has; the new primary has less than that by then."""
    seen: list[standby.Standby] = []
    monkeypatch.setattr(standby, "decide", lambda found: seen.append(found) or standby.Duty(""))
    monkeypatch.setattr(standby_duty.last_words, "said", lambda *_: "")
    monkeypatch.setattr(standby_duty.datadir, "local", lambda *_: None)
    monkeypatch.setattr(standby_duty, "foreign", lambda *_: "")
    monkeypatch.setattr(Comparison, "parted", lambda *_: None)
    monkeypatch.setattr(standby_duty.wal, "available_wal", lambda _server: AvailableWal(100, 16 * 1024 * 1024, 1))
    duty = duty_of(THREE, "pg2")
    links = Links(lambda _name: SimpleNamespace(close=lambda: None), lambda: None)  # type: ignore[arg-type, return-value]
    duty._here = replace(duty._here, links=links)
    mine = replace(voice_of("pg2", at=5 * 16 * 1024 * 1024), startup=startup)
    for now in (0.0, 10.0, 20.0):
        duty.run(now, mine, survey(primary("pg1"), mine), "pg1")
        thread = duty._work._thread
        if thread:
            thread.join(10)
    assert bool(seen[-1].useless) == (startup in WANTS_WAL)
    assert (seen[-1].no_stream > 0) == (startup not in TOLD_TO_WAIT)


ROWS = {
    "as it is": {"type": "standby", "active": True, "upstream": 1},
    "as it was": {"type": "standby", "active": True, "upstream": 2},
}


@pytest.mark.parametrize(("at_primary", "writes"), [("as it is", 0), ("as it was", 1)])
def test_the_metadata_are_written_once(monkeypatch: pytest.MonkeyPatch, at_primary: str, writes: int) -> None:
    """Its own copy of them says for an hour what was."""
    said: list[str] = []
    world = late(THREE, "pg3")
    servers = {
        "pg3": ScriptedServer("pg3", [("FROM repmgr.nodes", [ROWS["as it was"]])]),
        "pg1": ScriptedServer(
            "pg1",
            [("FROM repmgr.nodes", [ROWS[at_primary]]), *([("UPDATE repmgr.nodes", [])] if writes else [])],
        ),
    }
    monkeypatch.setattr(upkeep, "session", lambda _links, name: nullcontext(servers[name]))
    keeper = Upkeep(here_of(world, "pg3", say=said.append), Tracker(world, "pg3"))
    keeper._row(0.0, streaming("pg3", follows="pg1"), "pg1")
    assert len(said) == writes


def told(world: Cluster, topology: Any) -> list[tuple[str, str, str]]:
    return [(one.id, one.node, words(one.cure)) for one in problems(world, topology)]


def test_lag_that_was_ordered_is_no_problem() -> None:
    behind = with_postgres(HEALTHY, "pg3", replay_lsn="0/1000", replay_age=3600.0)
    assert [one[:2] for one in told(CLUSTER, behind)] == [("lag", "pg3")]
    assert told(late(CLUSTER, "pg3"), behind) == []


def test_what_it_waits_for_after_a_failover_is_said_with_what_to_look_at() -> None:
    """To restart it, or to let it follow, changes nothing."""
    alone = with_postgres(HEALTHY, "pg3", upstream="", receiver="", replay_lsn="0/1000")
    (found,) = [one for one in problems(late(CLUSTER, "pg3"), alone) if one.id == "not-streaming"]
    assert "it first replays what it has, 1h late" in found.text
    assert "wait_event" in words(found.cure)


@pytest.mark.parametrize("down", [False, True])
def test_what_to_do_without_any_stream_is_not_to_restart_it(down: bool) -> None:
    two = replace(CLUSTER, nodes=CLUSTER.nodes[:2], durability="async", pgpools=(), barmans=())
    alone = with_postgres(HEALTHY, "pg2", upstream="", receiver="", replay_lsn="0/1000")
    alone = with_postgres(alone, "pg1", senders=())
    if down:
        alone = stopped(alone, "pg2")
    alone = replace(alone, nodes=tuple(view for view in alone.nodes if view.name in ("pg1", "pg2")))
    (found,) = [one for one in problems(late(two, "pg2"), alone) if one.id == "no-standby"]
    assert ("wait_event" in words(found.cure)) == (not down)


def test_repmgrd_that_waits_for_its_own_record_is_no_problem() -> None:
    others = tuple(row for row in REGISTERED if row.name != "pg3")
    new = with_repmgr(HEALTHY, "pg3", nodes=others, running=False)
    assert told(CLUSTER, new) == []
    assert [one[:2] for one in told(CLUSTER, with_repmgr(HEALTHY, "pg3", running=False))] == [("repmgrd-down", "pg3")]
