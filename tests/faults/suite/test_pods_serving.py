# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What finds pods: their labels, by which services know them; and what a person does with kubectl and the playbooks."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import pytest

from faults import endstate, inject
from faults.checker.endpoints import LATE
from faults.cluster import CHECKOUT, Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, others, stays
from faults.suite.test_pods import machine, named, place, played

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import control
import faults_of_pods as harm

fault = pytest.mark.fault
pytestmark = pytest.mark.pods
STREAMS = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"


def kubectl(cluster: Cluster, *words: str) -> str:
    """Standard output of kubectl in the cluster's namespace. Raises LabError."""
    return control.kubectl("-n", place(cluster).space, *words)


def roles(cluster: Cluster) -> dict[str, str]:
    """By data node what its label calls it; '' for nothing."""
    return {node: harm.labels(named(cluster, node)).get("pgherd.io/role", "") for node in cluster.nodes}


def told(cluster: Cluster, since: float) -> set[tuple[str, str]]:
    """Reasons of Events and the pods that they are about, from *since* on, seconds since the epoch."""
    items = json.loads(kubectl(cluster, "get", "events", "-o", "json"))["items"]
    return {
        (item["reason"], item["involvedObject"]["name"])
        for item in items
        if (item.get("source") or {}).get("component") == "pgherd" and _time(item["lastTimestamp"]) >= since - 1
    }


def _time(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


@fault("P20", "a standby that stands still is called the primary, by a label that its own agent cannot take away")
def test_a_label_that_is_not_true_is_taken_away(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        still = cluster.standbys(trial.first_primary)[-1]
        pod = named(cluster, still)
        trial.now()
        inject.freeze(cluster, still)
        # So the service does not lead there, whatever the label says.
        until("Kubernetes to see it", lambda: not harm.ready(pod), 60)
        harm.label(pod, "pgherd.io/role=primary")
        until("its label to be gone", lambda: harm.labels(pod).get("pgherd.io/role") != "primary", LATE)
        stays(trial, 5)
        inject.thaw(cluster, still)


@fault("switchover", "asked for by kubectl exec, and told of by Events")
def test_kubectl_is_enough_for_a_switchover(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        target = cluster.standbys(old)[0]
        trial.now()
        # On the node that hands over: it knows whom to ask.
        kubectl(cluster, "exec", old, "-c", "node", "--", "pgherd", "switchover", target)
        assert cluster.primary() == target
        trial.until_written(30, timeline=trial.first_timeline + 1)
        wanted = {node: "primary" if node == target else "standby" for node in cluster.nodes}
        until("the labels to say so", lambda: roles(cluster) == wanted, 60)
        # Between its two roles the old one may have had none.
        back = {("Rejoined", old), ("BecameStandby", old)}
        until("an Event of the new primary", lambda: ("BecamePrimary", target) in told(cluster, trial.broken_at), 30)
        until("one of the old", lambda: back & told(cluster, trial.broken_at), 30)


@fault("restart", "the playbook restarts every server")
def test_the_playbook_restart(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        before = {node: cluster.place.main_process(node, "postgres") for node in cluster.nodes}
        pods = harm.there(place(cluster).space, cluster.nodes[0].rpartition("-")[0])
        trial.now()
        played(cluster, "restart")
        trial.until_written(30, timeline=trial.first_timeline + 1)
        now = {node: cluster.place.main_process(node, "postgres") for node in cluster.nodes}
        assert not {node for node in cluster.nodes if now[node] == before[node]}
        # Servers, not pods.
        assert harm.there(place(cluster).space, cluster.nodes[0].rpartition("-")[0]) == pods


@fault("rejoin", "the playbook brings a former primary back that was stopped with its agent")
def test_the_playbook_rejoin(breaking: Breaking, cluster: Cluster) -> None:
    with breaking() as trial:
        old = trial.first_primary
        container = cluster.place.pid(old)
        trial.now()
        cluster.place.service(old, "stop", "agent", "repmgrd", "postgres")
        fails_over(trial, old)
        # Before kubelet has missed its agent for a minute, and restarts the container, which helps too.
        run = played(cluster, "rejoin")
        assert run.what_changed(old) or cluster.place.pid(old) != container, run
        until(f"{old} to stream", lambda: cluster.value(old, STREAMS) == 1, 120)
        cluster.place.service(old, "start", "agent", check=False)


def test_the_playbook_promote(cluster: Cluster) -> None:
    """Two of three machines are off. What the others alone had confirmed would be lost, so it asks; here nothing is written."""
    target = cluster.standbys(cluster.primary())[0]
    gone = others(cluster, target)
    if machine(cluster, target) in {machine(cluster, one) for one in gone} or not place(cluster).whole_machines:
        pytest.skip("needs each node on a machine of its own, and power cuts of whole machines")
    inject.power_cut(cluster, *gone)
    try:
        refused = cluster.play("promote", {"cluster_promote": target})
        assert refused.rc != 0, refused
        assert "cluster_accept_loss" in str(refused.failed), refused
        assert not cluster.primaries([target])
        run = cluster.play("promote", {"cluster_promote": target, "cluster_accept_loss": True})
        assert not run.failed, run
        until(f"{target} to be primary", lambda: cluster.primaries([target]) == [target], 60)
    finally:
        inject.power_on(cluster, *gone)
    endstate.gate(cluster, 300)
    assert cluster.primary() == target
