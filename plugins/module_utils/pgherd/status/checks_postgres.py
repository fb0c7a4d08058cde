# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What can be wrong by what PostgreSQL says: who is primary, who streams, from whom, how far behind, how safe."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Cluster, Node
from ..observe.topology import Topology, parse_sync_names
from ..observe.views import NodeView, PostgresView, Slot
from .problem import (
    CRITICAL,
    SITE,
    UNKNOWN,
    WARNING,
    Cure,
    Limits,
    Problem,
    blind,
    bring_back,
    down_since,
    duration,
    names,
    psql,
    repmgr,
    size,
    systemctl,
    wipe,
)


def reachability(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Nodes that do not answer. One that is being cloned is not broken."""
    for node in cluster.nodes:
        view = topology.node(node.name)
        if not view or (view.postgres and not view.postgres.details_why) or topology.copying(node.name):
            continue
        if view.postgres:
            why = view.postgres.details_why
            yield Problem("details-unreadable", UNKNOWN, node.name, f"{node.name} tells only half: {why}", SITE)
        elif "starting up" in view.why or "not yet accepting" in view.why:
            cure = Cure("journalctl -u 'postgresql@*' -f", node.name)
            yield Problem("node-starting", WARNING, node.name, f"{node.name} is starting: {view.why}", cure)
        else:
            text = f"{node.name} does not answer: {view.why}"
            cure = bring_back(topology, node.name)
            severity = UNKNOWN if blind(topology) else WARNING
            yield Problem("node-down", severity, node.name, text, cure, down_since(topology, node))


def primaries(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """No primary, or more than one, or a stale one."""
    live, found = topology.live_primary(), topology.primaries()
    if not found:
        yield _no_primary(cluster, topology)
    if not live and len(found) > 1:
        text = (
            f"{_listed(found)} accept writes, and nothing tells which is the real one: stop the one whose writes may go"
        )
        yield Problem("two-primaries", CRITICAL, "", text, systemctl(topology, "stop", found[-1].name))
        return
    for node in found:
        if live and node.name != live.name:
            text = f"{_listed(found)} accept writes; the live primary is {live.name}"
            yield Problem("two-primaries", CRITICAL, node.name, text, systemctl(topology, "stop", node.name))
        elif not live and node.postgres and node.postgres.system_id != topology.system_id:
            text = f"{_listed((node,))} accepts writes, but most nodes hold another cluster than it"
            if not topology.system_id:
                text = f"{_listed((node,))} accepts writes, but as many nodes hold another cluster as hold its"
            yield Problem("system-id", CRITICAL, node.name, text, systemctl(topology, "stop", node.name))
        elif not live:
            newer = [other.name for other, postgres in topology.seen() if postgres.timeline == topology.newest_timeline]
            text = f"{_listed((node,))} accepts writes, but {names(newer)} is on timeline {topology.newest_timeline}"
            yield Problem("stale-primary", CRITICAL, node.name, text, systemctl(topology, "stop", node.name))
    if len(found) == 1 and found[0].postgres and found[0].postgres.read_only:
        yield _fenced(cluster, topology, found[0].name)


def _fenced(cluster: Cluster, topology: Topology, name: str) -> Problem:
    """A primary that is read-only: its agent sees too few of the others, or it hands over at this moment."""
    missing = [other for other in cluster.electable_names if other not in (name, *topology.streaming_standbys())]
    text = f"{name} is fenced: it takes no writes until enough others stream from it"
    if missing:
        return Problem("fenced", CRITICAL, name, f"{text}; missing: {names(missing)}", bring_back(topology, missing[0]))
    return Problem("fenced", CRITICAL, name, text, Cure("systemctl restart pgherd-agent", name))


def _listed(nodes: tuple[NodeView, ...]) -> str:
    return names([f"{node.name} (TL {node.postgres.timeline})" for node in nodes if node.postgres])


def _no_primary(cluster: Cluster, topology: Topology) -> Problem:
    last = next(
        (row.name for view in topology.nodes if view.repmgr for row in view.repmgr.nodes if row.type == "primary"),
        cluster.first_primary.name,
    )
    if blind(topology):
        text = "no data node can be asked, so nothing is known of the cluster"
        return Problem("nothing-reachable", UNKNOWN, "", text, Cure("pgherd status", cluster.first_primary.name))
    text = f"no node accepts writes; the last known primary is {last}"
    return Problem("no-primary", CRITICAL, "", text, systemctl(topology, "start", last))


def standbys(cluster: Cluster, topology: Topology, limits: Limits) -> Iterator[Problem]:
    """Each standby: is it the same cluster, does it stream, from the right node, on the right timeline, in time?"""
    live = topology.live_primary()
    if not live or not live.postgres:
        return
    for node in cluster.data_nodes:
        view = topology.node(node.name)
        if not view or not view.postgres or view.name == live.name:
            continue
        if view.postgres.system_id != live.postgres.system_id:
            text = f"{node.name} holds another cluster (system identifier {view.postgres.system_id})"
            yield Problem("system-id", CRITICAL, node.name, text, wipe(node.name))
        elif view.postgres.in_recovery:
            yield from _standby(topology, node, view.postgres, live, limits)
    # The primary's own word counts too: a standby that is slow to answer us may well hold the second copy.
    names_ = {node.name for node in cluster.data_nodes}
    sent = [row for row in live.postgres.senders if row.state == "streaming" and row.application_name in names_]
    if len(cluster.data_nodes) > 1 and not topology.streaming_standbys() and not sent:
        text = f"no standby streams from {live.name}: its writes are on one disk"
        first, *_others = (node.name for node in cluster.data_nodes if node.name != live.name)
        yield Problem("no-standby", CRITICAL, live.name, text, bring_back(topology, first))


def _standby(
    topology: Topology, node: Node, postgres: PostgresView, live: NodeView, limits: Limits
) -> Iterator[Problem]:
    name, since = node.name, down_since(topology, node)
    metadata = topology.metadata()
    wanted, lag = metadata.upstream_of(name) if metadata else "", topology.lag(name)
    behind = f", {size(lag.size)} behind" if lag.size else ""
    target = repmgr(topology, name, f"standby follow --upstream-node-id={_id(topology, wanted) or live.id}")
    if live.postgres and postgres.timeline < live.postgres.timeline:
        text = f"{name} is on timeline {postgres.timeline}, the primary {live.name} on {live.postgres.timeline}"
        yield Problem("timeline-behind", WARNING, name, text, target, since)
    elif not topology.upstream(name):
        upstream = topology.node(wanted)
        dead = upstream is not None and upstream.postgres is None
        why = "is being cloned" if topology.copying(wanted) else "does not answer"
        text = f"{name} does not stream{behind}" + (f": its upstream {wanted} {why}" if dead else "")
        cure = bring_back(topology, wanted if dead else name)
        yield Problem("not-streaming", WARNING, name, text, cure, since)
    elif name not in topology.streaming_standbys():
        text = f"{name} streams from {topology.upstream(name)}, which does not stream from the primary{behind}"
        yield Problem("not-streaming", WARNING, name, text, target, since)
    elif not postgres.replay_paused and (
        (lag.size or 0) > limits.lag_bytes or (lag.seconds or 0.0) > limits.lag_seconds
    ):
        text = f"{name} is {size(lag.size or 0)} and {duration(lag.seconds or 0)} behind"
        cure = psql(name, "SELECT pid, wait_event, query FROM pg_stat_activity")
        yield Problem("lag", WARNING, name, text, cure)
    if wanted and topology.upstream(name) not in ("", wanted):
        text = f"{name} streams from {topology.upstream(name)}, repmgr's metadata say {wanted}"
        yield Problem("wrong-upstream", WARNING, name, text, target)
    if postgres.replay_paused:
        text = f"{name} receives but does not replay: replay is paused{behind}"
        yield Problem("replay-paused", WARNING, name, text, psql(name, "SELECT pg_wal_replay_resume()"))


def _id(topology: Topology, name: str) -> int:
    node = topology.node(name)
    return node.id if node else 0


def durability(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Whether commits are confirmed by as many standbys as they should, and whether one may be lost."""
    live = topology.live_primary()
    if not live or not live.postgres or live.postgres.details_why:
        return
    needed, allowed = topology.sync_needed()
    others = [name for name in allowed if name != live.name]
    ready = [name for name in others if name in topology.sync_standbys()]
    missing = [name for name in others if name not in ready]
    cure = bring_back(topology, missing[0]) if missing else SITE
    seals = cluster.seals_needed if needed and live.name in cluster.electable_names else 0
    count = "" if seals == len(others) else f"{seals} of "
    failover = f"; a failover needs {count}{names(others)}" if len(ready) < seals else ""
    if len(ready) < needed:
        text = f"writes wait: {len(ready)} of {needed} synchronous standbys stream; missing: {names(missing)}{failover}"
        yield Problem("sync-missing", CRITICAL, live.name, text, cure)
    elif needed and len(ready) == needed < len(others):
        text = f"writes wait if {names(ready)} fails too: {names(missing)} cannot confirm commits{failover}"
        yield Problem("sync-no-spare", WARNING, live.name, text, cure)
    wanted = parse_sync_names(cluster.synchronous_standby_names)
    if (needed, set(allowed)) != (wanted[0], set(wanted[1])):
        found, want = live.postgres.synchronous_standby_names, cluster.synchronous_standby_names
        text = f"synchronous_standby_names on {live.name} is {found or 'empty'}, not {want or 'empty'}"
        yield Problem("sync-names", WARNING, live.name, text, SITE)
    if cluster.counted is not None:
        text = "the change of who is electable is not finished: all electable nodes must be reached, and run"
        yield Problem("sync-unfinished", WARNING, live.name, text, SITE)


def upkeep(cluster: Cluster, topology: Topology, limits: Limits) -> Iterator[Problem]:
    """Slots that hold or lose WAL, settings that wait for a restart, a failing archive_command."""
    live = topology.live_primary()
    for node in topology.nodes:
        postgres = node.postgres
        if not postgres:
            continue
        if node.kind == "postgres":
            for slot in postgres.slots:
                yield from _slot(cluster, topology, node, slot, limits)
        if postgres.pending_restart:
            text = f"{node.name} must restart for {names(postgres.pending_restart)}"
            allowed = Cure(f"{SITE.command} -e cluster_restart_primary=true")
            yield Problem("pending-restart", WARNING, node.name, text, allowed if node is live else SITE)
        if postgres.archive_failing_since is not None:
            cure = Cure("journalctl -u 'postgresql@*' -n 50", node.name)
            text = f"archive_command fails on {node.name}"
            yield Problem("archive-failing", WARNING, node.name, text, cure, postgres.archive_failing_since)


def _slot(cluster: Cluster, topology: Topology, node: NodeView, slot: Slot, limits: Limits) -> Iterator[Problem]:
    owner = next((other.name for other in cluster.nodes if other.slot == slot.name), "")
    where = f"slot {slot.name} on {node.name}"
    drop = psql(node.name, f"SELECT pg_drop_replication_slot('{slot.name}')")
    start = systemctl(topology, "start", owner) if owner else drop
    if slot.wal_status == "lost":
        text = f"{where} has lost WAL" + (f" that {owner} needs" if owner else "")
        yield Problem("slot-lost", CRITICAL, node.name, text, wipe(owner) if owner else drop, slot.inactive_since)
    elif slot.wal_status == "unreserved":
        text = f"{where} is about to lose WAL ({size(slot.retained_bytes or 0)} behind)"
        yield Problem("slot-losing", WARNING, node.name, text, start, slot.inactive_since)
    elif not slot.active and (slot.retained_bytes or 0) > limits.slot_bytes:
        text = f"{where} is inactive and keeps {size(slot.retained_bytes or 0)} of WAL" + (owner and f" for {owner}")
        yield Problem("slot-inactive", WARNING, node.name, text, start, slot.inactive_since)
