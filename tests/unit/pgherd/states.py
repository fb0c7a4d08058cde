# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Small clusters and what their nodes say: shared by the tests of who may be primary."""

from __future__ import annotations

from typing import Any

from pgherd.model import Cluster, Node
from pgherd.observe.node_state import NodeState, Survey

SYSTEM = "7000000000000000001"


def cluster(electable: int = 3, witness: bool = False, **more: Any) -> Cluster:
    """*electable* data nodes pg1, pg2... below pg1, and a witness w1."""
    nodes = [Node(f"pg{n}", n, "postgres", f"pg{n}", "" if n == 1 else "pg1") for n in range(1, electable + 1)]
    if witness:
        nodes.append(Node("w1", 9, "witness", "w1", "pg1"))
    return Cluster("demo", tuple(nodes), **more)


def standby(name: str, at: int = 0x5000000, timeline: int = 1, follows: str = "pg1", **more: Any) -> NodeState:
    """A standby that is pointed at *follows*, '' for nobody, and has no stream."""
    lsn = f"0/{at:X}"
    given = {"name": name, "in_recovery": True, "timeline": timeline, "system_id": SYSTEM, "receive_lsn": lsn}
    given.update({"replay_lsn": lsn, "pointed_at": follows, "has_upstream": bool(follows), **more})
    return NodeState(**given)


def streaming(name: str, at: int = 0x5000000, timeline: int = 1, follows: str = "pg1", **more: Any) -> NodeState:
    """A standby that streams from *follows*."""
    return standby(name, at, timeline, follows, upstream=follows, receiver="streaming", **more)


def primary(name: str, timeline: int = 1, at: int = 0x5000000, **more: Any) -> NodeState:
    """A node outside recovery; *senders* by name to the text of their last answer."""
    return NodeState(False, timeline, more.pop("system_id", SYSTEM), f"0/{at:X}", name=name, **more)


def witness(name: str = "w1") -> NodeState:
    """A witness: a primary of its own little cluster."""
    return NodeState(False, 1, "9", name=name)


def survey(*states: NodeState, **silent: str) -> Survey:
    """A survey of *states*, and why others are *silent*."""
    return Survey({state.name: state for state in states}, silent)
