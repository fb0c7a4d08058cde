# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who streams from whom, by what, and what a commit waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from deployed import Deployed, Host, everywhere, until

SENDERS = "SELECT application_name AS name, state, sync_state FROM pg_stat_replication WHERE application_name NOT LIKE 'barman%'"


def test_one_primary_and_one_history(cluster: Deployed) -> None:
    """C1, C4: of equal hosts the one without an upstream leads, all others recover from it and nobody else."""
    assert [cluster.upstream(cluster.primary)] == [""]
    seen = everywhere(
        cluster.data_nodes,
        lambda host: host.value("SELECT (system_identifier, pg_is_in_recovery())::text FROM pg_control_system()"),
    )
    identifier = seen[cluster.primary.name].strip("()").split(",")[0]
    assert seen == {
        host.name: f"({identifier},{'f' if host == cluster.primary else 't'})" for host in cluster.data_nodes
    }


def test_tree(cluster: Deployed) -> None:
    """C2, C57: receivers and senders agree on the tree that the inventory draws; the primary does not serve the leaves."""
    receiver = "SELECT status, sender_host, sender_port, coalesce(slot_name, '') AS slot FROM pg_stat_wal_receiver"
    slots = cluster.wanted("replication_slots", True)
    for host in cluster.standbys:
        slot = f"repmgr_slot_{host.vars['node_id']}" if slots else ""
        wanted = [{"status": "streaming", "sender_host": cluster.upstream(host), "sender_port": 5432, "slot": slot}]
        until(f"the receiver of {host.name}", lambda host=host, wanted=wanted: host.rows(receiver) == wanted)

    def senders(host: Host) -> bool:
        found = {row["name"]: row["state"] for row in host.rows(SENDERS)}
        return found == dict.fromkeys(cluster.children(host), "streaming")

    for host in cluster.data_nodes:
        until(f"the senders of {host.name}", lambda host=host: senders(host))


def test_slots(cluster: Deployed) -> None:
    """C68: each standby's slot is active on its upstream, and ready on every node that may become its upstream; no other
    slot of a node is anywhere; or none at all."""
    query = "SELECT slot_name AS name, active FROM pg_replication_slots WHERE slot_name LIKE 'repmgr%' ORDER BY 1"
    first = next(host for host in cluster.data_nodes if not host.vars.get("upstream"))
    listed = {host.name for host in cluster.data_nodes if _electable(host, first)}
    for host in cluster.data_nodes:
        if not cluster.wanted("replication_slots", True):
            assert host.rows(query) == []
            assert host.show("wal_keep_size") == cluster.wanted("wal_keep_size")
            continue
        children = set(cluster.children(host))
        ready = {
            other.name
            for other in cluster.data_nodes
            if host.name in listed and (other.name in listed or other.vars.get("upstream") == first.name)
        }
        wanted = {f"repmgr_slot_{cluster.hosts[name].vars['node_id']}": name for name in children | ready - {host.name}}
        active = {slot: name in children for slot, name in wanted.items()}
        until(f"the slots of {host.name}", lambda host=host, active=active: _slots(host, query) == active)


def _slots(host: Host, query: str) -> dict[str, bool]:
    return {row["name"]: row["active"] for row in host.rows(query)}


def _electable(host: Host, first: Host) -> bool:
    here = host.vars.get("location") == first.vars.get("location") and host.vars.get("priority", 100) > 0
    return here and host.vars.get("upstream", first.name) == first.name


def test_room_for_all(cluster: Deployed) -> None:
    """C7, C69: senders and slots for every other host and some to spare, on every node, since any may be primary."""
    streams = len(cluster.nodes) + len(cluster.group("barman")) + 2
    for host in cluster.data_nodes:
        assert int(host.show("max_wal_senders")) >= streams
        assert int(host.show("max_replication_slots")) >= streams
        assert host.show("wal_level") in ("replica", "logical")
        assert host.show("hot_standby") == "on"
        assert host.show("wal_log_hints") == "on"


@pytest.fixture(scope="module")
def table(cluster: Deployed) -> Iterator[str]:
    """A table of the superuser's that goes afterwards."""
    cluster.primary.sql("CREATE TABLE IF NOT EXISTS test_row (id int PRIMARY KEY, t timestamptz DEFAULT now())")
    yield "test_row"
    cluster.primary.sql("DROP TABLE test_row")


