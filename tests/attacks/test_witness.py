# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Root on a witness, which only votes. Runs where there is one."""

from __future__ import annotations

import pytest
from faults.cluster import Cluster

from attacks.means import OWN, allowed, ask, password, refusal

pytestmark = pytest.mark.attack
AGENT = "pgherd_agent"


@pytest.fixture
def witness(cluster: Cluster) -> str:
    """The host."""
    name = next(iter(cluster.group("witness")), "")
    if not name:
        pytest.skip("no witness here")
    return name


def test_witness_commands_no_data_node(cluster: Cluster, primary: str, witness: str) -> None:
    """By repmgr's password, which it needs."""
    assert ask(cluster, witness, "repmgr", primary, "SELECT current_user") == "repmgr"
    assert allowed(cluster, witness, "repmgr", primary) == []


def test_witness_has_nothing_of_the_agents_role(cluster: Cluster, primary: str, witness: str) -> None:
    """Neither its password nor, had it that, a way in."""
    secret = password(cluster, AGENT)
    assert secret, "there is no such role"
    found = cluster.sh(
        witness, f"grep -rlF '{secret}' /etc /var/lib/postgresql /run /root /usr/lib/pgherd || :", check=False
    )
    assert found == ""
    for database in (OWN, "postgres", "app"):
        assert "pg_hba.conf" in refusal(cluster, witness, AGENT, primary, "SELECT 1", database)


def test_witness_copies_no_data(cluster: Cluster, witness: str) -> None:
    """No stream of WAL and no base backup."""
    said = refusal(cluster, witness, "repmgr", cluster.primary(), "IDENTIFY_SYSTEM", "replication replication=true")
    assert "pg_hba.conf" in said
