# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The two clusters of this scenario: the one that another scenario left, and a small one on hosts made here.

To work on a test without the first, make such a cluster with tests/lab/lab.py and the site playbook, and run pytest with
LAB_CLUSTER=its name and PGHERD_TEST_INVENTORY=its inventory file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path += [str(CHECKOUT / "tests/integration/change"), str(CHECKOUT / "tests/lab")]

import hosts as lab_hosts  # noqa: E402
from living import Living  # noqa: E402
from machine import podman  # noqa: E402

# The lab's name of the first.
TREE = os.environ.get("LAB_CLUSTER", "faults")
# A cascade without witness, and WAL in a directory of its own.
SMALL = """
all:
  vars:
    cluster_name: small
    cluster_durability: async
    cluster_wal_directory: /var/lib/postgresql/wal
    cluster_secrets_directory: "{{ lab_directory }}/secrets"
postgres:
  hosts:
    pg1: {node_id: 1}
    pg2: {node_id: 2, upstream: pg1}
    pg3: {node_id: 3, upstream: pg2}
"""


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The cluster of another scenario, whole, with the primary that the inventory names: what a test changes in it, the next
    test finds."""
    given = os.environ.get("PGHERD_TEST_INVENTORY", CHECKOUT / f"molecule/{TREE}/inventory.yml")
    inventory = yaml.safe_load(Path(given).read_text())
    cluster = converged(Living(TREE, inventory, tmp_path_factory.mktemp("tree")))
    cluster.until_well()
    first = next(name for name, host in cluster.group("postgres").items() if "upstream" not in host)
    if cluster.primary() != first:
        run = cluster.site(playbook="pgherd.cluster.switchover", extra={"cluster_switchover_to": first})
        assert run.rc == 0, run
        cluster.until_streaming(*(name for name in cluster.nodes if name != first))
        cluster.until_well()
    return cluster


def converged(cluster: Living) -> Living:
    """The cluster, made where there is none."""
    if not all(cluster.answers(name) for name in cluster.nodes):
        run = cluster.site()
        assert run.rc == 0, run
    return cluster


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """Three fresh hosts; the tests of test_small.py make a cluster of them, and go on with it in their order. The other cluster,
    whose tests come before, stands still meanwhile where that can be had: idle it takes a sixth of two processors."""
    cluster = Living("change", yaml.safe_load(SMALL), tmp_path_factory.mktemp("small"))
    cluster.down()
    others = [host.container for host in lab_hosts.hosts(TREE) if host.state == "running"]
    for container in others:
        podman("pause", container, check=False)  # under cgroup v1 some do not freeze
    cluster.up(*cluster.nodes)
    yield cluster
    cluster.down()
    for container in others:
        podman("unpause", container, check=False)


@pytest.fixture(scope="session")
def running(small: Living) -> Living:
    """The same, once there is a cluster on them."""
    return converged(small)
