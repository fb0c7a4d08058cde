# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The small cluster on Debian 12, in so many words: nothing here is taken from the inventory."""

from __future__ import annotations

from deployed import Deployed, until


def test_versions(cluster: Deployed) -> None:
    """Debian 12 with its own packages."""
    host = cluster.hosts["pg1.rough.test"]
    assert host.shell.system_info.codename == "bookworm"
    assert host.show("server_version").startswith("15.")
    assert host.shell.package("postgresql-15-repmgr").version.startswith("5.3")
    assert cluster.hosts["pool1.rough.test"].shell.package("pgpool2").version.startswith("4.3")
    assert cluster.hosts["backup1.rough.test"].shell.package("barman").version.startswith("3.4")


def test_witness(cluster: Deployed) -> None:
    """A server of its own, outside recovery, with a copy of repmgr's metadata and none of the data; it follows the primary."""
    witness = cluster.hosts["w1.rough.test"]
    assert witness.value("SELECT pg_is_in_recovery()") is False
    identifier = "SELECT system_identifier::text FROM pg_control_system()"
    assert witness.value(identifier) != cluster.hosts["pg1.rough.test"].value(identifier)
    databases = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"
    assert [row["datname"] for row in witness.rows(databases)] == ["postgres", "repmgr"]
    nodes = "SELECT node_id, type, upstream_node_id AS up, priority FROM repmgr.nodes ORDER BY 1"
    wanted = [
        {"node_id": 1, "type": "primary", "up": None, "priority": 100},
        {"node_id": 2, "type": "standby", "up": 1, "priority": 100},
        {"node_id": 3, "type": "witness", "up": 1, "priority": 0},
    ]
    # Its repmgrd copies them every witness_sync_interval, 15 s; a test before this one may have taken a node out and back.
    until("the witness to have the primary's records", lambda: witness.rows(nodes, "repmgr") == wanted, 60.0)
    assert witness.show("shared_preload_libraries") == "repmgr"
    assert witness.show("synchronous_standby_names") == ""


def test_asynchronous_without_slots(cluster: Deployed) -> None:
    """C68, C85: nobody is waited for, and the standby streams without a slot, from kept WAL."""
    primary, standby = cluster.hosts["pg1.rough.test"], cluster.hosts["pg2.rough.test"]
    assert primary.show("synchronous_standby_names") == ""
    slot = "SELECT coalesce(slot_name, '') AS slot FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    assert until("the standby to stream", lambda: standby.rows(slot)) == [{"slot": ""}]
    assert primary.value("SELECT array_agg(slot_name) FROM pg_replication_slots") == ["barman"]
    assert primary.show("wal_keep_size") == "256MB"


def test_own_directories(cluster: Deployed) -> None:
    """The data and the WAL of both nodes lie in directories of the user's choice, and Debian's is not used."""
    for name in ("pg1.rough.test", "pg2.rough.test"):
        host = cluster.hosts[name]
        assert host.show("data_directory") == "/srv/pg/data"
        assert host.run("readlink /srv/pg/data/pg_wal").strip() == "/srv/wal/small"
        assert not host.shell.file("/var/lib/postgresql/15/main").exists
