# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A host is made anew under its old name, while the old one still streams from a primary that is cut off, and confirms.

The old one is a copy of the standby's data that runs on the primary's host, as it was, under the standby's name.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults import inject
from faults.cluster import CLIENT, LAB, Cluster, until
from faults.mend import mend
from faults.suite.conftest import Breaking
from faults.suite.steps import nobody, others
from faults.suite.test_seeing import lost
from faults.trial import Trial

fault = pytest.mark.fault
OLD, NOTE = "/var/lib/postgresql/faults-old", "/var/lib/postgresql/pgherd-incarnation"
ELECTIONS = 45.0  # seconds in which repmgrd and the agents would have elected somebody


def names(cluster: Cluster, primary: str) -> list[str]:
    """Under which names there are streams."""
    query = "SELECT application_name AS name FROM pg_stat_replication WHERE state = 'streaming'"
    return [row["name"] for row in cluster.rows(primary, query)]


@contextmanager
def made_anew(cluster: Cluster, primary: str, node: str) -> Iterator[None]:
    """*node* has new data of its name, and the old ones stream from *primary* on its own host; at the end they are gone."""
    data = cluster.data
    cluster.place.service(node, "stop", "agent", "repmgrd", "postgres")
    old = cluster.place.path(primary, OLD)
    subprocess.run(["cp", "-a", "--no-target-directory", str(cluster.place.path(node, data)), str(old)], check=True)
    try:
        _start(cluster, primary, node)
        until(f"the old {node} to stream", lambda: node in names(cluster, primary), 30)
        # By hand, and on a host that knows nothing of what was there: a new machine.
        cluster.sh(node, f"find {data} -mindepth 1 -delete; rm -f {NOTE}")
        cluster.place.service(node, "start", "postgres", check=False)
        cluster.place.service(node, "start", "agent", "repmgrd", check=False)
        streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        until(f"the new {node} to stream", lambda: cluster.value(node, streams) == 1, 180)
        yield
    finally:
        inject.join(cluster, primary)
        _end(cluster, primary)


def _start(cluster: Cluster, host: str, node: str) -> None:
    """Start the copy on a port of its own. It has no slot: that is the new one's by now."""
    directory = f"/etc/postgresql/{cluster.version}/main"
    settings = {
        "config_file": f"{directory}/postgresql.conf",
        "data_directory": OLD,
        "external_pid_file": "",
        "port": "6543",
        "listen_addresses": "",
        "unix_socket_directories": OLD,
        "cluster_name": f"old {node}",
        "primary_slot_name": "",
        "archive_mode": "off",
        "shared_preload_libraries": "",
        "logging_collector": "off",
    }
    words = [f"/usr/lib/postgresql/{cluster.version}/bin/postgres", "-D", OLD]
    for name, value in settings.items():
        words += ["-c", f"{name}={value}"]
    # A unit of its own: what the postmaster's own ends with must not end this one.
    run = ["systemd-run", "--unit=faults-old", "--uid=postgres", "--gid=postgres", *words]
    cluster.sh(host, shlex.join(run))


def _end(cluster: Cluster, host: str) -> None:
    for verb in ("stop", "forget"):
        cluster.place.service(host, verb, "faults-old.service", check=False)
    cluster.sh(host, f"rm -rf {OLD}", check=False)


@fault("I1", "a standby's host is made anew, and the old one goes on beside a primary that is cut off")
def test_a_name_is_not_an_identity(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=300.0, ways=("nodes",)) as trial:
        old = trial.first_primary
        node = cluster.standbys(old)[0]
        rest = others(cluster, old)
        with made_anew(cluster, old, node):
            assert sorted(name for name in names(cluster, old) if node in name) == [f"(new) {node}", node]
            trial.now()
            inject.isolate(cluster, old, but=[CLIENT])
            behind = trial.acknowledged()
            until("rows that only the old one confirms", lambda: trial.acknowledged() > behind + 100, 30)
            nobody(trial, ELECTIONS, *rest)
            confirmed = trial.acknowledged()
            until("it to go on", lambda: trial.acknowledged() > confirmed, 30)
        # Nothing knows that the old one is gone, but whoever has ended it.
        until("the others to be back", lambda: f"(new) {node}" in names(cluster, old), 60)
        cluster.play("site", {"cluster_replaced": [node]})
        until(f"{node} to stand for its name", lambda: node in names(cluster, old), 60)


@fault("without", "identity: whoever has the name counts")
def test_without_identities_what_the_old_one_confirms_is_lost(cluster: Cluster) -> None:
    with Trial(cluster, LAB / cluster.name / "trials/without-identity", ways=("nodes",)) as trial:
        old = trial.first_primary
        node = cluster.standbys(old)[0]
        rest = others(cluster, old)
        # Without the table all is as in a release before.
        cluster.rows(old, "SET synchronous_commit = local; DROP SCHEMA pgherd CASCADE", "repmgr")
        try:
            with made_anew(cluster, old, node):
                trial.now()
                inject.isolate(cluster, old, but=[CLIENT])
                new = until("another to be promoted", lambda: cluster.primaries(rest), 90)[0]
                behind = trial.acknowledged(since=trial.broken)
                until(
                    "more that only the old one confirms", lambda: trial.acknowledged(since=trial.broken) > behind, 10
                )
                found = lost(trial, new)
                assert found.lost, found
        finally:
            inject.sweep(cluster)
            cluster.play("site")
            mend(cluster, 120)
