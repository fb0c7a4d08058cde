# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The questions that a topology answers: above all who is primary, when the nodes disagree."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pgherd.observe.topology import Lag, Topology
from pgherd.observe.views import Copy, Event, Sender
from pgherd.programs.postgres import parse_sync_names
from world import NOW, healthy, stopped, with_node, with_postgres, with_repmgr


def foreign(topology: Topology, *names: str, **changes: object) -> Topology:
    """Those nodes hold another cluster than the rest."""
    for name in names:
        topology = with_postgres(topology, name, system_id="6", **changes)
    return topology


def promoted(topology: Topology, name: str, timeline: int, *followers: str) -> Topology:
    """*name* leaves recovery on a new timeline, and *followers* stream from it."""
    changes = {"in_recovery": False, "timeline": timeline, "write_lsn": "0/6000000", "upstream": "", "receiver": ""}
    found = with_postgres(topology, name, **changes)
    for follower in followers:
        found = with_postgres(found, follower, upstream=name, receiver="streaming", timeline=timeline)
    return found


def live(topology: Topology) -> str | None:
    found = topology.live_primary()
    return found.name if found else None


@pytest.mark.parametrize(
    ("topology", "primary"),
    [
        pytest.param(healthy(), "pg1", id="the only one"),
        pytest.param(stopped(healthy(), "pg1"), None, id="none"),
        pytest.param(promoted(stopped(healthy(), "pg1"), "pg2", 2, "pg3", "pg4"), "pg2", id="after a failover"),
        pytest.param(promoted(healthy(), "pg2", 2, "pg3", "pg4"), "pg2", id="the old one is back: older timeline"),
        pytest.param(promoted(healthy(), "pg5", 2), "pg1", id="a stray beside the primary that can acknowledge"),
        pytest.param(promoted(healthy(), "pg4", 2, "pg5"), "pg1", id="a stray that has kept its follower"),
        pytest.param(
            with_postgres(promoted(healthy(), "pg5", 2), "pg4", timeline=2, receiver="", upstream=""),
            "pg1",
            id="a standby behind a stray makes no stale one of a primary that can acknowledge",
        ),
        pytest.param(
            with_postgres(promoted(healthy(), "pg5", 2), "pg1", synchronous_standby_names=""),
            "pg5",
            id="without synchronous standbys the newest timeline goes before the most followers",
        ),
        pytest.param(
            with_postgres(promoted(healthy(), "pg4", 2), "pg2", upstream="pg9"),
            "pg4",
            id="the newest timeline goes before one that cannot acknowledge",
        ),
        pytest.param(promoted(healthy(), "pg4", 1), "pg1", id="same timeline: most followers"),
        pytest.param(
            with_postgres(promoted(healthy(), "pg4", 1, "pg5"), "pg2", upstream="", receiver=""),
            "pg4",
            id="followers count through the cascade only while they stream",
        ),
        pytest.param(
            promoted(stopped(stopped(healthy(), "pg3"), "pg5"), "pg4", 1, "pg2"),
            "pg4",
            id="same timeline: it is followed",
        ),
        pytest.param(
            promoted(stopped(stopped(stopped(healthy(), "pg3"), "pg5"), "pg2"), "pg4", 1), None, id="nobody can tell"
        ),
        pytest.param(
            with_postgres(stopped(stopped(healthy(), "pg2"), "pg4"), "pg3", timeline=2),
            None,
            id="a stale one: a standby has been on a newer timeline",
        ),
        pytest.param(foreign(promoted(healthy(), "pg5", 9), "pg5"), "pg1", id="another cluster's, on a newer timeline"),
        pytest.param(
            foreign(promoted(healthy(), "pg4", 9, "pg5"), "pg4", "pg5"), "pg1", id="another cluster's, with a follower"
        ),
        pytest.param(
            foreign(promoted(stopped(healthy(), "pg1"), "pg5", 9), "pg5"), None, id="only another cluster's is left"
        ),
        pytest.param(foreign(healthy(), "pg5", timeline=9), "pg1", id="another cluster's standby makes nobody stale"),
        pytest.param(
            foreign(stopped(promoted(healthy(), "pg4", 9, "pg5"), "pg3"), "pg4", "pg5"),
            None,
            id="as many of one cluster as of another: nobody can tell",
        ),
    ],
)
def test_live_primary(topology: Topology, primary: str | None) -> None:
    assert live(topology) == primary


def test_a_witness_is_no_primary() -> None:
    assert [node.name for node in healthy().primaries()] == ["pg1"]


def test_followers_reach_through_the_cascade() -> None:
    assert set(healthy().followers("pg1")) == {"pg2", "pg3", "pg4", "pg5"}
    assert healthy().followers("pg4") == ("pg5",)


