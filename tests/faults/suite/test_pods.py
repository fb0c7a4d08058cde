# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What happens to pods alone: containers end, pods are deleted and moved, and Kubernetes itself is away."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults import endstate
from faults.cluster import CHECKOUT, LAB, Cluster, Run, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, stays

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import control
import faults_of_pods as harm
import kubernetes_pods
import network
import state

fault = pytest.mark.fault
pytestmark = pytest.mark.pods


def place(cluster: Cluster) -> kubernetes_pods.Pods:
    """Where they live."""
    assert isinstance(cluster.place, kubernetes_pods.Pods)
    return cluster.place


def named(cluster: Cluster, node: str) -> str:
    """NAMESPACE/NAME of a node's pod."""
    return place(cluster).pod(node)


def machine(cluster: Cluster, node: str) -> int:
    """The number of Kubernetes' machine where it runs."""
    return place(cluster).container(node).node


def identity(cluster: Cluster, node: str) -> str:
    """What tells its pod from others of its name."""
    return place(cluster).container(node).identity


@fault("P01", "the primary's container is killed and restarts in place")
def test_a_container_that_restarts_brings_no_second_primary(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = cluster.place.pid(trial.first_primary)
        trial.now()
        harm.kill(named(cluster, trial.first_primary), "node")
        until("another container", lambda: cluster.place.pid(trial.first_primary) != old, 120)
        trial.until_written(60)


@fault("P02", "the primary's pod is deleted with its grace")
def test_a_pod_that_is_deleted_hands_over_first(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        harm.delete(named(cluster, trial.first_primary))
        trial.until_written(60, timeline=trial.first_timeline + 1)


@fault("P03", "the primary's pod is deleted with grace 0")
def test_a_pod_that_is_deleted_by_force_is_replaced(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        before = identity(cluster, trial.first_primary)
        trial.now()
        harm.delete(named(cluster, trial.first_primary), 0)
        until("another pod", lambda: identity(cluster, trial.first_primary) != before, 120)
        trial.until_written(60)


@fault("P04", "the primary's pod is deleted by force while it runs on, where nobody reaches it")
def test_two_lives_of_one_name_are_no_two_primaries(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        there = machine(cluster, old)
        trial.now()
        network.cut(there, "both")
        place(cluster).lead_past([there])
        try:
            harm.delete(named(cluster, old), 0)
            fails_over(trial, old)
            assert cluster.place.pid(old), "it was not there any more"
        finally:
            network.heal(there)
            place(cluster).lead_past(())


@fault("P05", "the primary's machine is drained")
def test_a_drained_machine_hands_over(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        there = machine(cluster, trial.first_primary)
        trial.now()
        try:
            harm.drain(there)
            trial.until_written(60, timeline=trial.first_timeline + 1)
        finally:
            harm.uncordon(there)


@pytest.mark.parametrize("who", ["kubelet", "api"])
@fault("P06", "the primary's kubelet, or all that is on its machine, does not reach the API server")
def test_who_is_cut_from_the_api_server_changes_nothing(breaking: Breaking, cluster: Cluster, who: str) -> None:
    with breaking() as trial:
        there = machine(cluster, trial.first_primary)
        trial.now()
        network.cut(there, who)
        try:
            stays(trial, 30)
            trial.until_written(10)
        finally:
            network.heal(there)


@fault("P07", "the API server is away")
def test_without_the_api_server_the_primary_goes_on(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        trial.now()
        state.stop(control.API)
        try:
            stays(trial, 40)
            trial.until_written(10)
        finally:
            control.start(control.API)


@fault("P08", "the API server is away, and the primary's container is frozen")
def test_a_failover_does_not_wait_for_the_api_server(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        state.stop(control.API)
        try:
            cluster.place.freeze(old)
            # The service of writes has to lead to the old one meanwhile; pgpool finds the new one by itself.
            until("another primary", lambda: cluster.primary([n for n in cluster.nodes if n != old]), 90)
            trial.until_written(60, "pgpool", trial.first_timeline + 1)
        finally:
            control.start(control.API)


@fault("P09", "the primary and one standby do not hear each other's pods")
def test_a_partition_between_two_pods_changes_nothing(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old, other = trial.first_primary, cluster.standbys(trial.first_primary)[0]
        trial.now()
        harm.part(named(cluster, old), named(cluster, other))
        try:
            trial.until_written(20)
            stays(trial, 25)
        finally:
            for there in sorted({machine(cluster, old), machine(cluster, other)}):
                network.heal(there)


@fault("P10", "three nodes become five, of which two confirm, and three again")
@pytest.mark.timeout(3600)  # six playbooks
def test_it_grows_and_shrinks(breaking: Breaking, cluster: Cluster) -> None:
    """Nobody's server restarts for it. Playbooks take minutes, so writers write less often."""
    with breaking(writers=1, period=0.2) as trial:
        before = {node: cluster.place.main_process(node, "postgres") for node in cluster.nodes}
        trial.now()
        five = larger(cluster, 2)
        played(five, "site")
        assert endstate.gate(five, 120) >= 0
        played(five, "site", {"cluster_sync_standbys": 2})
        names = five.value(trial.first_primary, "SHOW synchronous_standby_names")
        assert names.startswith("ANY 2"), names
        played(five, "site", {"cluster_sync_standbys": 1})
        for leaving in (4, 3):
            played(larger(cluster, leaving - 2), "remove", {"cluster_remove": f"pg-{leaving}"})
        played(cluster, "site")
        assert before == {node: cluster.place.main_process(node, "postgres") for node in cluster.nodes}
        trial.until_written(30)


def larger(cluster: Cluster, more: int) -> Cluster:
    """The same cluster as it is with so many data nodes *more*, described in a file of its own."""
    found: dict[str, Any] = copy.deepcopy(cluster.described)
    hosts = found["postgres"]["hosts"]
    there, first = len(hosts), next(iter(hosts))
    for number in range(there, there + more):
        hosts[f"pg-{number}"] = {"node_id": number + 1, "upstream": first}
    path: Path = LAB / cluster.name / f"larger-{more}.yml"
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return Cluster(cluster.name, path)


def played(cluster: Cluster, playbook: str, extra: dict[str, Any] | None = None) -> Run:
    """Run a playbook, which has to end well; what it said."""
    run = cluster.play(playbook, extra)
    assert run.rc == 0, run
    return run
