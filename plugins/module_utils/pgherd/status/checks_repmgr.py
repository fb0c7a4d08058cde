# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What can be wrong by what repmgr's metadata and repmgrd say, beside what PostgreSQL says."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Cluster, Node
from ..observe.topology import Topology
from ..observe.views import NodeView, Registered, RepmgrView
from ..ports.services import REPMGRD
from .problem import SITE, UNKNOWN, WARNING, Cure, Problem, let_read, repmgr, restart


def daemons(topology: Topology) -> Iterator[Problem]:
    """Whether every node's repmgrd would act."""
    known = topology.metadata()
    for node in topology.nodes:
        if not node.postgres:
            continue
        if not node.repmgr:
            text = f"repmgr's metadata on {node.name} cannot be read: {node.repmgr_why}"
            cure = let_read(topology, node.name, node.repmgr_why)
            yield Problem("metadata-unreadable", UNKNOWN, node.name, text, cure)
        elif known and known.of(node.name) and not node.repmgr.of(node.name) and node.postgres.in_recovery:
            # It has not replayed its own record yet, without which repmgrd does not start.
            continue
        elif not node.repmgr.running:
            text = f"repmgrd does not run on {node.name}"
            yield Problem("repmgrd-down", WARNING, node.name, text, restart(REPMGRD, node.name))
        elif node.repmgr.paused:
            text = f"repmgrd is paused on {node.name}: it would not act on a failure"
            yield Problem("repmgrd-paused", WARNING, node.name, text, repmgr(topology, node.name, "service unpause"))


def metadata(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Where the metadata on the live primary and the nodes disagree."""
    rows = topology.metadata()
    if not rows:
        return
    for node in cluster.nodes:
        row, view = rows.of(node.name), topology.node(node.name)
        if not row:
            text = f"{node.name} is not registered with repmgr, so it takes no part in a failover"
            yield Problem("not-registered", WARNING, node.name, text, SITE)
        elif view and view.postgres and not _rogue(topology, view):
            yield from _row(cluster, topology, node, view, row)
    yield from _strangers(cluster, topology, rows)


def _rogue(topology: Topology, view: NodeView) -> bool:
    """Whether it is a second primary: what repmgr should know of it shows only once it has been stopped."""
    return view.kind == "postgres" and view.writable and view is not topology.live_primary()


def _row(cluster: Cluster, topology: Topology, node: Node, view: NodeView, row: Registered) -> Iterator[Problem]:
    live = topology.live_primary()
    role = "witness" if node.kind == "witness" else "primary" if live and view.name == live.name else "standby"
    cure = _register(cluster, topology, node, role, row)
    if row.id != node.id:
        text = f"repmgr knows {node.name} by ID {row.id}, and the cluster by {node.id}, which no playbook changes"
        # repmgr refuses a second ID for a name. When that row is gone, it is not registered, which is another problem.
        gone = _unregister(topology, live, row) if live else SITE
        yield Problem("metadata-role", WARNING, node.name, text, gone)
    elif row.type != role:
        text = f"repmgr's metadata call {node.name} a {row.type}, PostgreSQL there is a {role}"
        yield Problem("metadata-role", WARNING, node.name, text, cure)
    elif not row.active:
        text = f"{node.name} runs, but repmgr's metadata call it inactive: it has no vote"
        yield Problem("metadata-inactive", WARNING, node.name, text, cure)


def _register(cluster: Cluster, topology: Topology, node: Node, role: str, row: Registered) -> Cure:
    """Have *node*'s row say that it is a *role* below whom it streams from."""
    live = topology.live_primary()
    if role == "standby":
        # repmgr would put the primary there.
        above = topology.node(topology.upstream(node.name))
        upstream = above.id if above else row.upstream_id or (live.id if live else 0)
        return repmgr(topology, node.name, f"standby register --force --upstream-node-id={upstream}")
    if role == "witness" and live:
        if row.type != role:
            # It registers no witness over a row of another kind; without one, the playbook does.
            return _unregister(topology, live, row)
        return repmgr(topology, node.name, f"witness register --force -h {cluster.node(live.name).address}")
    return repmgr(topology, node.name, f"{role} register --force")


def _unregister(topology: Topology, live: NodeView, row: Registered) -> Cure:
    # A primary's row goes by force alone where it is called active.
    force = " --force" if row.type == "primary" else ""
    return repmgr(topology, live.name, f"{row.type} unregister{force} --node-id={row.id}")


def _strangers(cluster: Cluster, topology: Topology, rows: RepmgrView) -> Iterator[Problem]:
    known, live = {node.name for node in cluster.nodes}, topology.live_primary()
    for row in rows.nodes:
        if row.name not in known and live:
            text = f"repmgr knows a node {row.name} (ID {row.id}) that the inventory does not"
            yield Problem("metadata-stranger", WARNING, row.name, text, _unregister(topology, live, row))
