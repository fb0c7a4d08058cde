# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Asking: what is asked of whom, what each failure becomes, and that nothing waits for the dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from pgherd.errors import PgherdError, SqlError, Unreachable
from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.observe.ask import ask_node, reason
from pgherd.observe.gather import gather, grants, observe, roles
from pgherd.ports.sql import Server
from scripted import ScriptedServer
from world import BARMAN

NODE = Node("pg1", 1, "postgres", "127.0.0.1")
CLUSTER = Cluster("demo", (NODE, Node("pg2", 2, "postgres", "127.0.0.2", "pg1")), (Pgpool("pool1", "127.0.0.3"),))

# What the statements returned on a primary with one standby (PostgreSQL 17.6, repmgr 5.5), shortened.
STATE = {
    "in_recovery": False,
    "timeline": 1,
    "version": 170006,
    "system_id": "7710523845576047719",
    "started_at": 1795246230.788282,
    "write_lsn": "0/3060510",
    "receive_lsn": None,
    "replay_lsn": None,
    "replay_age": None,
    "replay_paused": False,
    "upstream": "",
    "receiver": "",
    "receiver_slot": "",
    "synchronous_standby_names": "",
}
DETAILS = {
    "pending_restart": ["shared_buffers"],
    "altered": ["primary_conninfo"],
    "senders": [
        {
            "application_name": "pg2",
            "state": "streaming",
            "sync_state": "async",
            "client": "127.0.0.2",
            "lag_bytes": 0,
            "lag_seconds": 0.001777,
            "reply_age": 2.621125,
        }
    ],
    "slots": [
        {
            "name": "repmgr_slot_2",
            "type": "physical",
            "active": True,
            "wal_status": "reserved",
            "retained_bytes": 0,
            "inactive_since": None,
        }
    ],
    "copies": [],
    "archive_failing_since": None,
}
REPMGR = {
    "nodes": [
        {
            "id": 1,
            "name": "pg1",
            "type": "primary",
            "active": True,
            "upstream_id": None,
            "priority": 100,
            "location": "default",
        }
    ],
    "running": True,
    "paused": False,
    "upstream_seen_age": None,
    "events": [{"node_id": 1, "event": "primary_register", "at": 1.0, "successful": True, "details": ""}],
}
POOL = [
    {"node_id": "0", "hostname": "127.0.0.1", "port": "5432", "status": "up", "pg_status": "up", "lb_weight": "0.5",
     "role": "primary", "pg_role": "primary", "last_status_change": "2026-11-21 07:32:08"},
    {"node_id": "1", "hostname": "192.0.2.9", "port": "5432", "status": "down", "pg_status": "down", "lb_weight": "0.5",
     "role": "standby", "pg_role": "unknown", "last_status_change": "2026-11-21 07:32:08"},
]  # fmt: skip


