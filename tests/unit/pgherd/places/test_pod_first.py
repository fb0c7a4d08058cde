# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Three data nodes in pods come from nothing to a cluster, with real servers, by themselves but for what a site's run makes."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pgherd.ports.initialization import Initialization
from pods import PROGRAMS, Pods, cluster, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
NAMES = ("pg-1", "pg-2", "pg-3")
SITE = str(Path(__file__).parents[1] / "pod_site.py")


def until(done: Callable[[], object], pods: Pods, seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        said = "\n".join(f"{name}:\n{pods.log(name)[-3000:]}" for name in NAMES)
        assert time.monotonic() < deadline, f"not within its time\n{said}"
        time.sleep(0.2)


def roles(pods: Pods) -> list[str]:
    return [pods.sql(name, "SELECT pg_is_in_recovery()") for name in NAMES]


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pods-") as place:
        found = Pods(cluster(), Path(place))
        try:
            yield found
        finally:
            found.close()


def test_from_nothing_to_a_cluster_and_back(pods: Pods) -> None:
    # One of them is silent: nobody initialises, and says who it is.
    for name in ("pg-1", "pg-2"):
        pods.start(name)
    until(lambda: "nobody initialises the cluster: pg-3 cannot be asked" in pods.log("pg-1"), pods)
    assert pods.record.read().by == ""
    assert not list((pods.place / "pg-1/claim").glob("*/main/PG_VERSION"))

    # All are there: exactly one does.
    pods.start("pg-3")
    until(lambda: pods.sql("pg-1", "SELECT pg_is_in_recovery()") == "f", pods)
    made = pods.sql("pg-1", "SELECT system_identifier FROM pg_control_system()")
    assert pods.record.read() == Initialization("pg-1", made)
    assert [name for name in NAMES if "first: make:" in pods.log(name)] == ["pg-1"]
    # The others wait for the roles, and say so.
    waits = "the server of pg-1 does not let agents in: the site playbook makes their roles"
    until(lambda: all(waits in pods.log(name) for name in ("pg-2", "pg-3")), pods)

    # What was made comes back as what it is before anybody has a copy: nobody else can have anything.
    pods.end("pg-1", signal.SIGKILL)
    pods.start("pg-1")
    until(lambda: pods.sql("pg-1", "SELECT pg_is_in_recovery()") == "f", pods)
    assert pods.sql("pg-1", "SELECT system_identifier FROM pg_control_system()") == made

    done = pods.run("pg-1", sys.executable, "-I", SITE, "pg-1")
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: roles(pods) == ["f", "t", "t"], pods)
    streams = (
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name IN ('pg-2', 'pg-3')"
    )
    until(lambda: pods.sql("pg-1", streams) == "2", pods)
    pods.sql("pg-1", "CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)")
    assert pods.sql("pg-1", "SELECT x FROM kept") == "1"

    assert pods.record.read() == Initialization("pg-1", made, True)

    # All end, and start: the same cluster. Each has the lock of its claim meanwhile, and gives it up.
    locks = [pods.place / name / "claim/pgherd-lock" for name in NAMES]
    assert all(lock.exists() for lock in locks)
    for name in reversed(NAMES):
        pods.end(name)
    assert not any(lock.exists() for lock in locks)
    for name in NAMES:
        pods.start(name)
    until(lambda: sorted(roles(pods)) == ["f", "t", "t"], pods)
    until(lambda: [pods.sql(name, "SELECT x FROM kept") for name in NAMES] == ["1", "1", "1"], pods)
    assert {pods.sql(name, "SELECT system_identifier FROM pg_control_system()") for name in NAMES} == {made}

    # The first has lost its claim: it is cloned, and makes no second cluster.
    primary = NAMES[roles(pods).index("f")]
    lost = next(name for name in ("pg-3", "pg-2") if name != primary)
    # A name that nobody was admitted under yet stands for whoever streams first.
    members = ("-d", "repmgr", "-c", "SELECT count(*) FROM pgherd.member")
    psql = (f"{PROGRAMS}/psql", "-XAtqw", "-U", "postgres")
    until(lambda: pods.run(primary, *psql, *members).stdout.strip() == "3", pods)
    pods.end(lost, signal.SIGKILL)
    for path in sorted((pods.place / lost / "claim").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    pods.start(lost)
    until(lambda: pods.sql(lost, "SELECT x FROM kept") == "1", pods)
    assert pods.record.read() == Initialization("pg-1", made, True)
    # Nothing here knows that what counted under its name is gone.
    names = "SELECT string_agg(application_name, ',') FROM pg_stat_replication"
    until(lambda: f"(new) {lost}" in pods.sql(primary, names), pods, 60.0)
