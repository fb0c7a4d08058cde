# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What can be wrong by what PostgreSQL says: who streams, from whom, how far behind, how safe."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Cluster, Node
from ..objects.identity import Incarnation, admitted, sender_names
from ..observe.topology import Topology
from ..observe.views import NodeView, PostgresView
from ..ports.services import AGENT
from ..programs.postgres import parse_sync_names, shortage
from ..quorum import seals_needed
from .problem import (
    CRITICAL,
    SITE,
    WARNING,
    Cure,
    Problem,
    Thresholds,
    bring_back,
    down_since,
    duration,
    follow,
    in_its_words,
    log,
    names,
    psql,
    reset,
    restart,
    server_log,
    size,
    wipe,
)

_SYNC_NAMES = "synchronous_standby_names"
WAITS_FOR = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"


def standbys(cluster: Cluster, topology: Topology, limits: Thresholds) -> Iterator[Problem]:
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
    names_ = {name for node in cluster.data_nodes for name in sender_names(node.name)}
    streaming = (row for row in live.postgres.senders if row.state == "streaming" and row.trusted)
    sent = [row for row in streaming if row.application_name in names_]
    if len(cluster.data_nodes) > 1 and not topology.streaming_standbys() and not sent:
        text = f"no standby streams from {live.name}: its writes are on one disk"
        # One that is late by design may have nothing to be mended.
        first, *_others = sorted(
            (node for node in cluster.data_nodes if node.name != live.name), key=lambda one: one.delay
        )
        view = topology.node(first.name)
        waits = first.delay and view and view.postgres
        cure = psql(first.name, WAITS_FOR) if waits else bring_back(topology, first.name)
        yield Problem("no-standby", CRITICAL, live.name, text, cure)


