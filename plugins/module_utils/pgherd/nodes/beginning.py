# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node does about a directory without data where no playbook decides that: among the nodes, and by the record that the
cluster was initialised. Pure.

A cluster is initialised once in its life. The record says that it was, or who is at it; only the first primary by description
begins it, and only when every other data node has said that it holds nothing. Whoever is silent then may hold the cluster. What
the record says afterwards no node can forget: it is outside of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ..data.datadir import CLUSTER, NONE, OTHER
from ..model import Cluster
from ..objects.identity import newcomer_name
from ..observe.node_state import NodeState
from ..ports.initialization import Initialization
from .directory_state import UNREADABLE, DirectoryState
from .first import strange
from .peer_evidence import NodeEvidence

# LEAVE: there are data, and others decide about them. BEGIN, END: the record is to say that this node begins, or what it has
# made. MAKE: initdb. START: what it has made. CLONE: a copy of the *target*'s data. WAIT: nothing for now.
LEAVE, BEGIN, MAKE, END, START, CLONE, WAIT = "leave", "begin", "make", "end", "start", "clone", "wait"
# The one that initdb makes; each promotion makes the next.
FIRST_TIMELINE = 1


@dataclass(frozen=True)
class Beginning:
    """What is to be *done*, and why. *target*: the primary that is cloned."""

    done: str
    why: str = ""
    target: str = ""


def decide(
    cluster: Cluster,
    me: str,
    mine: DirectoryState,
    record: Initialization | None,
    said: Mapping[str, Optional[NodeEvidence]],
) -> Beginning:
    """What *me* does, whose directory holds *mine* and whose server does not run. *record*: None where it cannot be read.
    *said*: what the other data nodes say, None for one that cannot be asked."""
    if mine.kind == UNREADABLE:
        return Beginning(WAIT, f"the data directory of {me} cannot be read: {mine.why}")
    if mine.kind == OTHER:
        return Beginning(WAIT, strange(me).why)
    if mine.kind != NONE and not (mine.kind == CLUSTER and mine.fresh):
        wrong = another(me, mine.system_identifier, record) or unexplained(me, record)
        return Beginning(WAIT, wrong) if wrong else Beginning(LEAVE)
    if cluster.node(me).kind == "witness":
        return Beginning(MAKE if mine.kind == NONE else START, f"{me} is a witness, and no server has run on it")
    return _without_data(cluster, me, mine, record, said)


def _without_data(
    cluster: Cluster,
    me: str,
    mine: DirectoryState,
    record: Initialization | None,
    said: Mapping[str, Optional[NodeEvidence]],
) -> Beginning:
    theirs = record.system_id if record else ""
    primaries = [
        name
        for name, one in said.items()
        if one and one.state and not one.state.in_recovery and theirs in ("", one.state.system_id)
    ]
    if len(primaries) == 1:
        return Beginning(CLONE, f"{me} has no data, and {primaries[0]} is primary", primaries[0])
    if primaries:
        return Beginning(WAIT, f"{me} has no data, and {' and '.join(primaries)} both run as primary")
    if record is None:
        why = "no primary answers, and the record of the initialisation cannot be read"
        return Beginning(WAIT, f"{me} has no data, {why}")
    if record.system_id:
        return _initialized(me, mine, record, said)
    return _nobody_yet(cluster, me, mine, record, said)


def _initialized(
    me: str, mine: DirectoryState, record: Initialization, said: Mapping[str, Optional[NodeEvidence]]
) -> Beginning:
    """The cluster is there, and nobody answers as its primary."""
    made = record.system_id
    if mine.fresh and (record.by, made) == (me, mine.system_identifier):
        return Beginning(START, f"{me} has made the cluster (system identifier {made}), and no server has run on it")
    exists = f"the cluster was initialised by {record.by} (system identifier {made})"
    closed = [name for name, one in said.items() if one and one.directory.running and not one.state]
    if closed:
        why = f"the server of {', '.join(closed)} does not let agents in: the site playbook makes their roles"
        return Beginning(WAIT, f"{me} has no data; {exists}, and {why}")
    return Beginning(WAIT, f"{me} has no data; {exists}, and no primary answers to be cloned from")


