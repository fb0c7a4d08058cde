# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Slots that keep WAL which nobody reads, or have lost some that somebody needs."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Cluster
from ..observe.topology import Topology
from ..observe.views import NodeView, Slot
from ..ports.services import AGENT, RECEIVER
from ..render.conf_barman import place
from .problem import CRITICAL, SITE, WARNING, Cure, Problem, Thresholds, bring_back, follow, psql, restart, size


def slots(cluster: Cluster, topology: Topology, limits: Thresholds) -> Iterator[Problem]:
    """Those of all data nodes that answer."""
    for node, postgres in topology.seen():
        for slot in postgres.slots:
            yield from _slot(cluster, topology, node, slot, limits)


def _slot(cluster: Cluster, topology: Topology, node: NodeView, slot: Slot, limits: Thresholds) -> Iterator[Problem]:
    owner = next((other.name for other in cluster.nodes if other.slot == slot.name), "")
    where = f"slot {slot.name} on {node.name}"
    drop = psql(node.name, f"SELECT pg_drop_replication_slot('{slot.name}')")
    if slot.wal_status == "lost":
        text, cure = _lost(cluster, topology, node, slot, owner)
        yield Problem(
            "slot-lost", CRITICAL, node.name, f"{where} has lost WAL{text}", cure or drop, slot.inactive_since
        )
        return
    start = _read(cluster, topology, node, slot, owner) or drop
    if slot.wal_status == "unreserved":
        text = f"{where} is about to lose WAL ({size(slot.retained_bytes or 0)} behind)"
        yield Problem("slot-losing", WARNING, node.name, text, start, slot.inactive_since)
    elif not slot.active and (slot.retained_bytes or 0) > limits.slot_bytes:
        text = f"{where} is inactive and keeps {size(slot.retained_bytes or 0)} of WAL" + (owner and f" for {owner}")
        yield Problem("slot-inactive", WARNING, node.name, text, start, slot.inactive_since)


def _lost(cluster: Cluster, topology: Topology, node: NodeView, slot: Slot, owner: str) -> tuple[str, Cure | None]:
    """Whom a slot that has lost WAL leaves behind, in words, and how he goes on; '' and None where nobody reads it."""
    live = topology.live_primary()
    if live is node and _barman_of(cluster, slot):
        # Dropped alone it is made anew, and the receiver asks for ever for what is gone.
        return " that Barman needs: what is written until the next backup cannot be restored", SITE
    if owner and not _reads(topology, owner):
        # Its agent sees whether it can go on, and clones it where it cannot; what only it has is kept.
        return f" that {owner} needs: it is cloned anew", bring_back(topology, owner)
    return "", None


def _barman_of(cluster: Cluster, slot: Slot) -> str:
    """The Barman host that receives WAL through *slot*; '' for none."""
    return next((host.name for host in cluster.barmans if place(cluster, host.name).slot == slot.name), "")


def _reads(topology: Topology, owner: str) -> bool:
    """Whether *owner* streams from somebody, or need not: a primary has its slot on standbys for the day when it follows."""
    live = topology.live_primary()
    return bool(topology.upstream(owner)) or (live is not None and live.name == owner)


def _read(cluster: Cluster, topology: Topology, node: NodeView, slot: Slot, owner: str) -> Cure | None:
    """How *slot* comes to be read again by whom it is for; None for a slot of nobody's."""
    barman = _barman_of(cluster, slot)
    live = topology.live_primary()
    if barman and live is node:
        return restart(RECEIVER, barman)
    if owner and not _reads(topology, owner):
        return bring_back(topology, owner)
    if owner and topology.upstream(owner) == node.name:
        return follow(topology, owner, node.id)
    # Its reader reads elsewhere, and meanwhile the agent moves it on, or drops it.
    return restart(AGENT, node.name) if owner or barman else None
