# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A module works where the description has its node, and brings no more than it needs."""

from __future__ import annotations

from dataclasses import replace

from pgherd.places import of_modules
from pgherd.places.host import here as host
from pgherd.places.host.runtime import COMMANDS
from pgherd.places.pod import here as pod
from world import CLUSTER

PODS = replace(CLUSTER, nodes=tuple(replace(node, place="pod") for node in CLUSTER.nodes))


def test_each_node_in_its_place() -> None:
    assert of_modules.commands(CLUSTER, "pg1") == COMMANDS
    assert of_modules.commands(PODS, "pg1") == pod.COMMANDS
    for cluster, place in ((CLUSTER, host), (PODS, pod)):
        found, wanted = of_modules.here(cluster, "pg1"), place.here(cluster, "pg1")
        assert found.layout == wanted.layout
        assert type(found.services) is type(wanted.services)
