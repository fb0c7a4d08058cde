# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The five-node tree of the demo, in so many words: nothing here is taken from the inventory."""

from __future__ import annotations

from deployed import Deployed

UPSTREAMS = {"pg1": None, "pg2": "pg1", "pg3": "pg2", "pg4": "pg1", "pg5": "pg4"}


def test_tree(cluster: Deployed) -> None:
    """C2, C57: what each receiver says, what each node's metadata say, and that the primary does not serve the leaves."""
    receiver = "SELECT max(sender_host) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    assert {host.name: host.value(receiver) for host in cluster.data_nodes} == UPSTREAMS
    metadata = "SELECT n.node_name AS node, u.node_name AS up FROM repmgr.nodes n LEFT JOIN repmgr.nodes u"
    metadata += " ON u.node_id = n.upstream_node_id"
    for host in cluster.data_nodes:
        assert {row["node"]: row["up"] for row in host.rows(metadata, "repmgr")} == UPSTREAMS, host.name
    senders = "SELECT application_name AS name FROM pg_stat_replication WHERE usename = 'pgherd_agent' ORDER BY 1"
    assert [row["name"] for row in cluster.hosts["pg1"].rows(senders)] == ["pg2", "pg4"]
    assert [row["name"] for row in cluster.hosts["pg2"].rows(senders)] == ["pg3"]
    assert cluster.hosts["pg3"].rows(senders) == []


def test_durability(cluster: Deployed) -> None:
    """C85: of the tree the primary waits for one of the two next to it, never for a leaf; they keep their own list."""
    for host in cluster.data_nodes:
        assert host.show("synchronous_standby_names") == 'ANY 1 ("pg1", "pg2", "pg4")'
    query = "SELECT application_name AS name FROM pg_stat_replication WHERE sync_state = 'quorum' ORDER BY 1"
    assert [row["name"] for row in cluster.hosts["pg1"].rows(query)] == ["pg2", "pg4"]


def test_versions(cluster: Deployed) -> None:
    """Debian 13 with its own packages."""
    host = cluster.hosts["pg1"]
    assert host.shell.system_info.codename == "trixie"
    assert host.show("server_version").startswith("17.")
    assert host.shell.package("repmgr").is_installed or host.shell.package("postgresql-17-repmgr").is_installed
    assert cluster.hosts["pool1"].shell.package("pgpool2").version.startswith("4.6")
    assert cluster.hosts["backup1"].shell.package("barman").version.startswith("3.13")
