# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The two clusters of this scenario: the one that scenario default left, and a small one on hosts made here.

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
sys.path.append(str(CHECKOUT / "tests/integration/change"))

from living import Living  # noqa: E402

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
    """The cluster of scenario default, as it is: what a test changes in it, the next test finds."""
    given = os.environ.get("PGHERD_TEST_INVENTORY", CHECKOUT / "molecule/default/inventory.yml")
    inventory = yaml.safe_load(Path(given).read_text())
    return Living(os.environ.get("LAB_CLUSTER", "default"), inventory, tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """Three fresh hosts; the tests of test_small.py make a cluster of them, and go on with it in their order."""
    cluster = Living("change", yaml.safe_load(SMALL), tmp_path_factory.mktemp("small"))
    cluster.down()
    cluster.up(*cluster.nodes)
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def running(small: Living) -> Living:
    """The same, once there is a cluster on them."""
    if not all(small.answers(name) for name in small.nodes):
        run = small.site()
        assert run.rc == 0, run
    return small
