# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A cure in the words of the place where it is carried out."""

from __future__ import annotations

from ..model import POD, Cluster
from ..status.problem import Cure, Words
from .host.words import words as on_host
from .pod.words import words as in_a_pod


def words_of(cluster: Cluster) -> Words:
    """What puts cures for *cluster* into commands to type: each host's place has its own, and so has the control machine."""
    pods = {host.name for host in cluster.hosts if host.place == POD}
    deployed = {host.name for host in cluster.pgpools}
    namespace = cluster.options.namespace or cluster.name

    def words(cure: Cure) -> str:
        return in_a_pod(cure, namespace, cure.on in deployed) if cure.on in pods else on_host(cure)

    return words
