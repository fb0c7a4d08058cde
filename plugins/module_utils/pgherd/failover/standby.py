# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a standby, or a node whose PostgreSQL is down, has to do about itself. Pure.

repmgrd comes first: it elects and has standbys follow within some five seconds. These duties are for what it leaves
undone: cancelled elections, orphans, sealed nodes whose promoter died, nodes that come back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Cluster
from ..nodes.mark import STOPPED
from .quorum import seals_needed, voters
from .voice import Round, Voice

# Seconds: a seal without its lock and a standby without a stream are left to repmgrd for so long; one that is pointed
# right and does not stream has then tried several times.
UNSEAL, LOST, STUCK = 2.0, 6.0, 6.0
# Seconds without any primary after which the first in rank tries a promotion, and how much later the next in rank. A break
# of three seconds is over by then, with half a second for the next look. The promotion's own questions are the second
# opinion, and its locks keep it apart from repmgrd's.
ELECT, RANK = 3.5, 2.0
# Seconds for which no repmgrd has got a new session on a primary whose old sessions answer: its postmaster hangs, while
# its senders go on. repmgrd elects nobody then, since each node finds that the others have received more.
HUNG = 10.0
# Seconds that a recovery may wait for one WAL segment before it is looked at whether anybody still has it.
WAITING = 20.0
# Seconds for which the upstream by design must have been there again before a standby goes back to it.
HOME = 60.0
# Seconds from one attempt to the next.
AGAIN = 5.0


@dataclass(frozen=True)
class Standby:
    """*primary* is the real one ('' for none seen). *head* is where its chain of streams ends. *upstream* is whom it is
    pointed at, *wanted* whom it should follow. The rest are seconds: sealed and without a lock, without a stream to the
    primary, pointed at *wanted* and yet without a stream, without any primary, streaming from another than its upstream by
    design, which is there; *hung*: see hung(). *rank* among the electable ones. *safe*: see may_follow(). *newer*: the primary
    is on a newer timeline. *diverged*: see diverged.py, None while that is not known; *pointed*: whether it is pointed at
    *primary* itself."""

    me: str
    voice: Voice
    primary: str
    head: str
    upstream: str
    wanted: str
    sealed: float = 0.0
    lost: float = 0.0
    stuck: float = 0.0
    leaderless: float = 0.0
    away: float = 0.0
    hung: float = 0.0
    rank: int = 0
    electable: bool = True
    safe: bool = True
    newer: bool = False
    diverged: bool | None = False
    pointed: bool = False


@dataclass(frozen=True)
class Duty:
    """*action*: ``follow``, ``rejoin``, ``elect``, ``start`` or '' for none; *target* is whom to follow."""

    action: str
    target: str = ""
    why: str = ""


def decide(seen: Standby) -> Duty:
    """What a running standby has to do now."""
    if seen.voice.locked:
        return Duty("")
    if not seen.primary:
        late = seen.electable and seen.leaderless >= ELECT + RANK * seen.rank
        why = f"no primary for {seen.leaderless:.0f} s, and {seen.rank} before it in rank"
        return Duty("elect", "", why) if late else Duty("")
    if seen.voice.sealed:
        if seen.newer:
            return _join(seen, "sealed, and there is a newer primary")
        late = seen.sealed >= UNSEAL and seen.safe
        return _join(seen, f"sealed, and its promoter is gone for {seen.sealed:.1f} s") if late else Duty("")
    if seen.electable and seen.hung >= HUNG + RANK * seen.rank:
        return Duty("elect", "", f"nobody has got a new session on {seen.primary} for {seen.hung:.0f} s")
    if seen.diverged and seen.pointed:
        # Its receiver comes and goes, and says each time that it has all this WAL.
        return _join(seen, f"pointed at {seen.primary}")
    if seen.head == seen.primary:
        back = f"its upstream by design has been there again for {seen.away:.0f} s"
        return Duty("follow", seen.wanted, back) if seen.away >= HOME else Duty("")
    if seen.stuck >= STUCK:
        return Duty("rejoin", seen.wanted, f"pointed at {seen.wanted} and without a stream for {seen.stuck:.0f} s")
    if seen.lost >= LOST and seen.upstream != seen.wanted:
        found = f"its stream leads to {seen.head}" if seen.head else "it has no stream"
        return _join(seen, f"{found} for {seen.lost:.0f} s, and {seen.primary} is primary")
    return Duty("")


