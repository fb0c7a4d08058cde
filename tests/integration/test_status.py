# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Breaks a converged cluster in one way at a time and holds the status to it: exactly that is said, in the picture, the
document and the exit code, and the cure that it names makes the cluster healthy again.

It runs on hosts whose replication nobody else changes at the same time.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from deployed import inventory, until
from herd import Herd, cure, group, healthy, on, problem, said, status, undone, wait


@pytest.fixture(scope="module")
def herd() -> Herd:
    found = Herd()
    wait(found.primary, healthy)
    return found


@pytest.fixture(autouse=True)
def _healthy_after(herd: Herd) -> Iterator[None]:
    yield
    wait(herd.primary, healthy, 180.0)


def expected(herd: Herd, *pairs: tuple[str, str]) -> set[tuple[str, str]]:
    """What must be said while the leaf does not stream."""
    return set(pairs) | ({("sync-no-spare", herd.primary)} if herd.leaf_confirms else set())


def test_healthy(herd: Herd) -> None:
    lines = herd.pictured(0)
    assert " HEALTHY  " in lines[0]
    assert not [line for line in lines if line.startswith("!") or "?" in line]
    assert max(map(len, lines)) <= 100
    for name in herd.nodes:
        word = "primary" if name == herd.primary else "streaming"
        until(f"{name} to be {word}", lambda name=name, word=word: word in herd.row(name))


def test_a_standby_stopped(herd: Herd) -> None:
    with undone(herd.leaf, "systemctl", "start", herd.unit()):
        on(herd.leaf, "systemctl", "stop", herd.unit())
        # A pgpool without an agent finds out by itself, when a client comes.
        silent = {"backend-stale"}
        wanted = expected(herd, ("node-down", herd.leaf))
        document = wait(herd.primary, lambda seen: {item for item in said(seen) if item[0] not in silent} == wanted)
        assert document["health"] == "degraded"
        found = problem(document, "node-down", herd.leaf)
        assert "Connection refused" in found["text"]
        until("its row", lambda: "down" in herd.row(herd.leaf))
        herd.pictured(1)
        cure(found)


def test_a_standby_lags(herd: Herd) -> None:
    """Its startup process is frozen: it receives and does not replay."""
    find = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'"
    pid = herd.sql(herd.leaf, find).strip()
    on(herd.leaf, "kill", "-STOP", pid)
    try:
        herd.write(24)
        document = wait(herd.primary, lambda seen: said(seen) == {("lag", herd.leaf)})
        assert document["exit_code"] == 1
        until("its row", lambda: "streaming" in (row := herd.row(herd.leaf)) and any(w.startswith("MB/") for w in row))
        cure(problem(document, "lag", herd.leaf))
    finally:
        on(herd.leaf, "kill", "-CONT", pid)


def test_replay_paused(herd: Herd) -> None:
    with undone(herd.leaf, "sudo", "-u", "postgres", "psql", "-c", "SELECT pg_wal_replay_resume()"):
        herd.sql(herd.leaf, "SELECT pg_wal_replay_pause()")
        document = wait(herd.primary, lambda seen: said(seen) == {("replay-paused", herd.leaf)})
        assert document["exit_code"] == 1
        until("its row", lambda: "paused" in herd.row(herd.leaf))
        cure(problem(document, "replay-paused", herd.leaf))


def test_repmgrd_paused_and_stopped(herd: Herd) -> None:
    with undone(herd.leaf, "systemctl", "start", "repmgrd"):
        on(herd.leaf, "systemctl", "stop", "repmgrd")
        document = wait(herd.primary, lambda seen: said(seen) == {("repmgrd-down", herd.leaf)})
        cure(problem(document, "repmgrd-down", herd.leaf))
    wait(herd.primary, healthy)
    repmgr = ["sudo", "-u", "postgres", "repmgr", "-f", f"/etc/repmgr/{herd.version}/repmgr.conf", "service"]
    with undone(herd.leaf, *repmgr, "unpause"):
        on(herd.leaf, *repmgr, "pause")
        document = wait(herd.primary, lambda seen: {kind for kind, _node in said(seen)} == {"repmgrd-paused"})
        assert "failover armed 0/" in document["line"]
        cure(problem(document, "repmgrd-paused", herd.leaf))


def test_a_pgpool_stopped(herd: Herd) -> None:
    pool = group("pgpool")[-1]
    with undone(pool, "systemctl", "start", "pgpool2"):
        on(pool, "systemctl", "stop", "pgpool2")
        document = wait(herd.primary, lambda seen: said(seen) == {("pgpool-down", pool)})
        herd.pictured(1, lambda lines: any(line.startswith(pool) and " ? " in line for line in lines))
        until("the primary's row", lambda: any("?" in word for word in herd.row(herd.primary)))
        cure(problem(document, "pgpool-down", pool))


