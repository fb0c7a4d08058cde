# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A planned switchover: there and back under load, refused where it is not safe, and aborted at every step."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from faults import inject
from faults.cluster import Cluster, Event, Run, until
from faults.drivers import clients
from faults.suite.conftest import Breaking
from faults.suite.steps import stays
from faults.trial import Trial

fault = pytest.mark.fault


def switch(cluster: Cluster, target: str = "", **more: object) -> Run:
    """Run the playbook; *target* "" leaves the choice to it."""
    extra = {"cluster_switchover_to": target} if target else None
    return cluster.play("switchover", extra, **more)  # type: ignore[arg-type]


@pytest.mark.dozen
@fault("switchover", "there and back")
def test_there_and_back(breaking: Breaking, cluster: Cluster) -> None:
    # With clients of three drivers beside the writers, each of which is told what docs/connecting.md says it is.
    with breaking() as trial, clients(cluster):
        old = trial.first_primary
        target = cluster.standbys(old)[0]
        trial.now()
        for number, name in enumerate((target, old), start=1):
            run = switch(cluster, name)
            assert run.rc == 0, run
            assert cluster.primary() == name
            trial.until_written(20, timeline=trial.first_timeline + number)
    assert trial.verdict
    # A busy machine, whose disk may stand for seconds: pg_promote() alone took eight once. bench-failover measures.
    assert trial.verdict.gaps.overall < 30.0


@fault("switchover", "to a standby that replays nothing: refused")
def test_one_that_is_not_safe_is_refused(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        target = cluster.standbys(trial.first_primary)[0]
        cluster.rows(target, "SELECT pg_wal_replay_pause()")
        trial.now()
        try:
            run = switch(cluster, target)
            assert run.rc != 0, run
            assert target in str(run)
            stays(trial, 5)
        finally:
            cluster.rows(target, "SELECT pg_wal_replay_resume()")


@fault("switchover", "ten times round")
def test_ten_in_a_row(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        for _time in range(10):
            target = cluster.standbys()[0]
            run = switch(cluster, target)
            assert run.rc == 0, run
            trial.until_written(30)


@pytest.mark.parametrize("step", range(1, 11))
@fault("F21", "the control machine dies in a switchover")
def test_an_aborted_switchover_leaves_one_primary(breaking: Breaking, cluster: Cluster, step: int) -> None:
    with breaking() as trial:
        target = cluster.standbys(trial.first_primary)[0]
        begun: list[str] = []

        def at_step(event: Event) -> bool:
            if event["_event"] == "v2_playbook_on_task_start":
                begun.append(event["task"]["name"])
            return len(begun) >= step

        trial.now()
        run = switch(cluster, target, stop_at=at_step)
        if run.rc == 0:
            pytest.skip(f"a switchover has no {step} tasks")
        trial.until_written(90)


@pytest.mark.parametrize("what", ["primary", "target", "both repmgrd", "network", "control machine"])
@fault("F21", "a host fails as soon as the old primary has stopped")
def test_a_switchover_survives_its_hosts(breaking: Breaking, cluster: Cluster, what: str) -> None:
    with breaking(settle=180) as trial:
        old = trial.first_primary
        target = cluster.standbys(old)[0]
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                if _stopping(trial):
                    _hurt(cluster, what, old, target)
                    return
                done.wait(0.02)

        trial.now()
        watcher = threading.Thread(target=watch)
        watcher.start()
        switch(cluster, target)
        done.set()
        watcher.join()
        inject.sweep(cluster)
        until("one primary", cluster.primary, 90)
        trial.until_written(90)
    # Sessions of a node that is cut off keep their locks until TCP gives them up: 5 s, where it was a minute once.
    assert trial.verdict.gaps.overall < 40.0


def _stopping(trial: Trial) -> bool:
    """Whether the old primary no longer takes writes, or another already does."""
    asked = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
    first = trial.first_primary
    found = trial.cluster.each(lambda node: trial.cluster.value(node, asked), [first])[first]
    return found is not False


def _hurt(cluster: Cluster, what: str, old: str, target: str) -> None:
    if what == "primary":
        inject.power_cut(cluster, old)
    elif what == "target":
        inject.power_cut(cluster, target)
    elif what == "network":
        inject.isolate(cluster, target)
    elif what == "control machine":
        for process in inject.children("ansible-playbook"):
            os.kill(process, signal.SIGKILL)
    else:
        for host in (old, target):
            inject.kill(cluster, host, "repmgrd")
