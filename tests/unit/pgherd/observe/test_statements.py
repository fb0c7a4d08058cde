# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What nodes are asked, put to real servers by the roles that ask: a primary, a standby that streams, one that is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest
from pgherd.model import AGENT_ROLE, MONITOR_ROLE, REPMGR_DATABASE
from pgherd.observe.ask import STATE, ask_postgres, parse_view
from pgherd.observe.node_state import NodeState, ask
from pgherd.observe.server_state import ServerState
from pgherd.observe.views import PostgresView
from pgherd.ports.sql import connect
from pgherd.promotion.handover import FLUSH
from real_servers import REPMGR, VERSIONS, RealServers, installed, running

pytestmark = installed


class Pair(RealServers):
    """Two servers in *place*: ``a``, and ``b``, which streams from it."""

    PORTS = {"a": 5501, "b": 5502}

    def begin(self) -> None:
        place = self.place
        self.run("initdb", "-D", f"{place}/a", "--no-sync", "-U", "postgres", "-A", "trust", "--locale=C")
        conf = "listen_addresses = ''\nfsync = off\nshared_buffers = 1MB\nhot_standby_feedback = on\nwal_keep_size = 64MB\n"
        (place / "a/postgresql.conf").write_text(
            f"{conf}unix_socket_directories = '{place}'\ninclude_if_exists = 'own'\n"
        )
        self.start("a")
        self.sql("a", f"CREATE ROLE {MONITOR_ROLE} LOGIN IN ROLE pg_monitor")
        self.sql("a", f"CREATE ROLE {AGENT_ROLE} LOGIN REPLICATION IN ROLE pg_monitor")
        self.sql("a", f"CREATE DATABASE {REPMGR_DATABASE}")
        for text in (REPMGR, f"GRANT USAGE ON SCHEMA repmgr TO {AGENT_ROLE}"):
            self.sql("a", text, REPMGR_DATABASE)
        self.run(
            "pg_basebackup",
            "-D",
            f"{place}/b",
            "-h",
            str(place),
            "-p",
            "5501",
            "-U",
            AGENT_ROLE,
            "-c",
            "fast",
            "--no-sync",
        )
        self.run("pg_ctl", "-D", f"{place}/a", "-m", "fast", "stop")
        # Both begin as standbys, so that promoting one begins another timeline, on which the other goes on.
        source = f"host={place} port=5501 user={AGENT_ROLE} application_name=b"
        for name, own in (("a", ""), ("b", f"primary_conninfo = '{source}'\n")):
            (place / name / "standby.signal").touch()
            (place / name / "own").write_text(own)
        self.start("a")
        self.start("b")
        self.until(lambda: self.monitor("b").streaming)
        self.sql("a", "SELECT pg_promote()")
        self.until(lambda: self.monitor("b").timeline == 2)

    def monitor(self, name: str, database: str = "postgres") -> PostgresView:
        """As a pgpool's host and the status see it."""
        with connect(name, self.login(name, MONITOR_ROLE, database)) as server:
            return parse_view(server.rows(STATE)[0])

    def agent(self, name: str) -> NodeState:
        """As agents see it."""
        with connect(name, self.login(name, AGENT_ROLE, REPMGR_DATABASE)) as server:
            return ask(name, server)


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda path: path.parts[-3])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with running(Pair, request.param) as found:
        yield found


def common(state: ServerState) -> dict[str, object]:
    """What both values have, but positions, which go on."""
    moving = ("write_lsn", "receive_lsn", "replay_lsn")
    return {item.name: getattr(state, item.name) for item in fields(ServerState) if item.name not in moving}