def test_a_backend_taken_out(herd: Herd) -> None:
    """While no agent brings it back."""
    pool, login = group("pgpool")[-1], "-h localhost -U pgherd -w"
    (backend,) = [
        row["id"]
        for view in status(herd.primary)[1]["topology"]["pgpools"]
        if view["name"] == pool
        for row in view["backends"]
        if row["node"] == herd.leaf
    ]
    with undone(pool, "systemctl", "start", "pgherd-agent"):
        on(pool, "systemctl", "stop", "pgherd-agent")
        detach = f"env PCPPASSFILE=/etc/pgherd/pcp.pass pcp_detach_node {login} -n {backend}"
        on(pool, *shlex.split(detach))
        document = wait(herd.primary, lambda seen: ("backend-down", pool) in said(seen))
        cure(problem(document, "backend-down", pool))
        wait(herd.primary, lambda seen: ("backend-down", pool) not in said(seen))
        on(pool, "systemctl", "start", "pgherd-agent")


def test_no_wal_is_received(herd: Herd) -> None:
    host, unit = group("barman")[0], "barman-receive-wal"
    with undone(host, "systemctl", "start", unit):
        on(host, "systemctl", "stop", unit)
        document = wait(herd.primary, lambda seen: ("barman-not-receiving", host) in said(seen))
        cure(problem(document, "barman-not-receiving", host))
        until(unit, lambda: on(host, "systemctl", "is-active", unit, expect=None)[0] == 0)


def test_a_node_that_nobody_knows(herd: Herd) -> None:
    """Left over in repmgr's metadata."""
    row = "99, 'ghost', 'standby', false, '', 'repmgr', '/'"
    names = "node_id, node_name, type, active, conninfo, repluser, config_file"
    sql = ("sudo", "-u", "postgres", "psql", "-XAtqd", "repmgr", "-c")
    drop = "DELETE FROM repmgr.nodes WHERE node_id = 99"
    with undone(herd.primary, *sql, drop):
        on(herd.primary, *sql, f"INSERT INTO repmgr.nodes ({names}) VALUES ({row})")
        document = wait(herd.primary, lambda seen: ("metadata-stranger", "ghost") in said(seen))
        cure(problem(document, "metadata-stranger", "ghost"))


@pytest.mark.parametrize(
    ("kind", "wrong"), [("metadata-inactive", "active = false"), ("metadata-role", "type = 'primary'")]
)
def test_a_row_that_is_wrong(herd: Herd, kind: str, wrong: str) -> None:
    """While no agent mends it."""
    sql = ("sudo", "-u", "postgres", "psql", "-XAtqd", "repmgr", "-c")
    with undone(herd.leaf, "systemctl", "start", "pgherd-agent"):
        on(herd.leaf, "systemctl", "stop", "pgherd-agent")
        on(herd.primary, *sql, f"UPDATE repmgr.nodes SET {wrong} WHERE node_name = '{herd.leaf}'")
        document = wait(herd.primary, lambda seen: (kind, herd.leaf) in said(seen))
        cure(problem(document, kind, herd.leaf))
        wait(herd.primary, lambda seen: (kind, herd.leaf) not in said(seen))
        on(herd.leaf, "systemctl", "start", "pgherd-agent")


