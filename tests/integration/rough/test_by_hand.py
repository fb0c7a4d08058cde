# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Rough hosts, what an administrator does to a database by hand, and then what happens to hosts.

One story: each test goes on where the one before it ended. It runs after all others, since the primary moves.
"""

from __future__ import annotations

import os
import sys

import psycopg
import pytest
from deployed import CHECKOUT, MISSED, OWN, Deployed, Host, everywhere, until, why

sys.path.append(str(CHECKOUT / "tests/lab"))

import hosts as lab

HARDENED = (
    "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC",
    "ALTER ROLE ALL SET default_transaction_isolation = 'serializable'",
)
ISOLATION = "ALTER SYSTEM SET default_transaction_isolation = 'serializable'"
ACTING = ("pgherd-agent.service", "repmgrd.service")


def primary(cluster: Deployed, among: list[Host] | None = None) -> Host | None:
    """The one data node outside recovery, asked now."""
    found = [host for host in among or cluster.data_nodes if not host.value("SELECT pg_is_in_recovery()")]
    return found[0] if len(found) == 1 else None


def written(cluster: Deployed, what: str) -> bool:
    """Whether a client of pgpool's could write a row."""
    try:
        with cluster.through(cluster.group("pgpool")[0]) as client:
            client.execute("INSERT INTO test_by_hand VALUES (%s)", [what])
    except psycopg.Error:
        return False
    return True


def streams(host: Host) -> bool:
    """Whether a node is a standby that streams."""
    query = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    # A standby serves no session in the isolation that is set by hand.
    done = host.result("psql -XAtq -d %s -c %s", f"dbname=postgres user=postgres options='{OWN}'", query)
    return bool(done.rc == 0 and done.stdout.strip() == "1")


def well(cluster: Deployed, host: Host, seconds: float = 150.0) -> None:
    """Wait until *host*'s status says that the cluster is well, and Barman's check that backups are."""
    cluster.settle(seconds, host)
    check = f"sudo -u barman barman check {cluster.wanted('name')}"
    for backup in cluster.group("barman"):
        until("Barman's check", lambda backup=backup: backup.result(check).rc == 0, seconds)


def test_hosts_are_rough(cluster: Deployed) -> None:
    """Nobody is root by ssh, names are looked up, each host's own leads to itself, disks are their own."""
    for host in cluster.hosts.values():
        assert "ansible_host" not in host.vars
        assert host.run("umask").strip() == "0077"
        assert "noexec" in host.run("findmnt -no OPTIONS /tmp")
        assert host.run("getent ahosts %s", host.name).split()[0] == "127.0.1.1"
        for other in cluster.hosts.values():
            if other != host:
                assert set(host.run("getent ahosts %s", other.name).split()) >= set(other.ips)
                assert {host.run("getent hosts %s", ip).split()[1] for ip in other.ips} == {other.name}
    for host in cluster.data_nodes:
        for mount in host.vars["lab_disks"]:
            assert host.run("stat -c '%%U %%a' %s", f"{mount}/lost+found").split() == ["root", "700"]


def test_hardened_by_hand(cluster: Deployed) -> None:
    """What PostgreSQL allows takes nothing away: everybody logs in anew, and all is well."""
    first = cluster.primary
    first.sql("CREATE TABLE test_by_hand (what text) TABLESPACE side; ALTER TABLE test_by_hand OWNER TO app", "app")
    for statement in HARDENED:
        first.sql(statement)
    for host in cluster.data_nodes:
        host.sql(ISOLATION)
        host.sql("SELECT pg_reload_conf()")
    everywhere(cluster.nodes, lambda host: host.run("systemctl restart pgherd-agent repmgrd"))
    everywhere(cluster.group("barman"), lambda host: host.run("systemctl restart pgherd-agent barman-receive-wal"))
    everywhere(cluster.group("pgpool"), lambda host: host.run("systemctl restart pgherd-agent pgpool2"))
    until("a write", lambda: written(cluster, "hardened"), 90)
    well(cluster, first)


def test_switchover(cluster: Deployed) -> None:
    """Hands over as ever, and shows each step before the task ends; whoever was primary follows."""
    (target,) = cluster.standbys
    done = cluster.play(playbook="switchover")
    assert done.returncode == 0, why(done)
    before = done.stdout.split("TASK [Hand over]")[1].split("\nchanged: [")[0]
    steps = [line for line in before.splitlines() if line.startswith(f"{target.name}: ")]
    assert any(line.startswith(f"{target.name}: switchover: after ") for line in steps), done.stdout
    assert len(set(steps)) == len(steps)
    assert primary(cluster, [target]) == target
    until("a write", lambda: written(cluster, "switched over"), 90)
    until("the former primary's stream", lambda: streams(cluster.primary), 90)
    well(cluster, target)


@pytest.fixture(scope="module")
def gone(cluster: Deployed) -> Host:
    """The primary that the switchover made; its host has lost its power."""
    found = primary(cluster)
    assert found
    lab.stop(os.environ["LAB_CLUSTER"], found.name)
    return found


def test_a_host_is_gone(cluster: Deployed, gone: Host) -> None:
    """The other is promoted, and writes go on."""
    left = [host for host in cluster.data_nodes if host != gone]
    until("another primary", lambda: primary(cluster, left), 120, missed=MISSED)
    until("a write", lambda: written(cluster, "one is gone"), 90)


def test_it_comes_back_by_a_clone(cluster: Deployed, gone: Host) -> None:
    """Back with its power, then again with nothing but its mounts, and what an interrupted clone leaves in a tablespace."""
    lab.start(os.environ["LAB_CLUSTER"], gone.name)
    until("its stream", lambda: streams(gone), 180)
    before = gone.value("SELECT pg_postmaster_start_time()::text")
    gone.run("systemctl stop %s %s %s", *ACTING, cluster.unit)
    for directory in (cluster.data_directory, cluster.wanted("wal_directory")):
        gone.run("find %s -mindepth 1 -delete", directory)
    gone.run("systemctl start %s", cluster.unit, rc=None)
    gone.run("systemctl start %s %s", *ACTING, rc=None)
    until("its stream", lambda: streams(gone), 180)
    assert gone.value("SELECT pg_postmaster_start_time()::text") != before
    until("a write", lambda: written(cluster, "cloned"), 90)
    rows = "SELECT DISTINCT what FROM test_by_hand"
    wanted = {"hardened", "switched over", "one is gone", "cloned"}
    there = "all rows on the clone"
    until(there, lambda: {row["what"] for row in gone.rows(rows, "app")} == wanted, 60, missed=MISSED)
    assert gone.run("find /srv/side/small -type f").strip()
    left = next(host for host in cluster.data_nodes if host != gone)
    well(cluster, left)
