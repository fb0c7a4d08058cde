# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a standby that does not stream from the primary may be read from all the same: while there is no primary, and for a
moment when there is a new one. One rule for load balancers, probes and services; docs/safety.md argues it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..model import Cluster
from ..observe.node_state import NodeState
from ..observe.primary import most_held
from .seen import NodeSeen

# Seconds that a standby has to follow a primary that is new to it: it is let go by who sealed it, and pointed there, within some
# three, and by its own agent after six (duties/standby.py).
JOINING = 10.0
# What is at work where a node's data are not what it will serve.
REPLACED = ("rejoin", "demote")


def against(cluster: Cluster, look: NodeSeen) -> str:
    """Why the standby whose agent has seen this, and which does not stream from the primary, is not to be read from; '' where it
    may be.

    It keeps its place if it streamed from the primary until a moment ago, or until there was none, and nothing that is seen
    says that what it serves is left behind. Who has not streamed from one has no place to keep: a pod that begins does not get
    ready by this, and no rollout goes on to the next."""
    mine, standing = look.mine, look.standing
    if mine is None or not mine.in_recovery:
        return "it is no standby that answers"
    if look.job in REPLACED:
        return "it is being brought back"
    if look.words:
        return look.words
    if standing.astray >= JOINING:
        return "it did not stream from the primary before"
    if look.primary and standing.seen_for >= JOINING and not mine.sealed:
        return "it had time to follow that"
    states = {name: one for name, one in look.survey.states.items() if cluster.node(name).kind == "postgres"}
    if most_held(one.system_id for one in states.values()) != mine.system_id:
        return "others hold the data of another cluster"
    return _left_behind(mine, states, look.primary)


def _left_behind(mine: NodeState, states: Mapping[str, NodeState], primary: str) -> str:
    """What data nodes show by their timelines against the standby *mine*; '' for nothing."""
    if primary in states:
        return f"it is on timeline {mine.timeline} already" if mine.timeline > states[primary].timeline else ""
    for name, one in states.items():
        if one.system_id == mine.system_id and one.timeline > mine.timeline:
            return f"it is on timeline {mine.timeline}, and {name} on {one.timeline}"
        if one.system_id == mine.system_id and one.timeline == mine.timeline and not one.in_recovery:
            return f"{name} takes writes on its timeline"
    return ""