def test_a_row_reaches_every_standby(cluster: Deployed, table: str) -> None:
    """C1: what the primary was told, each standby says within seconds, the leaves too."""
    cluster.primary.sql(f"INSERT INTO {table} VALUES (1)")
    for host in cluster.standbys:
        seen = f"SELECT count(*) FROM pg_class WHERE relname = '{table}' AND relkind = 'r'"
        until(f"the table on {host.name}", lambda host=host, seen=seen: host.value(seen))
        until(f"the row on {host.name}", lambda host=host: host.value(f"SELECT count(*) FROM {table} WHERE id = 1"))


def test_standbys_read_and_do_not_write(cluster: Deployed) -> None:
    """C7: a client reads from a standby; a write is refused as such (25006)."""
    for host in cluster.standbys:
        with cluster.connect(host, "app") as client:
            assert client.execute("SELECT pg_is_in_recovery() AS r").fetchone() == {"r": True}
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                client.execute("CREATE TABLE test_refused ()")


def electable(cluster: Deployed) -> list[str]:
    """Names of those that may become primary: next to the primary, in its location, with a priority."""
    here = cluster.primary.vars.get("location", "default")
    return [
        host.name
        for host in cluster.data_nodes
        if host.vars.get("priority", 100) > 0
        and host.vars.get("location", "default") == here
        and cluster.upstream(host) in ("", cluster.primary.name)
    ]


def test_synchronous_standbys(cluster: Deployed) -> None:
    """C85: the same names on every node, and the primary waits for exactly the electable ones."""
    strict = cluster.wanted("durability", "strict") == "strict"
    names = ", ".join(f'"{name}"' for name in electable(cluster))
    wanted = f"ANY {cluster.wanted('sync_standbys', 1)} ({names})" if strict else ""
    for host in cluster.data_nodes:
        assert host.show("synchronous_standby_names") == wanted
        assert host.show("synchronous_commit") == "on"
    waited = {name for name in electable(cluster) if strict and name != cluster.primary.name}
    states = {name: "quorum" if name in waited else "async" for name in cluster.children(cluster.primary)}

    def shown() -> bool:
        return {row["name"]: row["sync_state"] for row in cluster.primary.rows(SENDERS)} == states

    until(f"the standbys to be {states}", shown)


@contextmanager
def frozen(hosts: list[Host]) -> Iterator[None]:
    """WAL receivers hear nothing for a while, without an end of their connections."""
    pids = {host.name: host.value("SELECT pid FROM pg_stat_wal_receiver") for host in hosts}
    for host in hosts:
        host.run("kill -STOP %s", pids[host.name])
    try:
        yield
    finally:
        for host in hosts:
            host.run("kill -CONT %s", pids[host.name])


def test_a_commit_waits_for_a_standby(cluster: Deployed, table: str) -> None:
    """C85: with one synchronous standby silent writes go on, with all silent a commit waits until one is back.

    Under async durability it does not wait for anybody.
    """
    strict = cluster.wanted("durability", "strict") == "strict"
    followers = [cluster.hosts[name] for name in electable(cluster) if name != cluster.primary.name]
    insert, waits = (
        f"INSERT INTO {table} VALUES ({{}})",
        "SELECT wait_event FROM pg_stat_activity WHERE query LIKE '{}'",
    )
    if not strict:
        with frozen(followers):
            cluster.primary.sql(insert.format(2))
        return
    with frozen(followers[1:]):
        cluster.primary.sql(insert.format(2))
    writer = threading.Thread(target=cluster.primary.sql, args=[insert.format(3)])
    with frozen(followers):
        writer.start()
        query = waits.format(insert.format(3))
        until("a commit that waits", lambda: {"wait_event": "SyncRep"} in cluster.primary.rows(query), 5)
        assert cluster.primary.value(f"SELECT count(*) FROM {table} WHERE id = 3") == 0
    writer.join(15)
    assert not writer.is_alive()
    assert cluster.primary.value(f"SELECT count(*) FROM {table} WHERE id = 3") == 1
    until("streams", lambda: len(cluster.primary.rows(SENDERS)) == len(cluster.children(cluster.primary)))