def test_a_primary_that_stays_fenced(herd: Herd) -> None:
    """Its agent ended before it lifted the fence."""
    with undone(herd.primary, "systemctl", "start", "pgherd-agent"):
        on(herd.primary, "systemctl", "stop", "pgherd-agent")
        herd.sql(herd.primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        herd.sql(herd.primary, "SELECT pg_reload_conf()")
        document = wait(herd.primary, lambda seen: ("fenced", herd.primary) in said(seen))
        assert document["exit_code"] == 2
        cure(problem(document, "fenced", herd.primary))
        wait(herd.primary, lambda seen: ("fenced", herd.primary) not in said(seen))


def test_a_password_that_ends(herd: Herd) -> None:
    with undone(herd.primary, "sudo", "-u", "postgres", "psql", "-c", "ALTER ROLE app VALID UNTIL 'infinity'"):
        herd.sql(herd.primary, f"ALTER ROLE app VALID UNTIL '{date.today() + timedelta(days=3)}'")
        document = wait(herd.primary, lambda seen: ("password-ends", herd.primary) in said(seen))
        cure(problem(document, "password-ends", herd.primary))


def test_a_barman_host_whose_agent_is_silent(herd: Herd) -> None:
    host = group("barman")[0]
    with undone(host, "systemctl", "start", "pgherd-agent"):
        on(host, "systemctl", "stop", "pgherd-agent")
        document = wait(herd.primary, lambda seen: ("barman-unreadable", host) in said(seen))
        assert document["exit_code"] == 3
        cure(problem(document, "barman-unreadable", host))


def test_a_slot_of_nobody(herd: Herd) -> None:
    """It keeps WAL for ever."""
    drop = "SELECT pg_drop_replication_slot('ghost')"
    with undone(herd.primary, "sudo", "-u", "postgres", "psql", "-c", drop):
        herd.sql(herd.primary, "SELECT pg_create_physical_replication_slot('ghost', true)")
        herd.write(96)
        document = wait(herd.primary, lambda seen: ("slot-inactive", herd.primary) in said(seen))
        cure(problem(document, "slot-inactive", herd.primary))


def test_backups_missing(herd: Herd) -> None:
    """The catalogue is moved away, and comes back."""
    host = group("barman")[0]
    _code, document = status(herd.primary)
    server = document["topology"]["cluster"]
    shown = on(host, "sudo", "-u", "barman", "barman", "-f", "json", "show-servers", server)[1]
    directory = json.loads(shown)[server]["backup_directory"]
    # Barman 3.13 and later have the catalogue in meta, earlier ones in base.
    hide = (
        f"cd {directory}; for d in base meta; do [ ! -d $d ] || mv $d $d.hidden; done; install -d -o barman base meta"
    )
    show = f"cd {directory}; for d in base meta; do [ ! -d $d.hidden ] || {{ rm -rf $d; mv $d.hidden $d; }}; done"
    on(host, "sh", "-c", hide)
    try:
        document = wait(herd.primary, lambda seen: ("no-backup", host) in said(seen))
        assert {kind for kind, _node in said(document)} <= {"no-backup", "barman-check"}
        assert document["exit_code"] == 2
        assert document["line"].endswith("backup none")
        cure(problem(document, "no-backup", host))
        wait(herd.primary, lambda seen: ("no-backup", host) not in said(seen))
    finally:
        on(host, "sh", "-c", show)


def run_playbook(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the collection as a user does."""
    argv = ["ansible-playbook", *more, "-i", str(inventory()), f"pgherd.cluster.{name}"]
    env = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"}
    for molecules in ("ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_FORCE_COLOR"):
        env.pop(molecules, None)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)


def healthy_run(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A run that went well, and found the cluster well."""

    def run() -> subprocess.CompletedProcess[str]:
        done = run_playbook(name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " HEALTHY  " in done.stdout, done.stdout
        return done

    return until("a run that finds all well", run, 120, missed=(AssertionError,))


def test_the_playbook_prints_the_picture(herd: Herd) -> None:
    done = healthy_run("status")
    lines = herd.pictured(0)
    printed = done.stdout.splitlines()
    start = next(number for number, line in enumerate(printed) if " HEALTHY  " in line)
    # Ages and lags move on; the nodes in their order and what they are do not.
    assert [line.split()[:2] for line in printed[start : start + 2 + len(herd.nodes)]] == [
        line.split()[:2] for line in lines[: 2 + len(herd.nodes)]
    ]


def test_the_playbook_works_when_the_first_host_is_dead(herd: Herd, tmp_path: Path) -> None:
    dead = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ansible.builtin.ssh"}
    (tmp_path / "dead.json").write_text(json.dumps({"postgres": {"hosts": {"aaa": dead}}}))
    done = healthy_run("status", "-i", str(tmp_path / "dead.json"))
    assert "aaa is missing: " in done.stdout
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if " HEALTHY  " in line)
    # What makes the line of health longer than the picture stands below it.
    assert "  missing: aaa" in (lines[at] + lines[at + 1])


def test_the_line_of_health_alone(herd: Herd) -> None:
    done = healthy_run("health")
    assert len([line for line in done.stdout.splitlines() if " HEALTHY  " in line]) == 1


def test_the_playbook_fails_on_what_it_is_told_to(herd: Herd) -> None:
    with undone(herd.leaf, "systemctl", "start", "repmgrd"):
        on(herd.leaf, "systemctl", "stop", "repmgrd")
        assert run_playbook("status").returncode == 0
        refused = run_playbook("status", "-e", "fail_from=warning")
        assert refused.returncode == 2
        assert refused.stdout.count("repmgrd does not run on") == 1
        on(herd.leaf, "systemctl", "start", "repmgrd")
