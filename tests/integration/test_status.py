# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Breaks a converged cluster in one way at a time and holds the status to it: exactly that is said, in the picture, the
document and the exit code, and the cure that it names makes the cluster healthy again.

It runs on hosts whose replication nobody else changes at the same time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from deployed import described, everywhere, inventory

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/status.schema.json").read_text())
Document = dict[str, Any]


def group(name: str) -> list[str]:
    """Hosts of one group; skips the test where the inventory has none."""
    hosts = described().groups.get(name)
    if not hosts:
        pytest.skip(f"the inventory has no {name}")
    return hosts


def on(host: str, *argv: str, expect: Sequence[int] | None = (0,)) -> tuple[int, str]:
    """Run a command as root on one host: exit code and standard output."""
    done = described().hosts[host].result(" ".join(["%s"] * len(argv)), *argv)
    assert expect is None or done.rc in expect, done
    return done.rc, done.stdout


def status(host: str) -> tuple[int, Document]:
    """Exit code and document as that host has it."""
    code, text = on(host, "pgherd", "status", "--json", expect=(0, 1, 2, 3))
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_code"] == code
    return code, document


def said(document: Document) -> set[tuple[str, str]]:
    """(id, node) of each problem."""
    return {(problem["id"], problem["node"]) for problem in document["problems"]}


def wait(host: str, wanted: Callable[[Document], bool], limit: float = 90.0) -> Document:
    """Poll the status until it is as *wanted*."""
    deadline = time.monotonic() + limit
    while True:
        _code, document = status(host)
        if wanted(document):
            return document
        assert time.monotonic() < deadline, json.dumps(document["problems"], indent=1)


def problem(document: Document, kind: str, node: str) -> dict[str, Any]:
    """The one problem of that kind."""
    (found,) = [item for item in document["problems"] if (item["id"], item["node"]) == (kind, node)]
    return dict(found)


def cure(found: dict[str, Any]) -> None:
    """Run the command that a problem names, where it says."""
    assert found["cure"]["on"], found
    on(found["cure"]["on"], *shlex.split(found["cure"]["command"]))


def healthy(document: Document) -> bool:
    """Whether nothing is wrong."""
    return not document["problems"]


class Herd:
    """The cluster under test."""

    def __init__(self) -> None:
        self.nodes = group("postgres")
        _code, document = status(self.nodes[0])
        views = {view["name"]: view for view in document["topology"]["nodes"] if view["kind"] == "postgres"}
        self.primary = next(name for name, view in views.items() if not view["postgres"]["in_recovery"])
        self.version = views[self.primary]["postgres"]["version"] // 10000
        upstreams = {view["postgres"]["upstream"] for view in views.values()}
        # A leaf, so that breaking it breaks nobody else.
        self.leaf = next(name for name in reversed(list(views)) if name not in upstreams and name != self.primary)
        names = views[self.primary]["postgres"]["synchronous_standby_names"]
        self.leaf_confirms = f'"{self.leaf}"' in names

    def picture(self) -> tuple[int, list[str]]:
        """Exit code and lines of the picture."""
        code, text = on(self.primary, "pgherd", "status", expect=(0, 1, 2, 3))
        return code, text.splitlines()

    def row(self, name: str) -> list[str]:
        """The row of one node, in words."""
        _code, lines = self.picture()
        return next(words for words in (line.lstrip("|` -").split() for line in lines) if words[0] == name)

    def write(self, megabytes: int) -> None:
        """Make the primary write that much WAL."""
        fill = (
            f"SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576)) FROM generate_series(1, {megabytes})"
        )
        self.sql(self.primary, f"SELECT count(*) FROM ({fill}) AS written; CHECKPOINT")

    def sql(self, node: str, statement: str) -> str:
        """Run a statement on one node."""
        return on(node, "sudo", "-u", "postgres", "psql", "-XAtqc", statement)[1]

    def unit(self) -> str:
        """PostgreSQL's unit."""
        return f"postgresql@{self.version}-main"


@pytest.fixture(scope="module")
def herd() -> Herd:
    found = Herd()
    wait(found.primary, healthy)
    return found


@pytest.fixture(autouse=True)
def _healthy_after(herd: Herd) -> Iterator[None]:
    yield
    wait(herd.primary, healthy, 180.0)


