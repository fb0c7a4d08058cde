# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The state in which a cluster has to end, whatever was done to it: ``wrong`` says what is not so, ``gate`` waits.

Servers, pgpools, units and Barman are asked themselves; ``pgherd status`` comes last and has to agree.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from faults.cluster import Cluster, LabError

KEPT = 64 * 1024 * 1024  # bytes of WAL that a slot which nobody uses may hold back
_NODE = """\
SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS read_only,
  current_setting('wal_retrieve_retry_interval') AS retry,
  (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming') AS timeline,
  (SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming') AS upstream"""
_REPMGRD = """\
SELECT repmgr.repmgrd_is_running() AS running, repmgr.repmgrd_is_paused() AS paused,
  pg_is_in_recovery() AS standby, coalesce(repmgr.get_upstream_last_seen(), -1) AS seen"""
SEEN = 5  # seconds since a standby's repmgrd has reached its upstream; it tries every second or two
_NODES = """\
SELECT n.node_name AS name, n.type, n.active, u.node_name AS upstream
FROM repmgr.nodes n LEFT JOIN repmgr.nodes u ON u.node_id = n.upstream_node_id"""
_SLOTS = """\
SELECT slot_name, active, wal_status, coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
  THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_insert_lsn() END, restart_lsn), 0)::bigint AS kept
FROM pg_replication_slots WHERE NOT temporary"""
RETRY_DEFAULTS = ("200ms", "5s", "1s", "500ms", "2s")  # what a configuration may say; an election leaves a day there


def wrong(cluster: Cluster) -> list[str]:
    """Everything that is not as it should be, in words. What costs more is asked only when the rest is well."""
    for look in (_servers, _repmgrds, _repmgr, _slots, _pgpools, _agents, _barman, _status):
        try:
            found = list(look(cluster))
        except (psycopg.Error, LabError, LookupError, OSError) as error:
            found = [f"{look.__name__.strip('_')}: {type(error).__name__}: {str(error).strip()[:300]}"]
        if found:
            return found
    return []


def gate(cluster: Cluster, seconds: float = 180.0) -> float:
    """Wait until nothing is wrong; how long that took. AssertionError with what still is. What an agent has of Barman's checks
    may be a minute old."""
    began = time.monotonic()
    while True:
        found = wrong(cluster)
        took = time.monotonic() - began
        if not found:
            return took
        assert took < seconds, f"after {seconds:.0f} s still: " + "; ".join(found)
        time.sleep(0.5)  # between two looks


def _servers(cluster: Cluster) -> Iterator[str]:
    looked = cluster.each(lambda node: cluster.rows(node, _NODE)[0])
    seen: dict[str, dict[str, Any]] = {}
    for node, found in looked.items():
        if isinstance(found, Exception):
            yield f"{node}'s server does not answer: {str(found).strip()[:200]}"
        else:
            seen[node] = found
    primaries = [node for node, found in seen.items() if not found["standby"]]
    if len(primaries) != 1:
        yield f"primaries: {', '.join(primaries) or 'none'}"
        return
    primary = primaries[0]
    timeline = cluster.timeline(primary)
    if seen[primary]["read_only"]:
        yield f"the primary {primary} is fenced"
    for node, found in seen.items():
        if found["retry"] not in RETRY_DEFAULTS:
            yield f"{node}: wal_retrieve_retry_interval is {found['retry']}"
        if node != primary:
            yield from _standby(cluster, node, seen, primary, timeline)


def _standby(
    cluster: Cluster, node: str, seen: dict[str, dict[str, Any]], primary: str, timeline: int
) -> Iterator[str]:
    found = seen[node]
    if found["upstream"] is None:
        yield f"{node} does not stream"
    elif found["timeline"] != timeline:
        yield f"{node} streams timeline {found['timeline']}, the primary {primary} writes {timeline}"
    elif _end_of_chain(cluster, node, seen) != primary:
        yield f"{node}'s chain of streams ends at {_end_of_chain(cluster, node, seen)}, not {primary}"
    if found["read_only"]:
        yield f"{node} still has default_transaction_read_only"


def _end_of_chain(cluster: Cluster, node: str, seen: dict[str, dict[str, Any]]) -> str:
    for _step in seen:
        upstream = seen.get(node, {}).get("upstream")
        if not upstream:
            return node
        node = upstream if upstream in seen else cluster.name_of(upstream)
    return "a circle"


def _repmgrds(cluster: Cluster) -> Iterator[str]:
    for node in [*cluster.nodes, *cluster.group("witness")]:
        (state,) = cluster.rows(node, _REPMGRD, "repmgr")
        if not state["running"]:
            yield f"repmgrd does not run on {node}: it is {cluster.place.service_state(node, 'repmgrd')}"
        elif state["paused"]:
            yield f"repmgrd on {node} is paused"
        elif state["standby"] and not 0 <= state["seen"] <= SEEN:
            # Until it watches again, the next election takes this node for one that does not see the primary.
            yield f"repmgrd on {node} has not reached its upstream for {state['seen']} s"


