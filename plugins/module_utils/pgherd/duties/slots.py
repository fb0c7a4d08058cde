# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The physical slots that others need, on every node that may become their upstream, before it does. Pure.

A slot that nobody reads keeps WAL: those on a standby are moved on to where their reader is, and left-over ones of ours
are dropped. Slots of other names are nobody's business here, but for logical ones with failover that a former primary is
left with: PostgreSQL copies them from the primary there is, and cannot while they are in the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..model import Cluster, lsn_to_int
from ..observe.node_state import Survey

OURS = re.compile(r"repmgr_slot_(\d+)")


@dataclass(frozen=True)
class SlotChange:
    """``create``, ``advance`` (to *lsn*) or ``drop`` the slot *name*."""

    action: str
    name: str
    lsn: str = ""
    why: str = ""


def decide(
    cluster: Cluster, me: str, primary: str, survey: Survey, barman_slots: tuple[str, ...], current: bool = True
) -> list[SlotChange]:
    """What to change on *me*, so that every reader finds its slot here if this becomes the primary.

    *current*: whether *cluster* is what this host has been told last. Else a slot of a node that it does not know may be
    that of a node that is just being added, whose clone needs it.
    """
    mine = survey.states.get(me)
    if mine is None or not cluster.replication_slots:
        return []
    wanted = _wanted(cluster, me, primary, barman_slots)
    changes = [
        SlotChange("create", name, "", f"{reader} may come to read it here")
        for name, reader in wanted.items()
        if name not in mine.slots
    ]
    for name, (lsn, active) in mine.slots.items():
        match = OURS.fullmatch(name)
        if active or (match is None and name not in barman_slots):
            continue
        # Barman reads the primary's: what that has lost is not to be hidden.
        if not lsn and (match or mine.in_recovery):
            changes.append(SlotChange("drop", name, "", "it keeps nothing any more, and nobody can use it"))
        elif name in wanted:
            to = _position(wanted[name], name, primary, me, survey)
            if mine.in_recovery and lsn and to and lsn_to_int(to) > lsn_to_int(lsn):
                changes.append(SlotChange("advance", name, to))
        elif match and _left_over(cluster, int(match.group(1)), me, survey, current):
            changes.append(SlotChange("drop", name, "", "its reader is gone or reads elsewhere"))
    return changes + _in_the_way(me, primary, survey)


def _in_the_way(me: str, primary: str, survey: Survey) -> list[SlotChange]:
    """A former primary's own logical slots that the primary has now: while one is there, the server copies none at all
    (PostgreSQL 17, slotsync.c: "same name slot already exists on the standby")."""
    mine, head = survey.states[me], survey.states.get(primary)
    if head is None or primary == me or not mine.in_recovery:
        return []
    return [
        SlotChange("drop", name, "", f"{primary} has it now, and it is copied from there")
        for name, slot in mine.logical.items()
        if slot.failover
        and not slot.synced
        and not slot.active
        and name in head.logical
        and head.logical[name].failover
    ]


def _wanted(cluster: Cluster, me: str, primary: str, barman_slots: tuple[str, ...]) -> dict[str, str]:
    """By slot who reads it."""
    listed = cluster.electable_names
    if me not in listed and me != primary:
        return {node.slot: node.name for node in cluster.data_nodes if node.upstream == me}
    first = cluster.first_primary.name
    readers = [
        node for node in cluster.data_nodes
        if node.name != me and (node.name in listed or node.upstream in (me, first))
    ]  # fmt: skip
    return {**{node.slot: node.name for node in readers}, **dict.fromkeys(barman_slots, "Barman")}


def _position(reader: str, name: str, primary: str, me: str, survey: Survey) -> str:
    """Up to where the reader of slot *name* certainly needs no WAL any more; '' when that is not known."""
    head = survey.states.get(primary) if primary != me else None
    here = head.slots.get(name) if head else None
    if here and here[0] and here[1]:
        return here[0]
    if reader == primary:
        # It would come back from where its successor began, and that is not before where this node is now.
        return survey.states[me].replay_lsn or ""
    state = survey.states.get(reader)
    return (state.replay_lsn or "") if state and state.in_recovery and state.streaming else ""


def _left_over(cluster: Cluster, node_id: int, me: str, survey: Survey, current: bool) -> bool:
    node = cluster.node_by_id(node_id)
    if node is None:
        return current
    state = survey.states.get(node.name)
    return node.name == me or bool(state and (state.streaming or not state.in_recovery))