@contextmanager
def undone(host: str, *argv: str) -> Iterator[None]:
    """Run *argv* on *host* in the end, should the test fail before it could cure."""
    try:
        yield
    except BaseException:
        on(host, *argv, expect=None)
        raise


def expected(herd: Herd, *pairs: tuple[str, str]) -> set[tuple[str, str]]:
    """What must be said while the leaf does not stream."""
    return set(pairs) | ({("sync-no-spare", herd.primary)} if herd.leaf_confirms else set())


def test_healthy(herd: Herd) -> None:
    code, lines = herd.picture()
    assert code == 0
    assert " HEALTHY  " in lines[0]
    assert not [line for line in lines if line.startswith("!") or "?" in line]
    assert max(map(len, lines)) <= 100
    for name in herd.nodes:
        assert ("primary" if name == herd.primary else "streaming") in herd.row(name)


def test_every_host_says_the_same(herd: Herd) -> None:
    answers = everywhere(described().hosts.values(), lambda host: status(host.name))
    assert set(herd.nodes) <= set(answers)
    # The age of the backup moves on between two answers.
    lines = {re.sub(r"backup \S+", "", document["line"]) for _code, document in answers.values()}
    assert (len(lines), {code for code, _document in answers.values()}) == (1, {0}), answers


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
        assert "down" in herd.row(herd.leaf)
        assert herd.picture()[0] == 1
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
        row = herd.row(herd.leaf)
        assert "streaming" in row
        assert any(word.startswith("MB/") for word in row)
    finally:
        on(herd.leaf, "kill", "-CONT", pid)


def test_replay_paused(herd: Herd) -> None:
    with undone(herd.leaf, "sudo", "-u", "postgres", "psql", "-c", "SELECT pg_wal_replay_resume()"):
        herd.sql(herd.leaf, "SELECT pg_wal_replay_pause()")
        document = wait(herd.primary, lambda seen: said(seen) == {("replay-paused", herd.leaf)})
        assert document["exit_code"] == 1
        assert "paused" in herd.row(herd.leaf)
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
        lines = herd.picture()[1]
        assert any(line.startswith(pool) and " ? " in line for line in lines)
        assert any("?" in word for word in herd.row(herd.primary))
        cure(problem(document, "pgpool-down", pool))


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
    finally:
        on(host, "sh", "-c", show)


def run_playbook(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the collection as a user does."""
    argv = ["ansible-playbook", *more, "-i", str(inventory()), f"pgherd.cluster.{name}"]
    env = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"}
    for molecules in ("ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_FORCE_COLOR"):
        env.pop(molecules, None)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_playbook_prints_the_picture(herd: Herd) -> None:
    done = run_playbook("status")
    assert done.returncode == 0, done.stdout + done.stderr
    _code, lines = herd.picture()
    printed = done.stdout.splitlines()
    start = next(number for number, line in enumerate(printed) if " HEALTHY  " in line)
    # Ages and lags move on; the nodes in their order and what they are do not.
    assert [line.split()[:2] for line in printed[start : start + 2 + len(herd.nodes)]] == [
        line.split()[:2] for line in lines[: 2 + len(herd.nodes)]
    ]


def test_the_playbook_works_when_the_first_host_is_dead(herd: Herd, tmp_path: Path) -> None:
    dead = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ansible.builtin.ssh"}
    (tmp_path / "dead.json").write_text(json.dumps({"postgres": {"hosts": {"aaa": dead}}}))
    done = run_playbook("status", "-i", str(tmp_path / "dead.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aaa is missing: " in done.stdout
    assert next(line for line in done.stdout.splitlines() if " HEALTHY  " in line).endswith("  missing: aaa")


def test_the_line_of_health_alone(herd: Herd) -> None:
    done = run_playbook("health")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in done.stdout.splitlines() if " HEALTHY  " in line]) == 1


def test_the_playbook_fails_on_what_it_is_told_to(herd: Herd) -> None:
    with undone(herd.leaf, "systemctl", "start", "repmgrd"):
        on(herd.leaf, "systemctl", "stop", "repmgrd")
        assert run_playbook("status").returncode == 0
        refused = run_playbook("status", "-e", "fail_from=warning")
        assert refused.returncode == 2
        assert refused.stdout.count("repmgrd does not run on") == 1
        on(herd.leaf, "systemctl", "start", "repmgrd")
