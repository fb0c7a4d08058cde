# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a standby, or a node whose PostgreSQL is down, has to do about itself. Pure.

repmgrd comes first: it elects and has standbys follow within some five seconds. These duties are for what it leaves
undone: cancelled elections, orphans, sealed nodes whose promoter died, nodes that come back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..data.rejoin_marker import STOPPED
from ..model import Cluster, aliases
from ..observe.identity import newcomers
from ..observe.node_state import NodeState, Survey
from ..ports import services
from ..quorum import seals_needed, voters

# Seconds: a seal without its lock and a standby without a stream are left to repmgrd for so long; one that is pointed
# right and does not stream has then tried several times.
UNSEAL, OFF_PRIMARY, NO_STREAM = 2.0, 6.0, 6.0
# Seconds without any primary after which the first in rank tries a promotion, and how much later the next in rank. A break
# of three seconds is over by then, with half a second for the next look. The promotion's own questions are the second
# opinion, and its locks keep it apart from repmgrd's.
ELECT, RANK = 3.5, 2.0
# Seconds for which no repmgrd has got a new session on a primary whose old sessions answer: its postmaster hangs, while
# its senders go on. repmgrd elects nobody then, since each node finds that the others have received more.
HUNG = 10.0
# Seconds that a recovery may wait for one WAL segment before it is looked at whether anybody still has it.
WAITING = 20.0
# Seconds for which enough others must have streamed from a primary on an older timeline before a standby on a newer one is taken
# for a stray: their answers count as fresh for half of it (tracker.FRESH).
STRAY = 5.0
# Seconds for which the upstream by design must have been there again before a standby goes back to it.
OFF_DESIGN = 60.0
# Seconds from one attempt to the next; where one that did not help is made again, and from one start that failed to another.
AGAIN, LATER = 5.0, 15.0
# Seconds after which a server that failed to start is started again.
FAILED = 10.0


@dataclass(frozen=True)
class Standby:
    """*primary* is the real one ('' for none seen). *head* is where its chain of streams ends. *upstream* is whom it is
    pointed at, *wanted* whom it should follow. The rest are seconds: sealed and without a lock, without a stream to the
    primary, pointed at *wanted* and yet without a stream, without any primary, streaming from another than its upstream by
    design, which is there; *hung*: see hung(). *rank* among the electable ones. *safe*: see may_follow(). *newer*: the primary
    is on a newer timeline. *diverged*: see diverged.py, None while that is not known; *pointed*: whether it is pointed at
    *primary* itself. *useless*: why its data cannot stream any more, '' while nothing tells that; *words*: what its log says
    of the stream that it does not have. *own*: see twins.py."""

    me: str
    state: NodeState
    primary: str
    head: str
    upstream: str
    wanted: str
    sealed: float = 0.0
    off_primary: float = 0.0
    no_stream: float = 0.0
    leaderless: float = 0.0
    off_design: float = 0.0
    hung: float = 0.0
    rank: int = 0
    electable: bool = True
    safe: bool = True
    newer: bool = False
    diverged: bool | None = False
    pointed: bool = False
    useless: str = ""
    words: str = ""
    own: str = ""


@dataclass(frozen=True)
class Duty:
    """*action*: ``follow``, ``rejoin``, ``elect``, ``start`` or '' for none; *target* is whom to follow. *useless*: why the
    data cannot be used and have to be cloned, where that is known. *again*: seconds from one attempt to the next."""

    action: str
    target: str = ""
    why: str = ""
    useless: str = ""
    again: float = AGAIN


def decide(seen: Standby) -> Duty:
    """What a running standby has to do now."""
    if seen.state.locked:
        return Duty("")
    if not seen.primary:
        late = seen.electable and seen.leaderless >= ELECT + RANK * seen.rank
        why = f"no primary for {seen.leaderless:.0f} s, and {seen.rank} before it in rank"
        return Duty("elect", "", why) if late else Duty("")
    if seen.state.sealed:
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
        back = f"its upstream by design has been there again for {seen.off_design:.0f} s"
        return Duty("follow", seen.wanted, back) if seen.off_design >= OFF_DESIGN else Duty("")
    if seen.no_stream >= NO_STREAM:
        return _unstick(seen)
    if seen.off_primary >= OFF_PRIMARY and seen.upstream != seen.wanted:
        found = f"its stream leads to {seen.head}" if seen.head else "it has no stream"
        return _join(seen, f"{found} for {seen.off_primary:.0f} s, and {seen.primary} is primary")
    return Duty("")