class Doors:
    """Opens scripted sessions by name, or fails to, and keeps what was asked for."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.opened: list[tuple[str, Mapping[str, Any]]] = []

    @contextmanager
    def __call__(self, name: str, parameters: Mapping[str, Any], timeout: float) -> Iterator[Server]:
        self.opened.append((name, parameters))
        found = self.answers[name]
        answer = found.pop(0) if isinstance(found, list) else found
        if isinstance(answer, BaseException):
            raise answer
        yield ScriptedServer(name, answer)


def says(state: Any = (STATE,), details: Any = (DETAILS,), repmgr: Any = (REPMGR,)) -> tuple[Any, ...]:
    more = (
        ("rolvaliduntil", ({"ends": {"app": 9.0}},)),
        ("datcollversion", ({"versions": {"app": ["2.36", "2.41"]}},)),
    )
    ends = () if isinstance(details, BaseException) else more
    return (
        ("pg_is_in_recovery.*pg_control_system", state),
        ("pg_stat_replication", details),
        *ends,
        ("repmgr", repmgr),
    )


def test_a_node_answers_in_five_statements() -> None:
    doors = Doors(pg1=says())
    view = ask_node(CLUSTER, NODE, doors)
    assert view.why == view.repmgr_why == ""
    assert view.addresses == ("127.0.0.1",)
    assert view.postgres
    assert view.postgres.position == 0x3060510
    assert view.postgres.pending_restart == ("shared_buffers",)
    assert view.postgres.altered == ("primary_conninfo",)
    assert view.postgres.senders[0].application_name == "pg2"
    assert view.postgres.slots[0].active
    assert view.postgres.password_ends == {"app": 9.0}
    assert view.postgres.collations == {"app": ("2.36", "2.41")}
    assert view.repmgr
    assert view.repmgr.armed
    assert view.repmgr.nodes[0].type == "primary"
    assert view.repmgr.events[0].event == "primary_register"


def test_it_asks_as_the_monitoring_role_over_verified_tls() -> None:
    doors = Doors(pg1=says())
    ask_node(CLUSTER, NODE, doors)
    ((_name, parameters),) = doors.opened
    assert (parameters["user"], parameters["sslmode"]) == ("pgherd_monitor", "verify-full")
    assert "password" not in parameters


def test_a_list_that_cannot_be_read_hides_nothing_else() -> None:
    refused = SqlError("SELECT", "pg1", "permission denied for view pg_replication_slots", "42501")
    view = ask_node(CLUSTER, NODE, Doors(pg1=says(details=refused)))
    assert view.postgres
    assert view.postgres.timeline == 1
    assert "permission denied for view pg_replication_slots" in view.postgres.details_why
    assert view.repmgr


def test_metadata_that_cannot_be_read_hide_nothing_else() -> None:
    refused = SqlError("SELECT", "pg1", "permission denied for schema repmgr", "42501")
    view = ask_node(CLUSTER, NODE, Doors(pg1=says(repmgr=refused)))
    assert view.postgres
    assert view.repmgr is None
    assert "permission denied for schema repmgr" in view.repmgr_why


def test_without_the_repmgr_database_postgres_speaks_for_itself() -> None:
    missing = Unreachable('connect to pg1: FATAL: database "repmgr" does not exist')
    doors = Doors(pg1=[missing, says()[:4]])
    view = ask_node(CLUSTER, NODE, doors)
    assert [parameters["dbname"] for _name, parameters in doors.opened] == ["repmgr", "postgres"]
    assert view.postgres
    assert view.repmgr is None
    assert view.repmgr_why == 'FATAL: database "repmgr" does not exist'


def test_what_a_role_may_not_ask_hides_nothing_else() -> None:
    refused = SqlError("SELECT", "pg1", "permission denied for function pg_database_collation_actual_version", "42501")
    statements = [(text, refused if text in ("rolvaliduntil", "datcollversion") else rows) for text, rows in says()]
    view = ask_node(CLUSTER, NODE, Doors(pg1=tuple(statements)))
    assert view.postgres
    assert view.postgres.details_why == ""
    assert view.postgres.collations is view.postgres.password_ends is None


def test_a_dead_node_is_a_reason() -> None:
    view = ask_node(CLUSTER, NODE, Doors(pg1=Unreachable("connect to pg1: connection failed: Connection refused")))
    assert view.postgres is None
    assert "Connection refused" in view.why


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (
            'connect to pg4: connection failed: connection to server at "172.30.77.60", port 5432 failed: Connection '
            "refused Is the server running on that host and accepting TCP/IP connections?",
            "Connection refused",
        ),
        (
            'connect to pg4: connection failed: connection to server at "172.30.77.60", port 5432 failed: FATAL: the '
            "database system is starting up",
            "the database system is starting up",
        ),
        (
            'connect to pg4: connection failed: connection to server at "pg4" (fd00:172:30:89::11), port 5432 failed: FATAL: '
            "the database system is shutting down",
            "the database system is shutting down",
        ),
        # By psycopg 3.1.
        (
            "connect to pg4: connection failed: 172:30:89::11), port 5432 failed: FATAL: the database system is starting up",
            "the database system is starting up",
        ),
        (
            "connect to pg4: connection failed: 172:30:89::11), port 5432 failed: Connection refused Is the server running",
            "Connection refused",
        ),
        ('connect to pg4: connection failed: FATAL: role "a, b" does not exist', 'role "a, b" does not exist'),
        ("connect to pg4: connection timeout expired", "no answer in time"),
        (
            'connect to pg4: connection failed: connection to server at "10.0.0.1", port 5432 failed: timeout expired',
            "no answer in time",
        ),
        (
            "the name pg9 does not resolve: Name or service not known",
            "the name pg9 does not resolve: Name or service not known",
        ),
    ],
)
def test_reasons_are_short(said: str, short: str) -> None:
    assert reason(Unreachable(said)) == short


def test_others_names_for_a_node_become_its_name() -> None:
    standby = {**STATE, "in_recovery": True, "upstream": "127.0.0.1", "receiver": "streaming", "write_lsn": None}
    doors = Doors(pg1=says(), pg2=says(state=(standby,)), pool1=(("SHOW POOL_NODES", POOL),))
    topology = observe(CLUSTER, open_=doors)
    assert topology.upstream("pg2") == "pg1"
    backends = topology.pgpools[0].backends
    assert backends
    assert [backend.node for backend in backends] == ["pg1", "192.0.2.9"]
    assert [backend.status for backend in backends] == ["up", "down"]
    assert backends[1].since == time.mktime((2026, 11, 21, 7, 32, 8, 0, 0, -1))


def test_each_part_fails_for_itself() -> None:
    cluster = Cluster("demo", (NODE,), CLUSTER.pgpools, (Barman("backup1", "127.0.0.4"),))

    def no_agent(_cluster: Cluster, _host: Barman) -> Any:
        raise Unreachable("its agent does not answer: Connection refused")

    doors = Doors(pg1=says(), pool1=Unreachable("connect to pool1: connection timeout expired"))
    topology = observe(cluster, open_=doors, ask_barman=no_agent)
    assert topology.pgpools[0].why == "no answer in time"
    assert topology.barmans[0].why == "its agent does not answer: Connection refused"
    assert topology.live_primary()


def test_barman_answers() -> None:
    cluster = Cluster("demo", (NODE,), (), (Barman("backup1", "127.0.0.4"),))
    topology = observe(cluster, open_=Doors(pg1=says()), ask_barman=lambda _cluster, _host: BARMAN)
    assert topology.barmans[0].view == BARMAN


def test_the_dead_hold_nobody_up() -> None:
    release = threading.Event()
    began = time.monotonic()
    said, failed = gather({"dead": lambda: release.wait(30), "live": lambda: True}, limit=0.2)
    assert time.monotonic() - began < 5
    assert said == {"live": True}
    assert failed == {}
    release.set()


def test_an_unforeseen_answer_is_a_reason_too() -> None:
    doors = Doors(pg1=says(), pg2=says(), pool1=(("SHOW POOL_NODES", [{"odd": "row"}]),))
    topology = observe(CLUSTER, open_=doors)
    assert topology.pgpools[0].backends is None
    assert "node_id" in topology.pgpools[0].why
    assert topology.live_primary() is None  # two primaries by this script, and both were heard


def test_an_error_of_the_core_names_itself() -> None:
    def broken() -> None:
        raise PgherdError("broken")

    assert gather({"x": broken}, 5.0) == ({}, {"x": "PgherdError: broken"})


def test_the_role_has_no_more_than_it_reads() -> None:
    (role,) = roles(15)
    assert (role.superuser, role.replication, role.memberships) == (False, False, ("pg_monitor",))
    assert roles(17)[0].memberships == ("pg_monitor", "pg_use_reserved_connections")
    held = {grant.object: grant.privileges for grant in grants(17)}
    assert held["repmgr.nodes"] == ("SELECT",)
    assert "INSERT" not in {privilege for privileges in held.values() for privilege in privileges}
    assert {grant.role for grant in grants(15)} == {role.name}


REFUSED = Unreachable('connect to pg2: connection to server at "pg2", port 5432 failed: Connection refused')
ALONE = {**STATE, "in_recovery": True, "upstream": "", "receiver": "", "write_lsn": None}


@pytest.mark.parametrize(
    ("what", "second", "words"),
    [
        ("it is down", REFUSED, "FATAL: no such library"),
        ("it does not stream", says(state=(ALONE,)), "FATAL: no such library"),
        ("it is well", says(state=({**ALONE, "receiver": "streaming", "upstream": "127.0.0.1"},)), ""),
        ("its host is gone", Unreachable("connect to pg2: timeout expired"), ""),
    ],
)
def test_why_a_server_does_not_run_or_stream_is_its_agents_to_say(what: str, second: Any, words: str) -> None:
    asked: list[str] = []

    def ask(_cluster: Cluster, node: Any) -> str:
        asked.append(node.name)
        return "FATAL: no such library"

    topology = observe(CLUSTER, open_=Doors(pg1=says(), pg2=second), ask=ask)
    view = topology.node("pg2")
    assert view
    assert view.words == words, what
    assert asked == (["pg2"] if words else [])


def test_an_agent_that_does_not_answer_hides_nothing() -> None:
    def ask(_cluster: Cluster, _node: Any) -> str:
        raise Unreachable("its agent does not answer: Connection refused")

    view = observe(CLUSTER, open_=Doors(pg1=says(), pg2=REFUSED), ask=ask).node("pg2")
    assert view
    assert (view.refused, view.words) == (True, "")
