# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod has is lost: its claim, what was on it since, its memory. It comes back as what it should be, and never as a second
primary."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from faults import endstate, inject
from faults.cluster import APP, CHECKOUT, LAB, Cluster, LabError, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, others
from faults.suite.test_pods import identity, named, place

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import faults_of_pods as harm

import containers

fault = pytest.mark.fault
pytestmark = pytest.mark.pods
MOUNTED = "/var/lib/postgresql"  # a data node's claim
ROOM = 96 * 1024 * 1024  # bytes that a container gets, and less than a query takes
GREEDY = "SELECT length(repeat('x', 900000000))"


@fault("P16", "the primary's pod is deleted by force, and its claim with it")
def test_a_claim_that_is_lost_is_filled_again(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=300) as trial:
        old, space = trial.first_primary, place(cluster).space
        claim = harm.claim(space, f"data-{old}")
        trial.now()
        harm.lose(space, f"data-{old}")
        harm.delete(named(cluster, old), 0)
        # It has nothing that anybody could start from.
        fails_over(trial, old)
        until("another claim", lambda: harm.claim(space, f"data-{old}") not in ("", claim), 120)


@contextmanager
def snapshot(cluster: Cluster, node: str) -> Iterator[Path]:
    """A copy of all that is on the claim of a *node* that stands still, as storage would make it at one moment."""
    kept = LAB / cluster.name / "snapshot"
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["cp", "-a", "-T", str(cluster.place.path(node, MOUNTED)), str(kept)], check=True)
        yield kept
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def restored(cluster: Cluster, node: str, kept: Path) -> None:
    """A *node* has on its claim what was *kept*, and nothing else; its container restarts with that."""
    cluster.place.service(node, "stop", "agent", "repmgrd", "postgres")
    there = cluster.place.path(node, MOUNTED)
    subprocess.run(["find", str(there), "-mindepth", "1", "-delete"], check=True)
    subprocess.run(["cp", "-a", f"{kept}/.", str(there)], check=True)
    harm.kill(named(cluster, node), "node")


@fault("P17", "the claim of a former primary is restored from a snapshot of when it was primary")
def test_a_claim_from_a_snapshot_is_no_primary(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=300) as trial:
        old = trial.first_primary
        rest = others(cluster, old)
        trial.now()
        inject.freeze(cluster, old)
        with snapshot(cluster, old) as kept:
            fails_over(trial, old)
            inject.thaw(cluster, old)
            endstate.gate(cluster, 180)
            first = cluster.place.pid(old)
            restored(cluster, old, kept)
            until("another container", lambda: cluster.place.pid(old) != first, 120)
            streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
            until(f"{old} to stream", lambda: cluster.value(old, streams) == 1, 240)
        assert cluster.primary() in rest


@fault("P18", "the primary's container has too little memory, and the kernel kills in it")
def test_a_container_without_memory_is_back(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        starved = place(cluster).container(old)
        before = containers.killed_for_memory(starved)

        def killed() -> bool:
            # The session that asks for too much is the one that ends, or its whole container.
            with suppress(psycopg.Error, LookupError):
                cluster.rows(old, GREEDY, APP)
            try:
                return containers.killed_for_memory(starved) > before
            except (LabError, OSError):
                return True  # the container itself has gone

        containers.limit(starved, ROOM)
        trial.now()
        try:
            until("the kernel to kill", killed, 60)
        finally:
            with suppress(LabError, OSError):
                containers.limit(starved, None)
        trial.until_written(60)


@fault("P19", "the primary's pod is deleted while its server stands still")
def test_a_server_that_hangs_does_not_keep_its_pod(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        before = identity(cluster, old)
        inject.stop(cluster, old, "postmaster")
        trial.now()
        harm.delete(named(cluster, old))
        trial.until_written(60)
        # Its grace is 120 s.
        until("another pod", lambda: identity(cluster, old) != before, 150)
