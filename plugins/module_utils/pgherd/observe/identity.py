# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which data directory counts under a node's name, and how another takes its place. Pure.

A name is not an identity: a host may be rebuilt under the name of one that still runs elsewhere and confirms commits. What
that one confirmed must not be counted for the new one. So a table that is replicated like all else says which incarnation is
admitted under a name. Another one streams under a name that is not listed until it is admitted and has seen that it may.
The proof is in docs/safety.md, "A name is not an identity".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ..model import Cluster, lsn_to_int
from ..objects.identity import Incarnation, admitted
from ..quorum import acknowledgers, seals_needed, voters
from .node_state import NodeState, Survey

Table = Optional[Mapping[str, str]]
# By node the timeline and the position up to which it has confirmed WAL to a primary.
Confirmed = Mapping[str, tuple[int, int]]


def table(cluster: Cluster, states: Mapping[str, NodeState], system_id: str) -> Table:
    """Who is admitted, by the newest table that those of *states* show which are of the cluster *system_id*; None where none has
    one. A standby shows it as far as it has replayed: what it shows then is older, never wrong."""
    with_one = [
        state
        for name, state in states.items()
        if cluster.node(name).kind == "postgres" and state.members is not None and state.system_id == system_id
    ]

    def key(state: NodeState) -> tuple[int, int]:
        shown = state.replay_lsn if state.in_recovery else state.write_lsn
        return state.timeline, lsn_to_int(shown) if shown else 0

    newest = max(with_one, key=key, default=None)
    return newest.members if newest else None


def stands(state: NodeState, members: Table) -> bool:
    """Whether a node is what counts under its name, see admitted()."""
    return admitted(state.name, Incarnation(state.incarnation, state.replaces), members)


def counted(cluster: Cluster, name: str) -> bool:
    """Whether anybody's data are counted under the *name*."""
    return bool(acknowledgers(cluster)) and name in cluster.electable_names


def newcomers(cluster: Cluster, states: Mapping[str, NodeState]) -> frozenset[str]:
    """The listed standbys among *states* that do not stand for their name, each by the tables of its own cluster: what another
    cluster has under the same names says nothing."""
    members = {one: table(cluster, states, one) for one in {state.system_id for state in states.values()}}
    return frozenset(
        name
        for name, state in states.items()
        if counted(cluster, name) and state.in_recovery and not stands(state, members[state.system_id])
    )


def unfit(cluster: Cluster, states: Mapping[str, NodeState], confirmed: Confirmed | None = None) -> dict[str, str]:
    """Why listed standbys among *states* do not count for a promotion, by name: newcomers, and such as have lost WAL that they
    had *confirmed*. One that still reads its own WAL does not know what it has."""
    said = {name: f"{name} is not the data that counted under its name" for name in newcomers(cluster, states)}
    for name, state in states.items():
        if counted(cluster, name) and lost(state, confirmed or {}):
            said.setdefault(name, f"{name} has lost WAL that it had confirmed")
    return said


def lost(state: NodeState, confirmed: Confirmed) -> bool:
    """Whether a standby ends before what it has *confirmed*: its host, or its volume, was rolled back."""
    return state.in_recovery and state.settled and state.reached < confirmed.get(state.name, (0, 0))


@dataclass(frozen=True)
class Admission:
    """*incarnation* is to be admitted as *node*, in the place of *old* ('' for none)."""

    node: str
    incarnation: str
    old: str


# By node which incarnation was seen, and the position that it has to reach, None before that is known.
Marks = Mapping[str, tuple[str, Optional[int]]]


def admissions(cluster: Cluster, me: str, survey: Survey, marks: Marks) -> tuple[list[Admission], Marks]:
    """Whom the primary *me* admits now, and what it has to remember till the next look.

    Nobody can be taken for another: an id that two show, or that is admitted under another name, was copied.
    """
    mine = survey.states[me]
    if mine.members is None:
        return [], {}
    shown = [state.incarnation for state in survey.states.values()]
    found, left = [], {}
    for name, state in survey.states.items():
        old, own = mine.members.get(name, ""), state.incarnation
        others = [one for node, one in mine.members.items() if node != name]
        if cluster.node(name).kind != "postgres" or state.system_id != mine.system_id or own in ("", old):
            continue
        if shown.count(own) > 1 or own in others:
            continue
        if name == me or (_follows(state, mine) and (not old or name not in cluster.electable_names)):
            # It is what all others are compared with; or nobody counts it, or has counted another of that name.
            if name == me or not state.replaces or name not in cluster.electable_names:
                found.append(Admission(name, own, old))
        elif old in state.replaces and _follows(state, mine):
            seen, position = marks.get(name, ("", None))
            if seen == own and position is not None and state.position >= position:
                found.append(Admission(name, own, old))
            # Taken at the look after the one that showed the old one gone: what that had confirmed lies before it.
            left[name] = (own, (position or mine.position) if seen == own else None)
    return found, left


def _follows(state: NodeState, primary: NodeState) -> bool:
    return state.in_recovery and state.streaming and state.timeline == primary.timeline


# On which timeline, and up to which position of it, a node had replayed when its own table was first seen to admit it.
Row = Optional[tuple[int, int]]


def row_of(mine: NodeState, before: Row) -> Row:
    """Where the row lies that admits *mine* by its own table: not after what is returned; None while there is none. *before* is
    what the look before found: what is written meanwhile need not be waited for."""
    if mine.members is None or not mine.incarnation or mine.members.get(mine.name) != mine.incarnation:
        return None
    if before and before[0] == mine.timeline:
        return before
    return (mine.timeline, lsn_to_int(mine.replay_lsn)) if mine.replay_lsn else None


def may_take(cluster: Cluster, me: str, survey: Survey, primary: str, stood: tuple[int, str], row: Row) -> bool:
    """Whether *me*, which is admitted in the place of another by its own table, may stand for its name now: so many others hold
    that *row* (see row_of()) that any R with this name have one of them, or the one before it stood where *me* would (*stood*:
    timeline and upstream), so that nothing changes by it."""
    mine, theirs = survey.states[me], survey.states.get(primary)
    if theirs is None or theirs.in_recovery or mine.timeline != theirs.timeline or row is None:
        return False
    if stood == (theirs.timeline, primary):
        return True
    if row[0] != mine.timeline:
        return False
    strange = newcomers(cluster, survey.states)
    holding = [
        name
        for name in voters(cluster, primary)
        if name != me and name not in strange and name in theirs.flushed and lsn_to_int(theirs.flushed[name]) >= row[1]
    ]
    needed = len(voters(cluster, primary)) - seals_needed(cluster, primary) + 1
    return len(holding) >= needed
