# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The users of a host: postgres on a node, barman and pgpool's, and whoever else has a login there."""

from __future__ import annotations

import subprocess
import time

import pytest
from faults.cluster import Cluster, LabError, until

from attacks.means import MARK, NOBODY, PROOF, as_user, roots_files, touched

pytestmark = pytest.mark.attack
RESTART = "sudo -n /usr/bin/systemctl restart {}"


def test_start_guard_writes_through_no_link(cluster: Cluster, standby: str) -> None:
    """postgres has its server started, which sudo allows, with a link where the guard is going to write."""
    plant = "\n".join(
        [
            f"cd {cluster.data}",
            "rm -f standby.signal",
            f"ln -s {PROOF}/file postgresql.auto.conf.new",
            f"ln -s {PROOF}/file standby.signal.new",
            RESTART.format(cluster.unit),
        ]
    )
    as_user(cluster, standby, "postgres", plant, check=False)
    assert touched(cluster, standby) == ""
    until(f"{standby} to run", lambda: cluster.place.service_state(standby, "postgres") == "running", 60)
    assert touched(cluster, standby) == ""


def test_start_guard_reads_through_no_link(cluster: Cluster, standby: str) -> None:
    """A link to root's file in the place of a note: what it holds does not come into the journal."""
    since = time.time()
    plant = f"ln -sf {PROOF}/file {MARK}; {RESTART.format(cluster.unit)}"
    as_user(cluster, standby, "postgres", plant, check=False)
    cluster.run(standby, "journalctl", "--sync")
    said = [line for _at, line in cluster.place.log(standby, since)]
    assert any("guard" in line or ".pgherd-rejoin" in line or "start" in line.lower() for line in said), said
    assert [line for line in said if "roots-own" in line] == []


def test_run_gives_no_link_away(cluster: Cluster, standby: str) -> None:
    """A directory of postgres's is a link to one of root's when root's run comes by."""
    directory = f"/etc/postgresql/{cluster.version}/main"
    plant = f"cd {directory}/..; mv main main.away; ln -s {PROOF} main"
    try:
        as_user(cluster, standby, "postgres", plant)
    except LabError:
        assert cluster.run(standby, "stat", "-c", "%F", directory).strip() == "directory"
        return  # nothing of it is postgres's: there is no such attack
    mine = {"owner": "postgres", "group": "postgres"}
    said = roots_files(
        cluster,
        standby,
        [
            {"path": directory, "kind": "directory", "mode": "0700", **mine},
            {"path": f"{directory}/pg_ident.conf", "content": "evil\n", "mode": "0640", **mine},
        ],
    )
    assert touched(cluster, standby) == "", said


def test_run_does_not_wait_for_a_pipe(cluster: Cluster, standby: str) -> None:
    """A pipe that nobody writes to stands where root is going to look."""
    path = "/var/lib/postgresql/.pgpass"
    kept = cluster.run(standby, "cat", path)
    wanted = {"path": path, "secret_content": kept, "owner": "postgres", "group": "postgres", "mode": "0600"}
    try:
        as_user(cluster, standby, "postgres", f"rm {path}; mkfifo {path}")
        roots_files(cluster, standby, [wanted])
    except subprocess.TimeoutExpired:
        pytest.fail("the run waits")
    finally:
        cluster.sh(
            standby, f"pkill -f host_files || :; rm -f {path}; install -m 0600 -o postgres -g postgres /dev/null {path}"
        )
        cluster.run(standby, "sh", "-euc", f"cat >{path}", stdin=kept)


def test_root_does_nothing_in_a_directory_that_a_users_process_may_change(cluster: Cluster) -> None:
    """No step of a unit that runs as postgres, barman or pgpool's user is root's: between two of them that user may put a
    link where the next one writes."""
    for host in cluster.everyone:
        for name in ("pgherd-agent.service", *(["pgpool2.service"] if host in cluster.pools else [])):
            shown = cluster.run(
                host, "systemctl", "show", name, "-p", "ExecStartPreEx,ExecStartEx,ExecStartPostEx,ExecReloadEx"
            )
            assert "path=" in shown
            assert [line for line in shown.splitlines() if "privileged" in line] == [], (host, name)


def test_nobody_else_reads_settings(cluster: Cluster) -> None:
    """The cluster's description and the servers' settings hold what the user wrote there: keys in an archive_command, say."""
    common = ["/etc/pgherd/cluster.json", "/etc/pgherd/monitor.pgpass", "/etc/pgherd/tls/server.key"]
    node = ["/etc/pgherd/agent.pgpass", f"/etc/postgresql/{cluster.version}/main/postgresql.conf"]
    node += [f"/etc/postgresql/{cluster.version}/main/pg_hba.conf", "/var/lib/postgresql/.pgpass"]
    own = {"pgpool": ["/etc/pgpool2/pgpool.conf", "/etc/pgpool2/pool_passwd"], "barman": ["/var/lib/barman/.pgpass"]}
    wanted = [(host, common + paths) for kind, paths in own.items() for host in cluster.group(kind)]
    read = []
    for host, paths in [*wanted, *((host, common + node) for host in cluster.nodes)]:
        script = 'for path; do [ -z "$(cat "$path" 2>/dev/null)" ] || echo "$path"; done'
        said = cluster.run(host, *NOBODY, "sh", "-c", script, "sh", *paths, check=False)
        read += [f"{host}: {path}" for path in said.split()]
    assert read == []