def _unstick(seen: Standby) -> Duty:
    """A server that runs and has no stream has a reason of its own, which a copy of all its data would not mend: it is pointed
    there again, which makes its slot too. Only data that can never stream are cloned."""
    why = f"pointed at {seen.wanted} and without a stream for {seen.no_stream:.0f} s"
    if seen.useless:
        return Duty("rejoin", seen.primary, f"{why}: {seen.useless}", seen.useless)
    return Duty("follow", seen.wanted, f"{why}: {seen.words or 'its log does not say why'}", again=LATER)


def _join(seen: Standby, why: str) -> Duty:
    """Follow, or come back where the data do not fit: a standby with other WAL would confirm commits that it does not have."""
    if seen.diverged:
        if seen.own:
            # By the numbers of their timelines they go together: nothing rewinds that.
            return Duty("rejoin", seen.primary, f"{why}; {seen.own}", seen.own)
        return Duty("rejoin", seen.primary, f"{why}; it has WAL that {seen.primary}'s history has not")
    if seen.diverged is None:
        return Duty("")
    return Duty("follow", seen.wanted, why)


def hung(cluster: Cluster, primary: str, survey: Survey) -> float:
    """For how many seconds no repmgrd has reached *primary*, which they all try by a new session every second; 0.0 where
    none can tell. It is a suspicion: the promotion asks the primary itself."""
    node = cluster.node(primary)
    names = aliases(node)
    ages = [
        state.upstream_seen_age
        for state in survey.states.values()
        if state.in_recovery and state.repmgrd and state.upstream_seen_age >= 0 and state.upstream in names
    ]
    return float(min(ages, default=0))


def may_follow(cluster: Cluster, me: str, primary: str, survey: Survey) -> bool:
    """Whether a sealed node may follow *primary*: one on a newer timeline than its own at any time; the one that it was
    sealed from only while the nodes that do not show otherwise are too few to have been part of a promotion."""
    states = survey.states
    if states[primary].timeline > states[me].timeline:
        return True
    others = [name for name in voters(cluster, primary) if name != me]
    strange = newcomers(cluster, states)
    suspects = {
        name
        for name in others
        if name not in states or states[name].locked or not states[name].in_recovery or name in strange
    }
    sealed = {name for name in others if name in states and states[name].sealed}
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
    """A node whose PostgreSQL does not answer here. *state*: its service's (ports/services.py). *unfinished*: the note (mark.py)
    of a rejoin that was interrupted. *for_seconds* it has been so; *waiting*: seconds for which its recovery has been at one
    and the same WAL segment that it does not get. *words*: why it failed to start, in its own; *useless*: why no start will
    mend that, '' while nothing tells so."""

    me: str
    state: str
    primary: str
    unfinished: str = ""
    for_seconds: float = 0.0
    waiting: float = 0.0
    words: str = ""
    useless: str = ""


def decide_down(seen: Down) -> Duty:
    """What to do about a server that does not run. One that a person has stopped is left alone. One that fails to start is
    started again, as what it is: the guard decides that, and only broken data are worth a copy."""
    if seen.unfinished and seen.primary:
        return Duty("rejoin", seen.primary, "an earlier attempt to come back was interrupted")
    if seen.unfinished.startswith(STOPPED) and seen.for_seconds >= 10.0:
        return Duty("start", "", "it was stopped to come back, and nobody is primary: its data may be needed")
    if seen.primary and seen.waiting >= WAITING:
        return Duty("rejoin", seen.primary, f"its recovery has waited for WAL for {seen.waiting:.0f} s")
    if seen.primary and seen.useless and not seen.unfinished and seen.for_seconds >= 2.0:
        return Duty("rejoin", seen.primary, f"it does not start: {seen.useless}", seen.useless)
    # What is half-way must not be started: the guard refuses it, and that is why its service has failed.
    if seen.unfinished or seen.state != services.FAILED:
        return Duty("")
    if seen.for_seconds >= FAILED:
        return Duty("start", "", f"it failed to start: {seen.words or 'its log does not say why'}", again=LATER)
    return Duty("")