def test_what_nobody_commits_is_flushed_by_a_fenced_primary(pair: Pair) -> None:
    """Told so by the agents' role: what is not flushed is sent to no standby."""
    with connect("a", pair.login("a", AGENT_ROLE, REPMGR_DATABASE)) as server:
        server.run("SET default_transaction_read_only = on")
        server.run("SET synchronous_commit = local")
        server.run("SELECT pg_logical_emit_message(false, 'reader', repeat('x', 1000))")
        written = server.rows("SELECT pg_current_wal_insert_lsn()::text AS lsn")[0]["lsn"]
        server.run(FLUSH)
        query = f"SELECT pg_current_wal_flush_lsn() >= '{written}'::pg_lsn AS flushed"
        assert server.rows(query)[0]["flushed"]


def test_a_primary(pair: Pair) -> None:
    seen, told = pair.monitor("a"), pair.agent("a")
    assert common(seen) == common(told)
    assert (told.in_recovery, told.timeline, told.read_only, told.streaming) == (False, 2, False, False)
    assert told.write_lsn
    assert told.receive_lsn is told.replay_lsn is None
    assert told.limits["max_connections"] == 100
    assert list(told.senders) == ["b"]
    assert seen.version // 10000 == int(pair.programs.parent.name)
    assert common(pair.monitor("a", REPMGR_DATABASE)) == common(seen)
    for on in (True, False):
        pair.sql("a", f"ALTER SYSTEM SET default_transaction_read_only = {on}")
        pair.sql("a", "SELECT pg_reload_conf()")
        pair.until(lambda on=on: (pair.monitor("a").read_only, pair.agent("a").read_only) == (on, on))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_slot_that_is_about_to_lose_wal(pair: Pair, name: str) -> None:
    """A primary says so itself, a standby does not."""

    def status() -> str | None:
        with connect(name, pair.login(name, MONITOR_ROLE, "postgres")) as server:
            slots = ask_postgres(server).slots
        return next(slot.wal_status for slot in slots if slot.name == "kept")

    def limited(size: str) -> None:
        pair.sql(name, f"ALTER SYSTEM SET max_slot_wal_keep_size = '{size}'")
        pair.sql(name, "SELECT pg_reload_conf()")

    pair.sql(name, "SELECT pg_create_physical_replication_slot('kept', true)")
    try:
        pair.sql(name, "ALTER SYSTEM SET wal_keep_size = 0")
        limited("48MB")
        for _segment in range(5):
            pair.sql("a", "SELECT pg_logical_emit_message(false, 'test', 'some'), pg_switch_wal()")
        pair.until(lambda: status() == "unreserved")
        for size in ("-1", "1GB"):
            limited(size)
            pair.until(lambda: status() in ("reserved", "extended"))
        limited("48MB")
        pair.sql(name, "ALTER SYSTEM SET wal_keep_size = '1GB'")
        pair.sql(name, "SELECT pg_reload_conf()")
        pair.until(lambda: status() in ("reserved", "extended"))
    finally:
        pair.sql(name, "ALTER SYSTEM RESET wal_keep_size")
        limited("-1")
        pair.sql(name, "SELECT pg_drop_replication_slot('kept')")


def test_a_standby_that_streams_and_one_that_is_sealed(pair: Pair) -> None:
    seen, told = pair.monitor("b"), pair.agent("b")
    assert common(seen) == common(told)
    assert (told.in_recovery, told.timeline, told.streaming, told.has_upstream) == (True, 2, True, True)
    assert (told.upstream, told.called) == (str(pair.place), "b")
    pair.sql("b", "ALTER SYSTEM SET primary_conninfo = ''")
    pair.sql("b", "SELECT pg_reload_conf()")
    pair.until(lambda: pair.agent("b").receiver == "")
    seen, told = pair.monitor("b"), pair.agent("b")
    assert common(seen) == common(told)
    assert told.sealed
    # Its control file still says 1: it has made no restartpoint on the newer one.
    assert (told.timeline, seen.timeline) == (2, 2)
    with connect("b", pair.login("b", "postgres", "postgres")) as server:
        assert server.rows("SELECT timeline_id AS at FROM pg_control_checkpoint()")[0]["at"] == 1
