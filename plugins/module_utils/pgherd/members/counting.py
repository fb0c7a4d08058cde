# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who is electable changes, or how many must confirm a commit: the way there, stage by stage. Pure.

Two things change, and never at once: by whom the agents count (R, see quorum.py), and synchronous_standby_names, by which
PostgreSQL acknowledges. Agents must always count each node that is named, and with no higher W than is named. So agents
first count the old nodes and the new ones with the lower W, then the names become what they should be, and when W of them
are seen to hold all that was acknowledged until then, the agents count just those. Agents learn of one node more or less at
a time: then any two sets that two of them would seal have a node in common, whichever of them has been told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..errors import Conflict
from ..model import Cluster
from ..nodes import locations
from ..nodes.instance import Instance
from ..observe.primary import Shown, decide
from ..programs.postgres import parse_sync_names


@dataclass(frozen=True)
class Count:
    """The electable nodes, and W, how many of them must confirm a commit besides the primary."""

    names: tuple[str, ...]
    needed: int

    @classmethod
    def of(cls, cluster: Cluster) -> Count:
        """By whom *cluster* counts."""
        return cls(cluster.electable_names, cluster.sync_standbys)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"names": list(self.names), "needed": self.needed}


@dataclass(frozen=True)
class Stage:
    """*counted* by the agents of all nodes, *named* in PostgreSQL's configuration on all nodes. *held*: before it, W of those
    that are named are seen to hold all that was acknowledged."""

    counted: Count
    named: Count
    held: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"counted": self.counted.to_dict(), "named": self.named.to_dict(), "held": self.held}


@dataclass(frozen=True)
class Transition:
    """*start* is safe with whatever was found, and holds while nodes are cloned. *stages* come after it, one after the other,
    each when the one before is over on all *nodes*: they are members, their hosts are reached, and each agent has said that
    it goes by that stage. Until then there is no next stage, and a later run goes on."""

    start: Stage
    stages: tuple[Stage, ...] = ()
    nodes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        stages = [stage.to_dict() for stage in self.stages]
        return {"start": self.start.to_dict(), "stages": stages, "nodes": list(self.nodes)}


def counting(cluster: Cluster, count: Mapping[str, Any] | None) -> Cluster:
    """The *cluster* with other electable nodes: *count* is a Count as plain data. None, or what it says itself, is itself.

    A managed host has worked it out. Raises Conflict where it is none of this cluster's data nodes that it names, or no number
    of them.
    """
    if not count or (tuple(count["names"]), count["needed"]) == (cluster.electable_names, cluster.sync_standbys):
        return cluster
    names, needed, known = tuple(count["names"]), count["needed"], [node.name for node in cluster.data_nodes]
    if not (set(names) <= set(known) and isinstance(needed, int) and 1 <= needed <= len(known)):
        raise Conflict("Count other nodes for electable", f"some of {', '.join(known)}", f"{needed!r} of {names!r}")
    return replace(cluster, counted=names, sync_standbys=needed)


def staged(cluster: Cluster, stage: Mapping[str, Any]) -> Cluster:
    """The *cluster* in a *stage*, a Stage as plain data, for those who read who is counted and who is named in one description.
    Raises as counting()."""
    counted, named = (
        counting(replace(cluster, named=None, named_needed=0), stage[key]) for key in ("counted", "named")
    )
    if Count.of(counted) == Count.of(named):
        return counted
    return replace(counted, named=named.electable_names, named_needed=named.sync_standbys)


def answer(cluster: Mapping[str, Any], found: Mapping[str, Any], blind: bool) -> dict[str, Any]:
    """way() as plain data, and the *cluster* as it is counted at its start. *found*: by node, the Instance that its host
    says it has. Every name in it is a data node's of the *cluster*, whatever a host said. Raises PgherdError where a host has
    said that its directories will not do: before anything is made on any."""
    wanted = Cluster.from_dict(cluster)
    said = {name: Instance.from_dict({**data, "name": name}) if data else None for name, data in found.items()}
    locations.refuse({name: one.obstacles for name, one in said.items() if one})
    there = way(wanted, said, blind)
    return {"cluster": counting(wanted, there.start.counted.to_dict()).to_dict(), **there.to_dict()}


