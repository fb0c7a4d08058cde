# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What chaos does to pods beside all that it does to hosts: see chaos.py. Sweeping heals each."""

from __future__ import annotations

import random
import sys

from faults.cluster import CHECKOUT, Cluster

sys.path.append(str(CHECKOUT / "tests/lab/kubernetes"))

import control
import faults_of_pods as harm
import network
import state
from kubernetes_pods import Pods


def _place(cluster: Cluster) -> Pods:
    assert isinstance(cluster.place, Pods)
    return cluster.place


def _one(cluster: Cluster, chance: random.Random) -> str:
    """The primary as often as all others together."""
    first = cluster.primary()
    return chance.choice([first, chance.choice([name for name in cluster.everyone if name != first])])


def ended(cluster: Cluster, chance: random.Random) -> str:
    """Process 1 of a container is killed, and the container restarts in place."""
    host = _one(cluster, chance)
    harm.kill(_place(cluster).pod(host), "node")
    return f"kill process 1 of {host}"


def deleted(cluster: Cluster, chance: random.Random) -> str:
    """A pod is deleted, with its grace or with none."""
    host, grace = _one(cluster, chance), chance.choice([None, 0])
    harm.delete(_place(cluster).pod(host), grace)
    return f"delete the pod {host} {'by force' if grace == 0 else 'with its grace'}"


def speechless(cluster: Cluster, chance: random.Random) -> str:
    """The container that sets a data node's labels is killed."""
    host = chance.choice(cluster.nodes)
    harm.kill(_place(cluster).pod(host), "api")
    return f"kill the container api of {host}"


def drained(cluster: Cluster, chance: random.Random) -> str:
    """The machine of a node is drained."""
    host = chance.choice([cluster.primary(), chance.choice(cluster.nodes)])
    there = _place(cluster).container(host).node
    harm.drain(there)
    return f"drain node{there}, where {host} is"


def without_kubernetes(cluster: Cluster, chance: random.Random) -> str:
    """The API server is away, for all or for the machine of the primary."""
    what = chance.choice(["all", "kubelet", "api"])
    if what == "all":
        state.stop(control.API)
        return "stop the API server"
    there = _place(cluster).container(cluster.primary()).node
    network.cut(there, what)
    return f"cut {'the kubelet' if what == 'kubelet' else 'all'} of node{there} from the API server"


KILLS = ((ended, 2), (deleted, 3))
PODS = (*KILLS, (speechless, 1), (drained, 1), (without_kubernetes, 2))