def _nobody_yet(
    cluster: Cluster,
    me: str,
    mine: DirectoryState,
    record: Initialization,
    said: Mapping[str, Optional[NodeEvidence]],
) -> Beginning:
    """No record says that the cluster is there."""
    if record.grown:
        lost = "the record says that others were cloned, and not from which cluster: that one's primary completes it"
        cure = "If certainly no claim holds a cluster any more, remove the record."
        return Beginning(WAIT, f"{me} has no data; {lost}. {cure}")
    if record.by not in ("", me):
        return Beginning(WAIT, f"{me} has no data; {record.by} has begun to initialise the cluster, and is waited for")
    held = [f"{name} ({_holding(one)})" for name, one in said.items() if one and _holding(one)]
    if held:
        holders = f"{', '.join(held)} may hold the cluster"
        return Beginning(WAIT, f"{me} has no data, but {holders}; {me} is cloned when there is a primary")
    if record.by == me:
        return Beginning(END if mine.fresh else MAKE, f"{me} has begun to initialise the cluster")
    silent = [name for name, one in said.items() if not one]
    if silent:
        asked = f"{', '.join(silent)} cannot be asked whether it holds data"
        return Beginning(WAIT, f"nobody initialises the cluster: {asked}. Bring it up.")
    first = cluster.first_primary.name
    if me != first:
        return Beginning(WAIT, f"{me} has no data; {first} is to initialise the cluster, and is waited for")
    return Beginning(BEGIN, f"no data node holds data, and {me} is the first primary")


def _holding(one: NodeEvidence) -> str:
    """What a node has that may be the cluster; '' for nothing."""
    if one.state:
        return "its server runs"
    if one.directory.kind == NONE:
        return ""
    if one.directory.kind == CLUSTER:
        return "new data" if one.directory.fresh else "data"
    return f"{one.directory.kind} data"


def another(me: str, system_id: str, record: Initialization | None) -> str:
    """Why the data of *me*, with *system_id*, are not of the cluster that the *record* is about; '' where they are, or may be."""
    if record is None or not record.system_id or system_id in ("", record.system_id):
        return ""
    theirs = f"the one that {record.by} has initialised ({record.system_id})"
    return (
        f"start {me}: its data are of another cluster (system identifier {system_id}) than {theirs}. "
        f"See whose they are, and move them away: {me} is cloned then."
    )


def without_others(
    cluster: Cluster, me: str, system_id: str, record: Initialization | None, timeline: int = FIRST_TIMELINE
) -> tuple[str, ...]:
    """The other data nodes, where the *record* says that none of them can have anything of the data with *system_id*, on
    *timeline*, that *me* has made: nobody has begun to be cloned. Nothing where it does not say so, or where a promotion has
    been: then it is an older copy of the record."""
    if record is None or record.grown or timeline > FIRST_TIMELINE:
        return ()
    if (record.by, record.system_id) != (me, system_id):
        return ()
    return tuple(node.name for node in cluster.data_nodes if node.name != me)


def adopts(me: str, primary: str, record: Initialization) -> bool:
    """Whether *me*, whose server runs, has the *record* say which cluster is there, which it does not. *primary*: the real one.
    Also where somebody has begun: with that word and no identifier, an empty node of that name would make a second cluster."""
    return primary == me and not record.system_id


def grows(cluster: Cluster, me: str, states: Mapping[str, NodeState], record: Initialization | None) -> bool:
    """Whether the *record* says that nobody else has anything of the data of *me*, whose server runs, and the nodes' *states*
    show that somebody has, or had: an older copy of the record was restored, and has to say so again. Whom it names has made the
    data: any other has a copy."""
    mine = states.get(me)
    if mine is None or record is None or record.grown or record.system_id != mine.system_id:
        return False
    if me != record.by or mine.timeline > FIRST_TIMELINE:
        return True
    others = {node.name for node in cluster.data_nodes if node.name != me}
    stream = {name for node in others for name in (node, newcomer_name(node))}
    running = {name for name, state in states.items() if state.system_id == mine.system_id}
    known = running | set(mine.members or ())
    return mine.streaming or bool(others & known or stream & set(mine.senders))


def unexplained(me: str, record: Initialization | None) -> str:
    """What is to be said of data of *me* that are not known to be new, where no primary says which cluster is there; '' where the
    *record* does not say that *me* has begun one, and has not made it."""
    if record is None or record.by != me or record.system_id:
        return ""
    begun = f"the record says only that {me} has begun to initialise the cluster"
    return (
        f"{me} holds data, and {begun}: nobody knows whether these are the cluster's. "
        "Bring the other data nodes up: the primary among them completes the record. "
        f"If this cluster never had a primary, remove the claim and the pod of {me}: it is initialised anew."
    )


def sources(cluster: Cluster, target: str, said: Mapping[str, Optional[NodeEvidence]]) -> list[str]:
    """Standbys of the primary *target* that a copy may be made from in its stead: those that stream from itself, on its timeline,
    and are not late by design. Of a server that is not the real primary there may be some too."""
    there = said.get(target)
    if not there or not there.state:
        return []
    return [
        name
        for name, one in said.items()
        if one
        and one.state
        and one.state.in_recovery
        and one.state.streaming
        and one.state.system_id == there.state.system_id
        and one.state.timeline == there.state.timeline
        and cluster.node_at(one.state.upstream) == target
        and not cluster.node(name).delay
    ]