def _join(seen: Standby, why: str) -> Duty:
    """Follow, or come back where the data do not fit: a standby with other WAL would confirm commits that it does not have."""
    if seen.diverged:
        return Duty("rejoin", seen.wanted, f"{why}; it has WAL that {seen.primary}'s history has not")
    if seen.diverged is None:
        return Duty("")
    return Duty("follow", seen.wanted, why)


def hung(cluster: Cluster, primary: str, round_: Round) -> float:
    """For how many seconds no repmgrd has reached *primary*, which they all try by a new session every second; 0.0 where
    none can tell. It is a suspicion: the promotion asks the primary itself."""
    node = cluster.node(primary)
    names = (node.name, node.address, node.ip)
    ages = [
        voice.upstream_seen_age
        for voice in round_.voices.values()
        if voice.in_recovery and voice.repmgrd and voice.upstream_seen_age >= 0 and voice.upstream in names
    ]
    return float(min(ages, default=0))


def may_follow(cluster: Cluster, me: str, primary: str, round_: Round) -> bool:
    """Whether a sealed node may follow *primary*: one on a newer timeline than its own at any time; the one that it was
    sealed from only while the nodes that do not show otherwise are too few to have been part of a promotion."""
    voices = round_.voices
    if voices[primary].timeline > voices[me].timeline:
        return True
    others = [name for name in voters(cluster, primary) if name != me]
    suspects = {
        name for name in others if name not in voices or voices[name].locked or not voices[name].in_recovery
    }  # fmt: skip
    sealed = {name for name in others if name in voices and voices[name].sealed}
    return not suspects or len(suspects | sealed | {me}) < seals_needed(cluster, primary)


def wanted_upstream(cluster: Cluster, me: str, primary: str, heads: dict[str, str]) -> str:
    """Whom *me* should follow: its upstream by design while that streams from the primary (*heads*: by node where its
    chain ends), else the primary itself."""
    designed = cluster.node(me).upstream
    if designed and designed != primary and heads.get(designed) == primary and cluster.node(designed).upstream:
        return designed
    return primary


@dataclass(frozen=True)
class Down:
    """A node whose PostgreSQL does not answer here. *unit*: systemd's ActiveState of it. *unfinished*: the note (mark.py)
    of a rejoin that was interrupted. *for_seconds* it has been so; *waiting*: seconds for which its recovery has been at one
    and the same WAL segment that it does not get."""

    me: str
    unit: str
    primary: str
    unfinished: str = ""
    for_seconds: float = 0.0
    waiting: float = 0.0


def decide_down(seen: Down) -> Duty:
    """What to do about a server that does not run. One that a person has stopped is left alone."""
    if seen.unfinished and seen.primary:
        return Duty("rejoin", seen.primary, "an earlier attempt to come back was interrupted")
    if seen.unfinished.startswith(STOPPED) and seen.for_seconds >= 10.0:
        return Duty("start", "", "it was stopped to come back, and nobody is primary: its data may be needed")
    if seen.primary and seen.waiting >= WAITING:
        return Duty("rejoin", seen.primary, f"its recovery has waited for WAL for {seen.waiting:.0f} s")
    # What is half-way must not be started: the guard refuses it, and that is why its unit has failed.
    if seen.unfinished or seen.unit != "failed":
        return Duty("")
    if seen.primary and seen.for_seconds >= 2.0:
        return Duty("rejoin", seen.primary, f"it failed to start, and {seen.primary} is primary")
    if seen.for_seconds >= 10.0:
        return Duty("start", "", "it failed to start, and nobody is primary")
    return Duty("")
