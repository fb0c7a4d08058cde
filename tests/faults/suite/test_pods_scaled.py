# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What kubectl does to the pods' StatefulSet, past the playbook: the rows stay, and the cluster comes back whole."""

from __future__ import annotations

import sys

import pytest

from faults import endstate
from faults.cluster import CHECKOUT, Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, stays
from faults.suite.test_pods import identity, place, played

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import control
import faults_of_pods as harm

fault = pytest.mark.fault
pytestmark = pytest.mark.pods
ENDED = 180.0  # seconds for pods with a grace of 120 to be gone


def stateful_set(cluster: Cluster) -> str:
    """The one that has the data nodes."""
    (name,) = {node.rpartition("-")[0] for node in cluster.nodes}
    return name


def scaled(cluster: Cluster, replicas: int) -> None:
    """So many pods are wanted; where that is none, none is left."""
    space, name = place(cluster).space, stateful_set(cluster)
    harm.scale(space, name, replicas)
    if not replicas:
        until("no pod to be left", lambda: not harm.there(space, name), ENDED)


def lives(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """By data node which pod it is, and where that is reached."""
    return {node: (identity(cluster, node), cluster.place.address(node)) for node in cluster.nodes}


def others_elsewhere(before: dict[str, tuple[str, str]], cluster: Cluster) -> None:
    """Wait until every data node has another pod, with another address. That one may have been another node's."""

    def all_others() -> bool:
        now = lives(cluster)
        return not [node for node, (pod, address) in before.items() if now[node][0] == pod or now[node][1] == address]

    until("every node to be another pod with another address", all_others, ENDED)


@fault("P11", "all nodes are scaled to zero and back")
def test_to_zero_and_back(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=300) as trial:
        before = lives(cluster)
        trial.now()
        scaled(cluster, 0)
        scaled(cluster, len(cluster.nodes))
        trial.until_written(120)
        others_elsewhere(before, cluster)


@fault("P12", "all nodes are scaled to zero, and the primary does not come back")
def test_to_zero_and_back_without_the_primary(breaking: Breaking, cluster: Cluster) -> None:
    last = cluster.nodes[-1]
    if cluster.primary() != last:
        played(cluster, "switchover", {"cluster_switchover_to": last})
        endstate.gate(cluster, 120)
    with breaking(settle=300) as trial:
        assert trial.first_primary == last
        trial.now()
        scaled(cluster, 0)
        scaled(cluster, len(cluster.nodes) - 1)
        fails_over(trial, last, seconds=180)
        scaled(cluster, len(cluster.nodes))


@fault("P13", "kubectl scales below and above what is described")
def test_more_pods_wait_and_fewer_are_a_degraded_cluster(breaking: Breaking, cluster: Cluster) -> None:
    space, more = place(cluster).space, f"{stateful_set(cluster)}-{len(cluster.nodes)}"
    known = harm.claim(space, f"data-{more}")

    def says_why() -> bool:
        said = [
            control.kubectl("-n", space, "logs", more, "-c", container, check=False) for container in ("own", "node")
        ]
        return any("has no host called so" in words and "let the site playbook scale" in words for words in said)

    try:
        with breaking() as trial:
            trial.now()
            scaled(cluster, len(cluster.nodes) + 1)
            until(f"{more} to say why it waits", says_why, 120, 1.0)
            assert not harm.ready(f"{space}/{more}")
            assert not {key for key in harm.labels(f"{space}/{more}") if key in ("pgherd.io/role", "pgherd.io/read")}
            # A new name changes nothing for those that are described.
            stays(trial, 5)
            scaled(cluster, len(cluster.nodes) - 1)
            until("one to be gone", lambda: len(harm.there(space, stateful_set(cluster))) < len(cluster.nodes), ENDED)
            trial.until_written(60)
            scaled(cluster, len(cluster.nodes))
    finally:
        if not known:
            harm.lose(space, f"data-{more}")


@fault("P14", "the StatefulSet is deleted from above its pods, and applied again")
def test_pods_live_on_without_their_stateful_set(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=300) as trial:
        space, name, standby = place(cluster).space, stateful_set(cluster), cluster.standbys(trial.first_primary)[-1]
        before = {node: cluster.place.main_process(node, "postgres") for node in cluster.nodes}
        pods = harm.there(space, name)
        trial.now()
        harm.orphan(space, name)
        trial.until_written(20)
        # Nobody makes this one again meanwhile.
        harm.delete(f"{space}/{standby}", 0)
        until(f"{standby} to be gone", lambda: standby not in harm.there(space, name), 60)
        stays(trial, 5, *(node for node in cluster.nodes if node != standby))
        played(cluster, "site")
        found = harm.there(space, name)
        assert {node for node, uid in found.items() if pods.get(node) != uid} == {standby}
        stayed = [node for node in cluster.nodes if node != standby]
        assert [cluster.place.main_process(node, "postgres") for node in stayed] == [before[node] for node in stayed]
        trial.until_written(30)


@fault("P15", "all nodes are made anew one after the other, each elsewhere")
def test_every_pod_gets_another_address(breaking: Breaking, cluster: Cluster) -> None:
    with breaking(settle=300) as trial:
        before = lives(cluster)
        trial.now()
        harm.roll(place(cluster).space, stateful_set(cluster))
        trial.until_written(60)
        others_elsewhere(before, cluster)