def test_streams_that_run_in_a_circle_end() -> None:
    topology = with_postgres(healthy(), "pg2", upstream="pg3")
    assert topology.followers("pg2") == ("pg3",)
    assert set(topology.streaming_standbys()) == {"pg4", "pg5"}


def test_a_receiver_that_waits_does_not_stream() -> None:
    topology = with_postgres(healthy(), "pg4", receiver="waiting")
    assert topology.upstream("pg4") == ""
    assert set(topology.streaming_standbys()) == {"pg2", "pg3"}


def sender(topology: Topology, upstream: str, name: str, **changes: object) -> Topology:
    node = topology.node(upstream)
    assert node
    assert node.postgres
    rows = tuple(
        replace(row, **changes) if row.application_name == name else row  # type: ignore[arg-type]
        for row in node.postgres.senders
    )
    return with_postgres(topology, upstream, senders=rows)


@pytest.mark.parametrize(
    ("topology", "lag"),
    [
        pytest.param(healthy(), Lag(0, 0.0), id="an idle primary's last commit is an hour old"),
        pytest.param(
            sender(with_postgres(healthy(), "pg3", replay_lsn="0/4000060"), "pg2", "pg3", lag_seconds=40.0),
            Lag(0x1000000, 40.001),
            id="the sum along the chain",
        ),
        pytest.param(
            sender(
                with_postgres(healthy(), "pg3", replay_lsn="0/4000060", replay_age=5.0), "pg2", "pg3", lag_seconds=40.0
            ),
            Lag(0x1000000, 5.0),
            id="the last replayed commit is younger",
        ),
        pytest.param(
            sender(with_postgres(healthy(), "pg3", replay_lsn="0/4000060"), "pg2", "pg3", reply_age=50.0),
            Lag(0x1000000, 50.001),
            id="a receiver that no longer answers",
        ),
        pytest.param(
            with_postgres(healthy(), "pg3", replay_lsn="0/4000060", upstream="", receiver=""),
            Lag(0x1000000, 3600.0),
            id="no stream: the age of what it has",
        ),
        pytest.param(with_postgres(healthy(), "pg3", replay_lsn="0/5000090"), Lag(0, 0.0), id="asked a moment later"),
        pytest.param(stopped(healthy(), "pg1"), Lag(), id="no primary"),
        pytest.param(stopped(healthy(), "pg3"), Lag(), id="the node is down"),
    ],
)
def test_lag(topology: Topology, lag: Lag) -> None:
    assert topology.lag("pg3") == lag


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", (0, ())),
        ('ANY 1 ("pg1", "pg2")', (1, ("pg1", "pg2"))),
        ("FIRST 2 (a, b,c)", (2, ("a", "b", "c"))),
        ("2 (a, b)", (2, ("a", "b"))),
        ("pg1", (1, ("pg1",))),
        ('pg1, "odd, ""name"""', (1, ("pg1", 'odd, "name"'))),
        ("*", (1, ("*",))),
        ('any 1 ("pg-1.example")', (1, ("pg-1.example",))),
    ],
)
def test_sync_names(text: str, parsed: tuple[int, tuple[str, ...]]) -> None:
    assert parse_sync_names(text) == parsed


def test_armed_means_running_and_not_paused() -> None:
    topology = with_repmgr(with_repmgr(healthy(), "pg2", paused=True), "pg3", running=False)
    assert topology.armed() == ("pg1", "pg4", "pg5", "w1")


@pytest.mark.parametrize("copy", [Copy("pg_basebackup", "10.0.0.4", 42, 100), Copy("pg4", "192.0.2.1", 42)])
def test_a_clone_is_known_by_address_or_name(copy: Copy) -> None:
    topology = with_postgres(stopped(healthy(), "pg4"), "pg1", copies=(copy,))
    assert topology.copying("pg4") == copy
    assert topology.copying("pg5") is None


def test_a_base_backup_is_no_stream() -> None:
    node = healthy().node("pg1")
    assert node
    assert node.postgres
    backup = Sender("pg4", "backup", "async")
    topology = with_postgres(healthy(), "pg1", senders=(backup, *node.postgres.senders))
    row = topology.sender("pg4")
    assert row
    assert row.state == "streaming"


def test_json_and_back() -> None:
    topology = with_repmgr(healthy(), "pg1", events=(Event(1, "child_node_disconnect", NOW),))
    topology = with_postgres(topology, "pg1", pending_restart=("shared_buffers",), copies=(Copy("x", "10.0.0.9", 1),))
    topology = with_node(stopped(topology, "pg5"), "pg4", postgres=None, why="no answer in time")
    assert Topology.from_dict(json.loads(json.dumps(topology.to_dict()))) == topology
