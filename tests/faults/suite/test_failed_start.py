# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A standby that cannot start for a reason of its own stays as it is, says why, and streams on when the reason is gone."""

from __future__ import annotations

import json

import pytest

from faults import inject
from faults.cluster import Cluster, until
from faults.endstate import status
from faults.suite.conftest import Breaking
from faults.suite.steps import stays

fault = pytest.mark.fault
# What is set on the standby alone, how it goes down, and what PostgreSQL says of it.
CAUSES = {
    "a certificate, after a crash": ("ssl_cert_file = '/nonexistent.crt'", "crash", "/nonexistent.crt"),
    "a library, after a stop": ("shared_preload_libraries = 'no_such_library'", "stop", "no_such_library"),
    "a limit, after a crash": ("max_connections = 20", "crash", "insufficient parameter settings"),
    "a port, after a crash": ("listen_addresses = '192.0.2.1'", "crash", "could not create any TCP/IP sockets"),
    "memory, after a stop": ("shared_buffers = '900GB'", "stop", "shared memory"),
}
LONG = 15.0  # seconds: an agent acts within ten


WHERE = [
    *(pytest.param("electable", cause, marks=[] if at else [pytest.mark.dozen]) for at, cause in enumerate(CAUSES)),
    *(pytest.param("leaf", cause, marks=pytest.mark.tree) for cause in CAUSES),
]


@pytest.mark.parametrize(("which", "cause"), WHERE)
@fault("B00", "a standby cannot start for a reason of its own")
def test_a_standby_that_cannot_start_is_left_as_it_is(
    breaking: Breaking, cluster: Cluster, cause: str, which: str
) -> None:
    setting, how, words = CAUSES[cause]
    with breaking() as trial:
        node = cluster.standbys(trial.first_primary)[0 if which == "electable" else -1]
        data = _birth(cluster, node)
        inject.append(cluster, node, f"{cluster.data}/postgresql.auto.conf", setting)
        trial.now()
        if how == "crash":
            inject.kill(cluster, node, "postmaster")
        else:
            cluster.place.service(node, "restart", "postgres", check=False)
        until(f"{node} to fail", lambda: cluster.place.service_state(node, "postgres") == "failed", 120)
        until("status to say why", lambda: _says(cluster, node, trial.first_primary, words), 90)
        stays(trial, LONG, *(other for other in cluster.nodes if other != node))
        assert "recovery" in _state(cluster, node), "its recovery was ended"
        # By its cause, and by nothing else.
        inject.restore(cluster, node)
        query = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        until(f"{node} to stream again", lambda: cluster.value(node, query), 120)
        assert _birth(cluster, node) == data, f"{node} was copied anew"
        trial.until_written(20)


def _birth(cluster: Cluster, node: str) -> str:
    """A copy has files of its own."""
    return cluster.run(node, "stat", "-c", "%i", f"{cluster.data}/PG_VERSION", f"{cluster.data}/global/1262")


def _state(cluster: Cluster, node: str) -> str:
    said = cluster.run(node, f"/usr/lib/postgresql/{cluster.version}/bin/pg_controldata", cluster.data)
    return next(line for line in said.splitlines() if line.startswith("Database cluster state"))


def _says(cluster: Cluster, node: str, asked: str, words: str) -> bool:
    return any(
        words in json.dumps(problem) for problem in status(cluster, asked)["problems"] if problem["node"] == node
    )