def identities(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Listed standbys that are not the data which counted under their names."""
    live = topology.live_primary()
    members = live.postgres.members if live and live.postgres else None
    for node in cluster.electable if cluster.durability == "strict" and live else ():
        view = topology.node(node.name)
        found = view.postgres if view else None
        if not found or not found.in_recovery or not live or found.system_id != topology.system_id:
            continue
        own, old = Incarnation(found.incarnation, found.replaces), (members or {}).get(node.name, "")
        if admitted(node.name, own, members):
            continue
        if own.replaces and old in (own.id, *own.replaces):
            text = (
                f"{node.name} was cloned anew and does not count yet: it has to have all that {live.name} has, and enough "
                "others have to know it; if those will not come back, name it in cluster_replaced"
            )
            yield Problem("not-admitted", WARNING, node.name, text, log(AGENT, node.name))
            continue
        text = (
            f"{node.name} does not count: other data were admitted under its name, and nothing here says that they are gone "
            "for good; if they are, say so"
        )
        cure = Cure(f"""{SITE.what} -e '{{"cluster_replaced": ["{node.name}"]}}'""")
        yield Problem("not-admitted", WARNING, node.name, text, cure)


def _standby(
    topology: Topology, node: Node, postgres: PostgresView, live: NodeView, limits: Thresholds
) -> Iterator[Problem]:
    name, since = node.name, down_since(topology, node)
    metadata = topology.metadata()
    wanted, lag = metadata.upstream_of(name) if metadata else "", topology.lag(name)
    behind = f", {size(lag.size)} behind" if lag.size else ""
    # Below one that does not stream itself nothing would be better than before.
    fit = topology.node(wanted) if wanted in topology.streaming_standbys() else None
    target = follow(topology, name, fit.id if fit else live.id)
    dead = (upstream := topology.node(wanted)) is not None and upstream.postgres is None
    if node.delay and not topology.upstream(name) and not dead:
        text = f"{name} does not stream{behind}: it first replays what it has, {node.delay} late (recovery_min_apply_delay)"
        cure = psql(name, WAITS_FOR)
        yield Problem("not-streaming", WARNING, name, text, cure, since)
    elif live.postgres and postgres.timeline < live.postgres.timeline:
        text = f"{name} is on timeline {postgres.timeline}, the primary {live.name} on {live.postgres.timeline}"
        # It has what it has checked against the primary's history, which repmgr's follow refuses where they have parted.
        yield Problem("timeline-behind", WARNING, name, text, restart(AGENT, name), since)
    elif not topology.upstream(name):
        why = "is being cloned" if topology.copying(wanted) else "does not answer"
        text = f"{name} does not stream{behind}" + (f": its upstream {wanted} {why}" if dead else "")
        text += in_its_words(topology.node(name))
        cure = bring_back(topology, wanted if dead else name)
        yield Problem("not-streaming", WARNING, name, text, cure, since)
    elif name not in topology.streaming_standbys():
        text = f"{name} streams from {topology.upstream(name)}, which does not stream from the primary{behind}"
        head = topology.head(name)
        cure = bring_back(topology, head.name) if head and head.postgres and head.postgres.in_recovery else target
        yield Problem("not-streaming", WARNING, name, text, cure, since)
    elif not (postgres.replay_paused or node.delay) and (
        (lag.size or 0) > limits.lag_bytes or (lag.seconds or 0.0) > limits.lag_seconds
    ):
        text = f"{name} is {size(lag.size or 0)} and {duration(lag.seconds or 0)} behind"
        cure = psql(name, "SELECT pid, wait_event, query FROM pg_stat_activity")
        yield Problem("lag", WARNING, name, text, cure)
    if wanted and topology.upstream(name) not in ("", wanted):
        text = f"{name} streams from {topology.upstream(name)}, repmgr's metadata say {wanted}"
        yield Problem("wrong-upstream", WARNING, name, text, target)
    if postgres.replay_paused:
        short = shortage(postgres.limits, live.postgres.limits if live.postgres else {})
        text, cure = (
            f"{name} receives but does not replay: replay is paused{behind}",
            psql(name, "SELECT pg_wal_replay_resume()"),
        )
        if short:
            text = f"{name} cannot replay, nor be promoted: {short}, as on its primary{behind}; resuming would shut it down"
            over = [limit for limit in postgres.altered if f"{limit} is " in short]
            cure = reset(name, over[0]) if over else SITE
        yield Problem("replay-paused", WARNING, name, text, cure)


def foreign(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Streams of another role than the standbys' under the name of one: PostgreSQL counts them, by the name alone."""
    nodes = [node.name for node in cluster.data_nodes]
    for node, postgres in topology.seen():
        for row in postgres.senders:
            if not row.trusted and row.calls_itself(nodes):
                text = (
                    f"{row.role} streams from {node.name} as {row.application_name}, from {row.client or 'its own host'}: "
                    "PostgreSQL takes it for that standby; change that role's password"
                )
                cure = psql(node.name, "SELECT pid, usename, application_name, client_addr FROM pg_stat_replication")
                yield Problem("foreign-sender", CRITICAL, node.name, text, cure)


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
    seals = seals_needed(cluster, live.name) if needed and live.name in cluster.electable_names else 0
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
        # The playbook writes files.
        cure = reset(live.name, _SYNC_NAMES) if _SYNC_NAMES in live.postgres.altered else SITE
        yield Problem("sync-names", WARNING, live.name, text, cure)
    if cluster.counted is not None or cluster.named is not None:
        text = "the change of who is electable is not finished: all electable nodes must be reached, and run"
        yield Problem("sync-unfinished", WARNING, live.name, text, SITE)


def upkeep(topology: Topology) -> Iterator[Problem]:
    """Settings that wait for a restart, a failing archive_command."""
    live = topology.live_primary()
    for node in topology.nodes:
        postgres = node.postgres
        if not postgres:
            continue
        if postgres.pending_restart:
            text = f"{node.name} must restart for {names(postgres.pending_restart)}"
            allowed = Cure(f"{SITE.what} -e cluster_restart_primary=true")
            yield Problem("pending-restart", WARNING, node.name, text, allowed if node is live else SITE)
        if postgres.archive_failing_since is not None:
            cure = server_log(topology, node.name)
            text = f"archive_command fails on {node.name}"
            yield Problem("archive-failing", WARNING, node.name, text, cure, postgres.archive_failing_since)