def way(cluster: Cluster, said: Mapping[str, Optional[Instance]], blind: bool = False) -> Transition:
    """The way to what *cluster* says, from what the data nodes have *said*: None for those that could not be asked. *blind*:
    a new cluster may be made although some could not. Raises Conflict where a node that counts is not in the inventory."""
    design = Count.of(cluster)
    straight = Transition(Stage(design, design))
    inventory = [node.name for node in cluster.data_nodes]
    # A witness is the primary of a cluster of its own.
    holders = [one for name, one in said.items() if name in inventory and one and one.data == "cluster"]
    if cluster.durability != "strict":
        return straight
    if not holders:
        silent = [name for name in inventory if said.get(name) is None]
        return straight if not silent or blind else _unseen(design, silent)
    heads = _heads(holders)
    named = [count for count in map(_named, heads) if count.names and "*" not in count.names]
    if not named:
        # Nothing was promised so far: it was asynchronous, or anybody could confirm.
        return straight
    _refuse(heads, inventory)
    now = _join(inventory, named, max(count.needed for count in named))
    counted = [
        now,
        *(Count(tuple(one.counts["names"]), one.counts["needed"]) for one in holders if one.counts.get("names")),
    ]
    told = _join(inventory, counted, min(count.needed for count in counted))
    both = _join(inventory, [told, design], min(told.needed, design.needed))
    steps = [
        *_path(inventory, told, both, now),
        Stage(both, design),
        *_path(inventory, both, design, design, held=True),
    ]
    start = Stage(told, now)
    found: list[Stage] = []
    for step in steps:
        last = found[-1] if found else start
        if (step.counted, step.named) != (last.counted, last.named):
            found.append(step)
    return Transition(start, tuple(found), both.names)


def _unseen(design: Count, silent: list[str]) -> Transition:
    """Where nobody who can be asked has data, those that cannot may be the cluster; the others do not count yet."""
    able = Count(tuple(name for name in design.names if name in silent), design.needed)
    now = able if len(able.names) > able.needed else design
    return Transition(Stage(now, now), (), design.names)


def _heads(holders: list[Instance]) -> list[Instance]:
    """The primary of what most hold, or several that nothing tells apart; all that hold that where no such primary runs."""
    identifiers = [one.system_identifier for one in holders]
    ours = [
        one for one in holders if identifiers.count(one.system_identifier) == max(map(identifiers.count, identifiers))
    ]
    # Nobody is asked who streams from whom, so the newest timeline tells, of stopped servers too.
    found = decide(Shown(one.name, one.timeline, "ours", one.running and one.role == "primary") for one in ours)
    return [one for one in ours if one.name in (found.name, *found.tied)] or ours


def _named(one: Instance) -> Count:
    needed, names = parse_sync_names(one.names)
    return Count(names, needed)


def _join(inventory: list[str], counts: list[Count], needed: int) -> Count:
    """The nodes of all *counts*, in the inventory's order."""
    known = {name for count in counts for name in count.names}
    return Count(tuple(name for name in inventory if name in known), needed)


def _refuse(heads: list[Instance], inventory: list[str]) -> None:
    """One that was taken out of the inventory lives on, with commits that only it may have, and counts itself."""
    for name in sorted({name for one in heads for name in _known(one)} - set(inventory)):
        if all(name in _known(one) for one in heads):
            raise Conflict(
                f"Count without {name}",
                "a data node of the inventory",
                f"{name} may acknowledge commits on {' and '.join(one.name for one in heads)}, and is none",
                f"Put {name} back as it was, take it out by ansible-playbook pgherd.cluster.remove -e cluster_remove={name}, "
                "and out of the inventory then",
            )


def _known(one: Instance) -> set[str]:
    return {*parse_sync_names(one.names)[1], *one.counts.get("names", ())}


def _path(inventory: list[str], begin: Count, end: Count, named: Count, held: bool = False) -> list[Stage]:
    """Agents from *begin* to *end*, one node at a time, while *named* stand."""
    moved = [name for name in inventory if (name in begin.names) != (name in end.names)]
    names, stages = set(begin.names), []
    for name in moved:
        names ^= {name}
        count = Count(tuple(one for one in inventory if one in names), end.needed)
        stages.append(Stage(count, named, held))
    return stages or [Stage(end, named, held)]
