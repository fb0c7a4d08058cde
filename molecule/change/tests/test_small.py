# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A small cluster from fresh hosts, through everything that goes wrong on the way, and never a lost byte of data.

One story: each test goes on where the one before it ended.
"""

from __future__ import annotations

import random
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from living import DATA, MISSED, UNIT, LabError, Living, until
from playbook import Event, Run

SEED = 20
# Looks every 20 ms without starting a program for it, for the two minutes, or more, until there is something to kill.
KILL = """
import os, re, sys, time
wanted, end = re.compile(sys.argv[1]), time.monotonic() + 600
while time.monotonic() < end:
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{pid}/cmdline") as stream:
                if wanted.search(stream.read().replace("\\0", " ")):
                    found.append(pid)
        except OSError:
            pass
    if len(found) >= int(sys.argv[2]):
        os.kill(found[0], 9)
        sys.exit()
    time.sleep(0.02)
sys.exit(1)
"""
# What would bring a node back, or elect another primary.
ACTING = "pgherd-agent repmgrd"


def entries(small: Living, name: str) -> list[str]:
    """What is in the data directory."""
    return sorted(small.shell(name, f"ls -A {DATA} 2>/dev/null || true").split())


def system_identifier(small: Living, name: str) -> str:
    out = small.execute(name, "/usr/lib/postgresql/17/bin/pg_controldata", DATA)
    found = re.search(r"Database system identifier:\s+(\d+)", out)
    assert found
    return found.group(1)


def no_half_cluster_starts(small: Living, name: str) -> None:
    """What is there while there is no PG_VERSION is no cluster to PostgreSQL, whoever starts it."""
    if "PG_VERSION" in entries(small, name):
        return
    small.shell(
        name, f"systemctl start {UNIT} || true; systemctl stop {UNIT}; systemctl reset-failed {UNIT}", check=False
    )
    assert not small.answers(name)


def kill(small: Living, host: str, pattern: str, count: int = 1) -> bool:
    """Wait on *host* for *count* processes whose command line has *pattern*, and kill the first of them with SIGKILL;
    whether they came."""
    try:
        small.execute(host, "python3", "-c", KILL, pattern, str(count))
    except LabError:
        return False
    return True


def interrupted(small: Living, host: str, pattern: str, count: int = 1) -> Run:
    """A run during which a process of *host* is killed: the first of *count* whose command lines have *pattern*."""
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill, small, host, pattern, count)
        run = small.site()
        assert killed.result(), run
    return run


def test_no_new_cluster_while_a_node_cannot_be_asked(small: Living) -> None:
    small.stop("pg3")
    small.shell("pg2", f"mkdir -p {DATA}; echo precious >{DATA}/report.txt")
    # As in an image that was made small: apt takes the directory's time for that of its lists.
    small.shell("pg1", "find /var/lib/apt/lists /var/cache/apt -maxdepth 1 -type f -delete; touch /var/lib/apt/lists")
    run = small.site()
    assert run.unreachable == {"pg3"}
    assert "pg3 cannot be asked whether it holds the cluster" in run.failed["pg1"], run
    assert "cluster_initialize=true" in run.failed["pg1"]
    assert "pg2: the data directory holds files, but no cluster" in run.failed["pg2"]
    assert entries(small, "pg1") == []
    assert small.execute("pg2", "cat", f"{DATA}/report.txt") == "precious\n"
    assert entries(small, "pg2") == ["report.txt"]
    small.shell("pg2", f"rm {DATA}/report.txt")
    small.start("pg3")


def cut_off(small: Living, first: int, last: int) -> None:
    """A run whose control machine dies at a moment between two of its events."""
    moment = random.Random(SEED + first).randrange(first, last)
    seen: list[Event] = []

    def stop(event: Event) -> bool:
        seen.append(event)
        return len(seen) > moment

    run = small.site(stop_at=stop)
    assert run.rc == -signal.SIGKILL, run
    for name in small.nodes:
        no_half_cluster_starts(small, name)


def test_the_control_machine_dies_while_hosts_are_prepared(small: Living) -> None:
    cut_off(small, 5, 20)


def test_initdb_is_killed(small: Living) -> None:
    run = interrupted(small, "pg1", "^/usr/lib/postgresql/17/bin/initdb")
    assert "make a new cluster on pg1" in run.failed["pg1"], run
    assert "PG_VERSION" not in entries(small, "pg1")
    no_half_cluster_starts(small, "pg1")


def test_the_control_machine_dies_while_the_primary_is_made(small: Living) -> None:
    cut_off(small, 30, 55)


# Of pg_basebackup's two processes the first writes the files; killed, it leaves the other streaming WAL for ever.
@pytest.mark.parametrize(
    ("program", "count"),
    [
        pytest.param("pg_basebackup", 1, id="pg_basebackup", marks=pytest.mark.more),
        pytest.param("pg_basebackup", 2, id="half of pg_basebackup"),
        pytest.param("repmgr .* standby clone", 1, id="repmgr", marks=pytest.mark.more),
    ],
)
def test_a_clone_is_killed(small: Living, program: str, count: int) -> None:
    run = interrupted(small, "pg3", f"^/usr/lib/postgresql/17/bin/{program}", count)
    assert "pg3" in run.failed, run
    assert "PG_VERSION" not in entries(small, "pg3")
    no_half_cluster_starts(small, "pg3")


def test_the_control_machine_dies_while_standbys_are_made(small: Living) -> None:
    cut_off(small, 60, 85)


def test_run_again_it_converges(small: Living) -> None:
    run = small.site()
    assert run.rc == 0, run
    tree = {"pg1": None, "pg2": "pg1", "pg3": "pg2"}
    until("the tree", lambda: {name: node.upstream for name, node in small.look().items()} == tree, missed=MISSED)
    assert {name: row["upstream"] for name, row in small.records().items()} == tree
    small.until_well()
    for name in small.nodes:
        assert small.shell(name, "readlink /var/lib/postgresql/17/main/pg_wal").strip() == "/var/lib/postgresql/wal"
        assert not [entry for entry in entries(small, name) if entry.startswith(".pgherd")]


@pytest.mark.more
def test_a_run_without_a_standby_serves_the_others(running: Living) -> None:
    before = running.look()
    running.stop("pg3")
    running.variables["cluster_postgres_settings"] = {"log_min_duration_statement": "1234ms"}
    running.variables["cluster_packages_extra"] = ["acl"]
    run = running.site()
    assert run.unreachable == {"pg3"}, run
    assert not run.failed, run
    assert run.last_line.endswith("missing: pg3")
    shown = running.everywhere("SELECT current_setting('log_min_duration_statement')", ["pg1", "pg2"])
    assert set(shown.values()) == {"1234ms"}
    assert running.look(["pg1", "pg2"]) == {name: before[name] for name in ("pg1", "pg2")}
    running.start("pg3")
    run = running.site()
    assert run.rc == 0, run
    assert set(run.changed) == {"pg3"}, run
    running.until_streaming("pg3")
    assert running.value("pg3", "SELECT current_setting('log_min_duration_statement')") == "1234ms"
    assert "missing" not in run.last_line
    for name in running.nodes:
        assert running.shell(name, "dpkg-query --show --showformat='${db:Status-Abbrev}' acl").strip() == "ii"


def test_a_node_with_another_cluster_is_never_replaced_unasked(small: Living) -> None:
    before = small.look()
    small.shell(
        "pg3",
        f"systemctl stop {ACTING} {UNIT}; rm -rf {DATA}; install -d -o postgres -g postgres -m 700 {DATA}\n"
        f"runuser -u postgres -- /usr/lib/postgresql/17/bin/initdb --no-sync --pgdata={DATA}",
    )
    foreign = system_identifier(small, "pg3")
    run = small.site()
    assert "pg3 holds another cluster than pg1" in run.failed["pg3"], run
    assert foreign in run.failed["pg3"]
    assert "cluster_wipe" in run.failed["pg3"]
    assert list(run.failed) == ["pg3"]
    assert system_identifier(small, "pg3") == foreign
    assert not small.answers("pg3")
    run = small.site(extra={"cluster_wipe": ["pg3"]})
    assert run.rc == 0, run
    small.until_streaming("pg3")
    assert system_identifier(small, "pg3") == system_identifier(small, "pg1") != foreign
    small.until_as({name: before[name] for name in ("pg1", "pg2")})


def test_an_emptied_first_primary_is_cloned_and_never_made_new(small: Living) -> None:
    cluster = system_identifier(small, "pg1")
    for name in ("pg2", "pg3"):
        small.shell(name, f"systemctl stop {ACTING}")
    small.shell("pg1", f"systemctl stop {ACTING} {UNIT}; rm -rf {DATA} /var/lib/postgresql/wal/*")
    run = small.site("--limit", "pg1,pg2", extra={"cluster_initialize": True})
    assert re.search(r"pg1 has no data, but pg2(, pg3)? holds this cluster", run.failed["pg1"]), run
    assert entries(small, "pg1") == []
    for name in ("pg2", "pg3"):
        small.shell(name, f"systemctl stop {ACTING}")
    small.sql("pg2", "SELECT pg_promote()")
    until("pg3 to stream what pg2 writes", lambda: same_timeline(small, "pg2", "pg3"), 120, missed=MISSED)
    before = small.look(["pg2", "pg3"])
    run = small.site()
    assert run.rc == 0, run
    until("pg1 to stream what pg2 writes", lambda: same_timeline(small, "pg2", "pg1"), 120, missed=MISSED)
    assert system_identifier(small, "pg1") == cluster
    small.until_as(before)
    after = small.look()
    assert after["pg1"].upstream == "pg2"
    assert {name: row["upstream"] for name, row in small.records().items()} == {"pg1": "pg2", "pg2": None, "pg3": "pg2"}
    # The flag of a run before is no harm to a node that lives.
    small.until_well()
    run = small.site(extra={"cluster_wipe": ["pg1", "pg2", "pg3"]})
    assert (run.rc, run.changed) == (0, {}), run
    small.until_as(after)


def same_timeline(small: Living, primary: str, standby: str) -> bool:
    """Whether a standby streams on the timeline that a primary writes on."""
    look = small.look([primary, standby])
    return bool(look[standby].upstream) and look[standby].timeline == look[primary].timeline
