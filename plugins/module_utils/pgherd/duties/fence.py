# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When a primary must stop serving, and when it may again. Pure.

At most one primary has W listed standbys streaming, since one is promoted only after so many were sealed that W are not
left for anybody else. So these decide who is real, not the timeline alone: a primary that has them goes on, whatever
others claim; one that has not them cannot acknowledge anything, and only keeps its clients waiting.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Cluster
from ..quorum import acknowledgers, majority

# Seconds without W standbys (or, under async durability, without a majority of all nodes) after which clients are sent
# away: a restart of a standby where it stands is over by then. Asynchronous commits are acknowledged meanwhile, so
# there it is less than any promotion takes.
FENCE, FENCE_ASYNC = 4.0, 2.5
# Seconds for which they must be back.
BACK = 0.5
# Seconds after which a disk that takes no WAL counts as gone: a slow one takes some.
STALLED = 10.0
# Seconds after which a statement that no statement_timeout has ended stands in such a disk's queue.
STANDS = 5.0
# Seconds for which a primary that W have to confirm for cannot be fenced, until it is killed for that.
UNFENCED = 10.0


@dataclass(frozen=True)
class Primary:
    """What a primary knows of itself. *backed*: listed standbys that have answered it lately. *alone*: seconds for which
    there were fewer of them than needed, 0.0 when there are enough; *together*: seconds for which there were enough.
    *rival*: another primary of the cluster, with its *rival_timeline* and how many listed standbys stream from it.
    *reached*: nodes that answer, itself included. *locked*: a switchover is at work on it. *newer*: a
    listed standby on a newer timeline, whose primary is gone too. *stalled*: seconds for which its processes have waited
    for WAL to be written, and none was. *unshared*: by the record of the initialisation nobody else has anything of its data."""

    me: str
    timeline: int
    fenced: bool
    backed: tuple[str, ...]
    alone: float = 0.0
    together: float = 0.0
    rival: str = ""
    rival_timeline: int = 0
    rival_backed: int = 0
    reached: int = 1
    locked: bool = False
    newer: str = ""
    stalled: float = 0.0
    unshared: bool = False


# How a primary is demoted: it stops and comes back as a standby of its rival; the same, of nobody yet; it is killed, so that
# another is elected.
BELOW_RIVAL, LEFT_BEHIND, STALLED_DISK = "rival", "left behind", "disk"
DEMOTIONS = (BELOW_RIVAL, LEFT_BEHIND, STALLED_DISK)


@dataclass(frozen=True)
class FenceVerdict:
    """*action*: ``fence``, ``lift``, one of DEMOTIONS, or '' for none; and why."""

    action: str
    why: str = ""


def decide(cluster: Cluster, seen: Primary) -> FenceVerdict:
    """What a primary has to do about itself now."""
    needed = acknowledgers(cluster)
    enough = len(seen.backed) >= needed if needed else seen.reached >= majority(cluster)
    if seen.rival:
        lost = _lost_to(seen, enough, needed)
        if lost:
            return FenceVerdict(BELOW_RIVAL, lost)
    if seen.newer and not seen.rival and not enough and seen.alone >= FENCE:
        return FenceVerdict(
            LEFT_BEHIND, f"{seen.newer} has followed a later primary than {seen.me}, and its rows count"
        )
    if len(cluster.electable) < 2:
        return FenceVerdict("lift", "it is the only electable node") if seen.fenced else FenceVerdict("")
    if enough and not seen.rival and not seen.locked and seen.stalled >= STALLED:
        return FenceVerdict(
            STALLED_DISK, f"its disk has taken no WAL for {seen.stalled:.0f} s, and commits wait for that"
        )
    # A first primary waits for its first standby: nobody else can be promoted, and roles and records have to be written.
    first = bool(needed) and seen.unshared and not seen.rival
    if first and seen.fenced and not seen.locked:
        return FenceVerdict("lift", "no other node has begun to copy its data")
    limit = FENCE if needed else FENCE_ASYNC
    if first:
        return FenceVerdict("")
    if not enough and not seen.fenced and seen.alone >= limit:
        who = f"{len(seen.backed)} of {needed} needed standbys stream" if needed else f"{seen.reached} nodes answer"
        return FenceVerdict("fence", f"{who} for {seen.alone:.1f} s")
    if enough and seen.fenced and not seen.locked and seen.together >= BACK:
        who = ", ".join(seen.backed) if needed else f"{seen.reached} nodes"
        return FenceVerdict("lift", f"{who} are back, and nobody else is primary")
    return FenceVerdict("")


def _lost_to(seen: Primary, enough: bool, needed: int) -> str:
    """Why this primary must give way to its rival; '' when it must not."""
    said = f"{seen.rival} is primary on timeline {seen.rival_timeline}, with {seen.rival_backed} standbys"
    if needed and enough and seen.rival_backed < needed:
        return ""
    newer = seen.rival_timeline > seen.timeline
    # One that was promoted without its locks stops itself within seconds: nobody is to follow it meanwhile.
    if newer and seen.rival_backed < needed and seen.alone < FENCE:
        return ""
    if newer or (needed and not enough and seen.rival_backed >= needed):
        return f"{said}; {seen.me} is on {seen.timeline}, with {len(seen.backed)}"
    return ""


def fatal(cluster: Cluster, connected: int, failing: float) -> str:
    """Why a primary that could not be told to refuse writes has to be killed; '' when that is only tried again.

    *connected*: how many listed standbys hold a connection to it, late or not; *failing*: seconds since the first attempt
    that failed. Without W confirmations nothing is acknowledged, fenced or not: there a kill only sends clients away, and on
    a machine that is merely slow it makes an outage of a delay. What is asynchronous is acknowledged meanwhile, and lost.
    """
    needed = acknowledgers(cluster)
    if not needed:
        return "its commits are asynchronous, and it cannot be told to refuse writes"
    if connected < needed and failing >= UNFENCED:
        return f"for {failing:.0f} s it cannot be told to refuse writes, with {connected} of {needed} needed standbys connected"
    return ""
