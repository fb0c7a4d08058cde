# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The start guard: what a PostgreSQL that is about to start on this host may be. Pure.

A standby may always start. What was a primary starts writable only when enough others say that none of them can have
been promoted meanwhile, and when its WAL reaches as far as they have received it; otherwise it starts as a standby, and
the agents find out who is to be primary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import Conflict
from ..model import Cluster, lsn_to_int
from .quorum import acknowledgers, could_promote, voters
from .voice import Round, Voice, node_at


@dataclass(frozen=True)
class Local:
    """The data directory by pg_control: *standby* says whether standby.signal is there, *redo* is where recovery begins, in
    bytes."""

    standby: bool
    system_id: str
    timeline: int
    redo: int = 0


@dataclass(frozen=True)
class Start:
    """How to start: *as_standby*, of nobody yet (its agent compares its WAL with the primary's first), and why."""

    as_standby: bool
    why: str
    # Whether the answer may change when those that are silent come up a moment later.
    provisional: bool = False


def decide(cluster: Cluster, me: str, local: Local, round_: Round) -> Start:
    """How *me* may start, given what the other nodes say. Raises Conflict when its data are of another cluster than the
    others' who run."""
    others = {
        name: voice for name, voice in round_.voices.items() if name != me and cluster.node(name).kind == "postgres"
    }
    if cluster.node(me).kind == "witness":
        return Start(False, f"{me} is a witness")
    _same_cluster(me, local, others)
    if local.standby:
        return Start(False, f"{me} is a standby")
    others = {name: voice for name, voice in others.items() if voice.system_id == local.system_id}
    # One that was left behind on an older timeline is nobody to follow.
    primaries = [name for name, voice in others.items() if not voice.in_recovery and voice.timeline >= local.timeline]
    if primaries:
        newest = max(primaries, key=lambda name: others[name].timeline)
        return Start(True, f"{newest} is primary (timeline {others[newest].timeline})")
    ahead = [name for name, voice in others.items() if voice.timeline > local.timeline]
    if ahead:
        return Start(True, f"{ahead[0]} is on timeline {others[ahead[0]].timeline}, {me} on {local.timeline}")
    return _alone(cluster, me, others, round_)


# What PostgreSQL writes of WAL before a record is whole ends at a page (XLogBackgroundFlush(), WalSndSendPhysical()).
PAGE = 8192


def furthest(me: str, local: Local, round_: Round) -> tuple[str, int]:
    """Who of those that followed *me* on its timeline has received most of its WAL, and up to where *me* must have it too, in
    bytes; ('', 0) where that is nothing behind the last checkpoint.

    A standby receives nothing that its primary had not flushed. A primary whose WAL ends before that has lost it, to a disk
    that lied, a torn segment, an old copy of its data; on starting it would write other WAL in its place, and standbys would
    confirm what they do not have. What was received may end in the middle of a record at a page's end, and then counts up to
    the last record that was replayed.
    """
    said = [("", 0)]
    for name, voice in round_.voices.items():
        if name != me and voice.in_recovery and (voice.system_id, voice.timeline) == (local.system_id, local.timeline):
            replayed = lsn_to_int(voice.replay_lsn) if voice.replay_lsn else 0
            said.append((name, voice.position if voice.position % PAGE else replayed))
    name, position = max(said, key=lambda item: item[1])
    return (name, position) if position > local.redo else ("", 0)


def _same_cluster(me: str, local: Local, others: Mapping[str, Voice]) -> None:
    strange = [name for name, voice in others.items() if voice.system_id != local.system_id]
    if strange and 2 * len(strange) > len(others):
        raise Conflict(
            f"Start {me}",
            f"data of the cluster that {', '.join(strange)} hold (system identifier {others[strange[0]].system_id})",
            local.system_id,
            "If its data may go, name the host in cluster_wipe.",
        )


def _still_mine(cluster: Cluster, me: str, voice: Voice) -> bool:
    """Whether a node is known not to have helped another's promotion: one that is being sealed is about to, and one that
    was pointed at another has."""
    elsewhere = node_at(cluster, voice.pointed_at) not in ("", me) and voice.name in voters(cluster, me)
    return voice.in_recovery and not voice.sealed and not voice.locked and not elsewhere


def _alone(cluster: Cluster, me: str, others: Mapping[str, Voice], round_: Round) -> Start:
    """Nobody who answers is primary or further: is anybody missing who could be?"""
    if me not in cluster.electable_names:
        return Start(False, f"{me} was promoted by hand, and nobody who answers is further", provisional=False)
    accounted = [name for name, voice in others.items() if _still_mine(cluster, me, voice)]
    if not acknowledgers(cluster):
        accounted += [name for name in round_.voices if name != me and cluster.node(name).kind == "witness"]
    behind_back = could_promote(cluster, me, accounted)
    if behind_back:
        return Start(True, f"nobody knows whether one of {', '.join(behind_back)} was promoted", provisional=True)
    said = ", ".join(sorted(set(accounted) & set(voters(cluster, me)))) or "nobody else"
    return Start(False, f"no other primary is possible: {said} can acknowledge commits, and knows none")
