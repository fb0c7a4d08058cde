# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Attacks on a cluster of another scenario; each leaves it as it was.

LAB_CLUSTER and PGHERD_TEST_INVENTORY name test hosts and what they are, in the place of molecule's scenario.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.cluster import CHECKOUT, Cluster, until

from attacks import means


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that is attacked."""
    name = os.environ.get("LAB_CLUSTER") or os.environ.get("MOLECULE_SCENARIO_NAME", "faults")
    default = CHECKOUT / f"molecule/{name}/inventory.yml"
    return Cluster(name, Path(os.environ.get("PGHERD_TEST_INVENTORY", default)))


@pytest.fixture
def primary(cluster: Cluster) -> str:
    """The primary, when all standbys stream."""

    def whole() -> str:
        name = cluster.primary()
        return name if all(means.streams(cluster, node) for node in cluster.standbys(name)) else ""

    return until("a primary with all its standbys", whole, 90)


@pytest.fixture
def standby(cluster: Cluster, primary: str) -> Iterator[str]:
    """A standby that an attack is made on. Afterwards it streams again, whatever the attack did to its files."""
    name = cluster.standbys(primary)[0]
    means.root_has(cluster, name)
    yield name
    means.heal(cluster, name)