def _repmgr(cluster: Cluster) -> Iterator[str]:
    primary = cluster.primary()
    records = {row["name"]: row for row in cluster.rows(primary, _NODES, "repmgr")}
    for node in cluster.nodes:
        record = records.get(node)
        if record is None:
            yield f"{node} is not registered"
            continue
        wanted = "primary" if node == primary else "standby"
        if not record["active"]:
            yield f"repmgr has {node} as inactive"
        if record["type"] != wanted:
            yield f"repmgr has {node} as {record['type']}"
        if node != primary and not isinstance(streams := _upstream(cluster, node), str):
            yield f"{node}: {streams}"
        elif node != primary and record["upstream"] != streams:
            yield f"repmgr has {node} below {record['upstream']}, it streams from {streams}"


def _upstream(cluster: Cluster, node: str) -> str | None:
    host = cluster.rows(node, _NODE)[0]["upstream"]
    return None if host is None else host if host in cluster.nodes else cluster.name_of(host)


def _slots(cluster: Cluster) -> Iterator[str]:
    for node in cluster.nodes:
        slots = {row["slot_name"]: row for row in cluster.rows(node, _SLOTS)}
        for name, slot in slots.items():
            if slot["wal_status"] in ("lost", "unreserved"):
                yield f"{node}: slot {name} is {slot['wal_status']}"
            if not slot["active"] and slot["kept"] > KEPT:
                yield f"{node}: slot {name}, which nobody uses, holds back {slot['kept'] / 2**20:.0f} MiB"
        query = (
            "SELECT r.application_name AS who, s.slot_name FROM pg_stat_replication r LEFT JOIN pg_replication_slots s"
        )
        for row in cluster.rows(node, f"{query} ON s.active_pid = r.pid WHERE r.state = 'streaming'"):
            if row["slot_name"] is None and row["who"] in cluster.nodes:
                yield f"{row['who']} streams from {node} without a slot"


def _pgpools(cluster: Cluster) -> Iterator[str]:
    primary = cluster.primary()
    for pool in cluster.pools:
        backends = pool_nodes(cluster, pool)
        for node in cluster.nodes:
            row = backends.get(node)
            if row is None:
                yield f"{pool} has no backend {node}"
            elif row["status"] != "up":
                yield f"{pool} has {node} {row['status']}"
        told = [node for node, row in backends.items() if row["role"] == "primary"]
        if told != [primary]:
            yield f"{pool} takes {', '.join(told) or 'nobody'} for the primary, which is {primary}"


def pool_nodes(cluster: Cluster, pool: str) -> dict[str, dict[str, Any]]:
    """A pgpool's own table by host, as a client sees it. Raises psycopg.Error."""
    line = cluster.dsn(pool)
    with psycopg.connect(
        line, connect_timeout=3, autocommit=True, prepare_threshold=None, row_factory=dict_row
    ) as session:
        rows = [row for row in session.execute("SHOW POOL_NODES") if row["hostname"]]
        return {cluster.name_of(row["hostname"]): row for row in rows}


def _agents(cluster: Cluster) -> Iterator[str]:
    for host in _with_agent(cluster):
        if (state := cluster.place.service_state(host, "agent")) != "running":
            yield f"the agent on {host} is {state}"


def _with_agent(cluster: Cluster) -> Iterable[str]:
    def has(host: str) -> bool:
        return cluster.place.service_wanted(host, "agent")

    with ThreadPoolExecutor(4) as pool:
        return [host for host, there in zip(cluster.everyone, pool.map(has, cluster.everyone), strict=True) if there]


def _barman(cluster: Cluster) -> Iterator[str]:
    if not cluster.barman:
        return
    name = cluster.described["all"]["vars"]["cluster_name"]
    said = cluster.place.run_as(cluster.barman, "barman", "barman", "check", name, check=False)
    yield from (f"barman: {line.strip()}" for line in said.splitlines() if "FAILED" in line)
    if "OK" not in said:
        yield f"barman check {name} said nothing: {said[-200:]}"


def status(cluster: Cluster, host: str) -> dict[str, Any]:
    """The document of ``pgherd status --json`` on a host."""
    said = cluster.run(host, "pgherd", "status", "--json", check=False)
    if not said.strip():
        raise LabError(f"{host}: pgherd status said nothing")
    document = json.loads(said)
    assert isinstance(document, dict)
    return document


def _status(cluster: Cluster) -> Iterator[str]:
    document = status(cluster, cluster.primary())
    if document["exit_code"] != 0:
        yield from (f"pgherd status: {problem}" for problem in map(_said, document["problems"]))


def _said(problem: dict[str, Any]) -> str:
    return str(problem.get("text") or problem.get("message") or problem)


def main() -> int:
    """``python -m faults.endstate CLUSTER INVENTORY``: what is wrong, one sentence a line; exit code 1 if anything is."""
    found = wrong(Cluster(sys.argv[1], Path(sys.argv[2])))
    print("\n".join(found) or "nothing is wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
