# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A healthy five-node cluster as observed at NOW, and ways to break it: shared by the tests of what status says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.observe.topology import Topology
from pgherd.observe.views import (
    BackendView,
    BarmanSeen,
    NodeView,
    PgpoolView,
    PostgresView,
    Registered,
    RepmgrView,
    Sender,
    Slot,
)
from pgherd.programs.barman_view import Backup, BarmanView, Check

NOW = 1_800_000_000.0
UPSTREAMS = {"pg1": "", "pg2": "pg1", "pg3": "pg2", "pg4": "pg1", "pg5": "pg4"}

CLUSTER = Cluster(
    "demo",
    (
        *(Node(name, int(name[-1]), "postgres", name, upstream, version=17) for name, upstream in UPSTREAMS.items()),
        Node("w1", 6, "witness", "w1", "pg1", version=17),
    ),
    (Pgpool("pool1", "pool1"), Pgpool("pool2", "pool2")),
    (Barman("backup1", "backup1", version=17),),
)
REGISTERED = tuple(
    Registered(node.id, node.name, node.kind if node.kind == "witness" else "standby", True, int(node.upstream[-1]))
    if node.upstream
    else Registered(node.id, node.name, "primary", True)
    for node in CLUSTER.nodes
)
REPMGR = RepmgrView(REGISTERED, running=True, paused=False, upstream_seen_age=1.0)
SERVER = PostgresView(True, 1, "7000000000000000001", version=170006, started_at=NOW - 7200)


def _postgres(node: Node) -> PostgresView:
    if node.kind == "witness":
        return replace(SERVER, in_recovery=False, system_id="7000000000000000009", write_lsn="0/1500000")
    below = [name for name, upstream in UPSTREAMS.items() if upstream == node.name]
    senders = tuple(
        Sender(name, "streaming", "async" if node.upstream else "quorum", f"10.0.0.{name[-1]}", 0, 0.001, 1.0)
        for name in below
    )
    slots = tuple(Slot(f"repmgr_slot_{name[-1]}", "physical", True, "reserved", 0) for name in below)
    if node.upstream:
        return replace(
            SERVER,
            receive_lsn="0/5000060",
            replay_lsn="0/5000060",
            replay_age=3600.0,
            upstream=node.upstream,
            receiver="streaming",
            receiver_slot=node.slot,
            senders=senders,
            slots=slots,
            synchronous_standby_names=CLUSTER.synchronous_standby_names,
        )
    slots += (Slot("barman", "physical", True, "reserved", 0),)
    return replace(
        SERVER,
        in_recovery=False,
        write_lsn="0/5000060",
        senders=senders,
        slots=slots,
        synchronous_standby_names=CLUSTER.synchronous_standby_names,
    )


def pool(name: str) -> PgpoolView:
    """A pgpool that sees all as it is."""
    backends = tuple(
        BackendView(node.id - 1, node.name, "up", "standby" if node.upstream else "primary", "up", "", NOW - 5000)
        for node in CLUSTER.data_nodes
    )
    return PgpoolView(name, NOW, backends)


BACKUP = Backup("20270115T044800", "DONE", "streaming", NOW - 11550, NOW - 11520, 31 << 20)
BARMAN = BarmanView(
    "backup1",
    "demo",
    NOW - 20,
    "3.13.3",
    (Check("postgresql", True), Check("minimum_redundancy_requirements", True, "have 1 backups")),
    NOW - 20,
    (BACKUP,),
    True,
    "000000010000000000000005",
    NOW - 2,
    "000000010000000000000004",
    NOW - 120,
)


def healthy() -> Topology:
    """All is well."""
    nodes = tuple(
        NodeView(node.name, node.kind, node.id, NOW, _postgres(node), "", REPMGR, "", (f"10.0.0.{node.id}",))
        for node in CLUSTER.nodes
    )
    return Topology("demo", NOW, nodes, (pool("pool1"), pool("pool2")), (BarmanSeen("backup1", NOW, BARMAN),))


def with_node(topology: Topology, name: str, **changes: Any) -> Topology:
    """*topology* with another view of one node."""
    nodes = tuple(replace(node, **changes) if node.name == name else node for node in topology.nodes)
    return replace(topology, nodes=nodes)


def with_postgres(topology: Topology, name: str, **changes: Any) -> Topology:
    """*topology* in which the PostgreSQL of one node says something else."""
    node = topology.node(name)
    assert node
    assert node.postgres
    return with_node(topology, name, postgres=replace(node.postgres, **changes))


def with_repmgr(topology: Topology, name: str, **changes: Any) -> Topology:
    """*topology* in which the metadata of one node say something else."""
    node = topology.node(name)
    assert node
    assert node.repmgr
    return with_node(topology, name, repmgr=replace(node.repmgr, **changes))


def with_backend(topology: Topology, name: str, node: str, **changes: Any) -> Topology:
    """*topology* in which one pgpool sees one node otherwise."""

    def changed(view: PgpoolView) -> PgpoolView:
        backends = tuple(replace(item, **changes) if item.node == node else item for item in view.backends or ())
        return replace(view, backends=backends) if view.name == name else view

    return replace(topology, pgpools=tuple(map(changed, topology.pgpools)))


def with_barman(topology: Topology, **changes: Any) -> Topology:
    """*topology* in which barman says something else."""
    return replace(topology, barmans=(BarmanSeen("backup1", NOW, replace(BARMAN, **changes)),))


def stopped(topology: Topology, name: str, why: str = "Connection refused") -> Topology:
    """*topology* after PostgreSQL on one node was stopped: its upstream lost a sender, pgpool's probe fails."""
    found = with_node(topology, name, postgres=None, why=why, repmgr=None, repmgr_why="PostgreSQL did not answer")
    for node, postgres in list(found.seen()):
        senders = tuple(row for row in postgres.senders if row.application_name != name)
        slots = tuple(
            replace(slot, active=False) if slot.name == f"repmgr_slot_{name[-1]}" else slot for slot in postgres.slots
        )
        changes: dict[str, Any] = {"senders": senders, "slots": slots}
        if postgres.upstream == name:
            changes.update(upstream="", receiver="", receiver_slot="")
        found = with_postgres(found, node.name, **changes)
    for view in found.pgpools:
        found = with_backend(found, view.name, name, status="down", pg_status="down", since=NOW - 60)
    return found
