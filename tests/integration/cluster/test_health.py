# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The health endpoints and metrics of every host, asked over the network and compared with what the servers say."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployed import MISSED, Deployed, Host, everywhere, until
from prometheus_client.parser import text_string_to_metric_families

PATHS = ("/primary", "/replica", "/health", "/ready", "/live")


class Door:
    """One host's endpoints, asked with TLS verified to its name."""

    def __init__(self, cluster: Deployed, host: Host) -> None:
        self._context = ssl.create_default_context(cafile=str(cluster.secrets / "ca.crt"))
        self._host, self._port = host, int(cluster.wanted("agent_port", 8765))

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        return self._host.https(self._port, path, self._context)

    def status(self, path: str) -> int:
        """The status alone."""
        return self.get(path)[0]

    def metrics(self) -> dict[tuple[str, ...], float]:
        """By name and values of the labels."""
        status, body = self.get("/metrics")
        assert status == 200, body
        return {
            (sample.name.removeprefix("pgherd_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }


@pytest.fixture
def doors(cluster: Deployed) -> dict[str, Door]:
    """Every host's endpoints by its name."""
    return {name: Door(cluster, host) for name, host in cluster.hosts.items()}


@contextmanager
def stopped(host: Host, unit: str) -> Iterator[None]:
    """A unit that does not run within the block."""
    host.unit("stop", unit)
    try:
        yield
    finally:
        host.unit("start", unit)


def timeline(cluster: Deployed) -> int:
    """The primary's."""
    return int(cluster.primary.value("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"), 16)


def expected(cluster: Deployed, host: Host) -> dict[str, int]:
    """What each path must answer when all is well."""
    right = {"/health", "/ready", "/live"}
    if host == cluster.primary:
        right.add("/primary")
    elif host in cluster.standbys:
        right.add("/replica")
    return {path: 200 if path in right else 503 for path in PATHS}


def test_every_host_answers(cluster: Deployed, doors: dict[str, Door]) -> None:
    """Each path on each host: 200 where SQL says so, 503 elsewhere, with a reason and no more than that."""

    def asked(host: Host) -> dict[str, tuple[int, str]]:
        return {path: doors[host.name].get(path) for path in PATHS}

    wanted = {host.name: expected(cluster, host) for host in cluster.hosts.values()}

    def right() -> dict[str, dict[str, tuple[int, str]]]:
        found = everywhere(cluster.hosts.values(), asked)
        statuses = {
            name: {path: status for path, (status, _body) in answers.items()} for name, answers in found.items()
        }
        return found if statuses == wanted else {}

    for name, answers in until("the right answers", right, 60, missed=(OSError,)).items():
        for status, body in answers.values():
            said = json.loads(body)
            assert (said["host"], said["ok"]) == (name, status == 200)
            assert said["why"]


def test_lag_limits(cluster: Deployed, doors: dict[str, Door]) -> None:
    """A standby whose replay is paused is a replica still, but not for who allows no lag; then it catches up."""
    host = cluster.leaves[0]
    door = doors[host.name]
    until("no lag", lambda: door.status("/replica?lag=1MB&seconds=5") == 200)
    assert door.status("/replica?lag=much") == 400
    assert door.status("/replica?lags=1MB") == 400
    host.sql("SELECT pg_wal_replay_pause()")
    try:
        cluster.primary.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))")
        until("lag in bytes", lambda: door.status("/replica?lag=1MB") == 503)
        until("lag in seconds", lambda: door.status("/replica?seconds=1") == 503)
        until("a replica for who allows it", lambda: door.status("/replica?lag=1TB&seconds=3600") == 200)
        until("it to be ready all the same", lambda: door.status("/ready") == 200)
        behind = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::int8"

        def measured() -> bool:
            found = door.metrics()
            near = abs(found["lag_bytes",] - host.value(behind)) < 1000000
            return bool(near and found["lag_bytes",] >= 3000000 and 1 < found["lag_seconds",] < 300)

        until("the lag among the metrics", measured, missed=MISSED)
    finally:
        host.sql("SELECT pg_wal_replay_resume()")
    until("replay", lambda: door.status("/replica?lag=64kB&seconds=2") == 200)


@pytest.mark.more
def test_metrics_of_nodes(cluster: Deployed, doors: dict[str, Door]) -> None:
    """Roles, timelines, slots and senders are what SQL says; what a role does not have is absent."""
    for host in cluster.data_nodes:
        found = until(
            f"metrics of {host.name}", lambda host=host: (m := doors[host.name].metrics()).get(("ready",)) and m
        )
        first = host == cluster.primary
        assert (found["primary",], found["replica",], found["in_recovery",]) == (first, not first, not first), host.name
        assert found["timeline",] == timeline(cluster)
        assert (found["fenced",], found["sealed",], found["primaries",]) == (0, 0, 1)
        assert (found["repmgrd_running",], found["repmgrd_paused",]) == (1, 0)
        assert {name for name in found if name[0] == "node_answers"} == {
            ("node_answers", n.name) for n in cluster.nodes
        }
        assert (("lag_bytes",) in found, ("sync_standbys",) in found) == (not first, first)
        slots = host.rows("SELECT slot_name AS name, active FROM pg_replication_slots WHERE NOT temporary")
        until(
            f"slots of {host.name}",
            lambda host=host, slots=slots: {
                name[1]: value for name, value in doors[host.name].metrics().items() if name[0] == "slot_active"
            } == {row["name"]: row["active"] for row in slots},
        )  # fmt: skip
    names = set(
        cluster.primary.value("SELECT array_agg(application_name) FROM pg_stat_replication WHERE state = 'streaming'")
    )
    found = doors[cluster.primary.name].metrics()
    assert {name[1] for name in found if name[0] == "sender_streaming"} == names
    synchronous = cluster.primary.rows("SELECT application_name AS name, sync_state AS state FROM pg_stat_replication")
    wanted = {row["name"]: row["state"] in ("sync", "quorum") for row in synchronous}
    assert {name[1]: value for name, value in found.items() if name[0] == "sender_sync"} == wanted


@pytest.mark.more
def test_metrics_of_other_hosts(cluster: Deployed, doors: dict[str, Door]) -> None:
    """pgpools have every backend and the right primary; Barman has a backup and receives; a witness has no lag."""
    for host in cluster.group("pgpool"):
        found = until(
            f"{host.name} to be ready", lambda host=host: (m := doors[host.name].metrics()).get(("ready",)) and m
        )
        taken = {name[1] for name, value in found.items() if name[0] == "pgpool_backend_primary" and value}
        assert taken == {cluster.primary.name}
        used = {name[1]: value for name, value in found.items() if name[0] == "pgpool_backend_attached"}
        assert used == {node.name: 1 for node in cluster.data_nodes}
    for host in cluster.group("barman"):
        found = until(
            f"{host.name}'s backup", lambda host=host: (m := doors[host.name].metrics()).get(("barman_backups",)) and m
        )
        assert found["barman_receiving",] == 1
        assert found["barman_backup_size_bytes",] > 1000000
        assert 0 <= found["barman_backup_age_seconds",] < 7 * 86400
        assert found["barman_timeline",] == timeline(cluster)
    for host in cluster.group("witness"):
        found = doors[host.name].metrics()
        assert found["repmgrd_running",] == 1
        assert not {("lag_bytes",), ("primary",), ("timeline",)} & set(found)


def test_a_server_that_is_down(cluster: Deployed, doors: dict[str, Door]) -> None:
    """Its agent says so, stays alive, and has no sample of what it cannot know."""
    host = cluster.leaves[0]
    door = doors[host.name]
    with stopped(host, cluster.unit):
        until("no health", lambda: door.status("/health") == 503)
        paths = ("/live", "/ready", "/replica")
        until("the right answers", lambda: [door.status(path) for path in paths] == [200, 503, 503])

        def silent() -> bool:
            found = door.metrics()
            unknown = not {("timeline",), ("lag_bytes",), ("in_recovery",)} & set(found)
            return unknown and (found["health",], found["replica",]) == (0, 0)

        until("no sample of what it cannot know", silent)
        watched = doors[cluster.primary.name]
        until("the primary to miss it", lambda: watched.metrics()["node_answers", host.name] == 0)
    until("it to be a replica again", lambda: door.status("/replica?lag=1MB") == 200, 120.0)


def test_a_pgpool_that_is_down(cluster: Deployed, doors: dict[str, Door]) -> None:
    """Nothing listens, so it is neither healthy nor ready; its agent lives."""
    host = cluster.group("pgpool")[-1]
    door = doors[host.name]
    with stopped(host, "pgpool2"):
        until("no health", lambda: door.status("/health") == 503)
        until("the right answers", lambda: (door.status("/ready"), door.status("/live")) == (503, 200))
    until("it to be ready", lambda: door.status("/ready") == 200, 120.0)


def test_no_secret_in_any_answer(cluster: Deployed, doors: dict[str, Door]) -> None:
    """No password, no key, no connection line."""
    for name, door in doors.items():
        text = "".join(door.get(path)[1] for path in (*PATHS, "/metrics", "/barman", "/"))
        assert [role for role, word in cluster.passwords.items() if word and word in text] == [], name
        assert not re.search(r"PRIVATE KEY|password|conninfo|passfile", text), name
