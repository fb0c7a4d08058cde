# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What can be wrong with who answers and who is primary, by what PostgreSQL says."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Cluster
from ..observe.topology import Topology
from ..observe.views import NodeView
from ..ports.services import AGENT
from .problem import (
    CRITICAL,
    REJECTED,
    SITE,
    STARTING,
    STOP,
    TABLESPACE,
    UNKNOWN,
    WARNING,
    Cure,
    Problem,
    blind,
    bring_back,
    down_since,
    in_its_words,
    let_read,
    names,
    restart,
    server,
    server_log,
)


def reachability(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Nodes that do not answer. One that is being cloned is not broken."""
    for node in cluster.nodes:
        view = topology.node(node.name)
        if not view or (view.postgres and not view.postgres.details_why) or topology.copying(node.name):
            continue
        if view.postgres:
            why = view.postgres.details_why
            yield Problem(
                "details-unreadable",
                UNKNOWN,
                node.name,
                f"{node.name}: details could not be read: {why}",
                let_read(topology, node.name, why),
            )
        elif STARTING.search(view.why):
            cure = server_log(topology, node.name, lines=0)
            yield Problem("node-starting", WARNING, node.name, f"{node.name} is starting: {view.why}", cure)
        else:
            text = f"{node.name} does not answer: {view.why}{in_its_words(view)}"
            if missing := TABLESPACE.search(view.words):
                text += f": name {missing.group(1)} in cluster_tablespaces, which makes it on every node"
            elif rejected := REJECTED.search(view.why):
                text += f": when the playbook ran, no host came from {rejected.group(1)}"
            severity, since = UNKNOWN if blind(topology) else WARNING, down_since(topology, node)
            yield Problem("node-down", severity, node.name, text, bring_back(topology, node.name), since)


def primaries(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """No primary, or more than one, or a stale one."""
    live, found, doubted = topology.live_primary(), topology.primaries(), topology.find_primary().doubted
    if not found:
        yield _no_primary(cluster, topology)
    if not live and doubted:
        yield _doubted(topology, found, doubted)
        return
    if not live and len(found) > 1:
        text = (
            f"{_listed(found)} accept writes, and nothing tells which is the real one: stop the one whose writes may go"
        )
        yield Problem("two-primaries", CRITICAL, "", text, server(topology, STOP, found[-1].name))
        return
    for node in found:
        if live and node.name != live.name:
            text = f"{_listed(found)} accept writes; the live primary is {live.name}"
            yield Problem("two-primaries", CRITICAL, node.name, text, server(topology, STOP, node.name))
        elif not live and node.postgres and node.postgres.system_id != topology.system_id:
            text = f"{_listed((node,))} accepts writes, but most nodes hold another cluster than it"
            if not topology.system_id:
                text = f"{_listed((node,))} accepts writes, but as many nodes hold another cluster as hold its"
            yield Problem("system-id", CRITICAL, node.name, text, server(topology, STOP, node.name))
        elif not live:
            newer = [other.name for other, postgres in topology.seen() if postgres.timeline == topology.newest_timeline]
            text = f"{_listed((node,))} accepts writes, but {names(newer)} is on timeline {topology.newest_timeline}"
            yield Problem("stale-primary", CRITICAL, node.name, text, server(topology, STOP, node.name))
    if len(found) == 1 and found[0].postgres and found[0].postgres.read_only:
        yield _fenced(cluster, topology, found[0].name)


def _doubted(topology: Topology, found: tuple[NodeView, ...], doubted: tuple[str, ...]) -> Problem:
    """Whoever stops one that acknowledges commits by the number that counts stops the primary. Agents go by the description's;
    the playbook writes to none of two primaries."""
    accept = "accepts" if len(found) == 1 else "accept"
    text = f"{_listed(found)} {accept} writes, and {names(doubted)} may be the primary: its setting and the cluster's description"
    text += " do not ask for the same confirmations of a commit"
    if len(found) == 1:
        return Problem("stale-primary", CRITICAL, doubted[0], text, SITE)
    counted = [name for name in doubted if topology.acknowledges_by_description(name)]
    # Whose agent has to see that another is the primary, and gives way.
    other = next((node.name for node in found if node.name not in counted), found[-1].name)
    return Problem("two-primaries", CRITICAL, "", text, restart(AGENT, other))


def _fenced(cluster: Cluster, topology: Topology, name: str) -> Problem:
    """A primary that is read-only: its agent sees too few of the others, or it hands over at this moment."""
    missing = [other for other in cluster.electable_names if other not in (name, *topology.streaming_standbys())]
    text = f"{name} is fenced: it takes no writes until enough others stream from it"
    if missing:
        return Problem("fenced", CRITICAL, name, f"{text}; missing: {names(missing)}", bring_back(topology, missing[0]))
    return Problem("fenced", CRITICAL, name, text, restart(AGENT, name))


def _listed(nodes: tuple[NodeView, ...]) -> str:
    return names([f"{node.name} (TL {node.postgres.timeline})" for node in nodes if node.postgres])


def _no_primary(cluster: Cluster, topology: Topology) -> Problem:
    last = topology.last_primary() or cluster.first_primary.name
    if blind(topology):
        text = "no data node can be asked, so nothing is known of the cluster"
        return Problem("nothing-reachable", UNKNOWN, "", text, Cure("pgherd status", cluster.first_primary.name))
    text = f"no node accepts writes; the last known primary is {last}"
    # Where it runs as a standby, agents elect: enough of the electable nodes have to be there, and an agent.
    there = [node.name for node, _postgres in topology.seen()]
    away = [name for name in (last, *cluster.electable_names) if name not in there]
    cure = bring_back(topology, away[0]) if away else restart(AGENT, last)
    return Problem("no-primary", CRITICAL, "", text, cure)
