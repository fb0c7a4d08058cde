# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which of the nodes that run outside recovery is the primary: one rule for agents, pgpools, status, playbooks and modules. Pure.

Readers know different things: an agent sees whose answers are fresh, the status what standbys say themselves, a playbook only
what hosts hold. Each gives decide() what it has. docs/safety.md argues it under "Which primary is real".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Optional

from ..errors import Conflict
from ..model import Cluster, aliases
from ..quorum import acknowledgers, majority, voters
from .node_state import Survey
from .tracker import Tracker, primaries

# How many of whom have to confirm a commit, as parse_sync_names() has it; 0 where nobody has to.
Needed = tuple[int, tuple[str, ...]]


@dataclass(frozen=True)
class Shown:
    """What one data node says, as far as it matters here. *upstream*: the node that it streams from now. Of one that is
    *writable*, which is outside recovery: *behind* are those that are seen to stream from it directly, and *needed* each number
    and names by which it may acknowledge commits, as far as is known: its own setting, the description of whoever looks."""

    name: str
    timeline: int
    system_id: str
    writable: bool = False
    upstream: str = ""
    behind: tuple[str, ...] = ()
    needed: tuple[Needed, ...] = ()

    @property
    def acknowledges(self) -> Optional[bool]:
        """Whether so many are behind it that no promotion can have sealed enough; None where that depends on which of the numbers
        counts."""
        found = {0 < number <= len({*self.behind} & {*names}) for number, names in self.needed}
        return None if len(found) > 1 else True in found

    @property
    def backed(self) -> int:
        """How many of those that may confirm its commits are behind it."""
        return len({name for _number, names in self.needed for name in names} & {*self.behind})


@dataclass(frozen=True)
class Finding:
    """*name* is the primary, '' where nobody is, for the reason *why*. *tied*: who comes first alike, where that is why.
    *newest*: the newest timeline of the cluster that counts. *stale*: nodes that another has succeeded: they are writable, on an
    older timeline, and unable to acknowledge. *doubted*: those of which that is not known, since the numbers differ."""

    name: str = ""
    why: str = ""
    tied: tuple[str, ...] = ()
    newest: int = 0
    stale: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()


def decide(
    answers: Iterable[Shown], system_id: str = "", newest: int = 0, listed: Optional[Collection[str]] = None
) -> Finding:
    """The primary of the cluster *system_id* ('': of the one that most nodes hold) by the *answers* of data nodes.

    One that is sure to be able to acknowledge commits comes first. Else the newest timeline does, and only where no standby
    that answers is on a newer one, none was seen before (*newest*), and nobody else may be able to acknowledge. Of several that
    come first alike it is the one that no other has more followers than, nor more of those that may confirm, and that has more of
    either than each; else nobody is.
    *listed*: the standbys whose timeline counts, None for all.
    """
    said = tuple(answers)
    ours = system_id or most_held(one.system_id for one in said)
    same = [one for one in said if ours and one.system_id == ours]
    counted = [one.timeline for one in same if one.writable or listed is None or one.name in listed]
    newest = max([newest, *counted])
    stale = tuple(one.name for one in said if one.writable and one.timeline < newest and one.acknowledges is False)
    doubted = tuple(one.name for one in same if one.writable and one.acknowledges is None)
    unknown = Finding(newest=newest, stale=stale, doubted=doubted)
    if not ours and said:
        return replace(unknown, why="as many nodes hold one cluster as another")
    claimants = [one for one in same if one.writable]
    if not claimants:
        return replace(unknown, why="no node of the cluster that answers runs outside recovery")
    first = max(map(_rank, claimants))
    alike = [one for one in claimants if _rank(one) == first]
    names, sure = tuple(one.name for one in alike), first[0]
    if not sure and first[1] < newest:
        are = "is" if len(names) == 1 else "are"
        return replace(unknown, why=f"{' and '.join(names)} {are} on timeline {first[1]}, and there is {newest}")
    best = alike[0] if len(alike) == 1 else _most_followed(alike, same)
    if best is None:
        return replace(unknown, why=f"nothing tells {' and '.join(names)} apart", tied=names)
    others = [name for name in doubted if name != best.name]
    if not sure and others:
        return replace(unknown, why=f"{', '.join(others)} may be able to acknowledge commits beside {best.name}")
    return replace(unknown, name=best.name)


def _rank(one: Shown) -> tuple[bool, int]:
    return one.acknowledges is True, one.timeline


def _most_followed(alike: Iterable[Shown], said: Iterable[Shown]) -> Optional[Shown]:
    """The one of which no other has more followers, or more behind it of those that may confirm, and which has more of either
    than each other; None else."""
    below = _followers(said)

    def held(one: Shown) -> tuple[int, int]:
        return below.get(one.name, 0), one.backed

    best, *others = sorted(alike, key=held, reverse=True)
    good = all(held(best) != held(one) and best.backed >= one.backed for one in others)
    return best if good else None


def _followers(said: Iterable[Shown]) -> dict[str, int]:
    """By node how many stream from it, directly or through others."""
    upstream = {one.name: one.upstream for one in said}
    found: Counter[str] = Counter()
    for name in upstream:
        seen, above = {name}, upstream[name]
        while above and above not in seen:
            found[above] += 1
            seen.add(above)
            above = upstream.get(above, "")
    return dict(found)


def most_held(system_ids: Iterable[str]) -> str:
    """The system identifier that most nodes have; '' on a tie, which cannot be told, and for none. Neither a timeline nor
    followers count here: another cluster's server may have more of both."""
    counted = Counter(system_ids).most_common(2)
    return "" if not counted or (len(counted) > 1 and counted[0][1] == counted[1][1]) else counted[0][0]


def seen_primary(cluster: Cluster, tracker: Tracker, now: float, survey: Survey, system_id: str) -> Finding:
    """The primary for an agent, which has looked again and again: behind one are the listed standbys that have answered it
    lately. Only listed standbys' timelines count: a standby that is none may have followed a promotion that was withdrawn, and
    agents have to find the primary again after that."""
    behind = {name: tracker.backed(now, name) for name, state in survey.states.items() if not state.in_recovery}
    return decide(_answers(cluster, survey, behind), system_id, listed=cluster.electable_names)


def only_primary(cluster: Cluster, survey: Survey, attempted: str, leaving: str = "") -> str:
    """The one node that runs outside recovery, which is the primary too. Raises Conflict for what is *attempted* where there is
    another number of them, or it was left behind; a standby that is *leaving* says nothing of that. Behind it are the standbys
    that say so themselves: one look does not show whose answers are fresh."""
    found = primaries(cluster, survey, "")
    if len(found) != 1:
        names = " and ".join(state.name for state in found)
        raise Conflict(attempted, "one primary", names or "none that answers", "See: pgherd status")
    (mine,) = found
    rest = survey if mine.name == leaving else survey.without(leaving)
    verdict = decide(_answers(cluster, rest), mine.system_id, listed=cluster.electable_names)
    if not verdict.name:
        raise Conflict(attempted, "one primary", verdict.why, "See: pgherd status")
    return verdict.name


def acknowledging(cluster: Cluster, survey: Survey) -> tuple[str, ...]:
    """Who runs outside recovery and acknowledges commits, by the standbys that say themselves that they stream from it: the
    primary, on whatever timeline another is."""
    return tuple(one.name for one in _answers(cluster, survey) if one.writable and one.acknowledges)


def _answers(cluster: Cluster, survey: Survey, behind: Mapping[str, tuple[str, ...]] | None = None) -> list[Shown]:
    """What data nodes say in *survey*; *behind* each primary are those, or who says so itself."""
    states = {name: state for name, state in survey.states.items() if cluster.node(name).kind == "postgres"}
    upstream = {name: cluster.node_at(one.upstream) if one.streaming else "" for name, one in states.items()}
    found = []
    for name, state in states.items():
        streams = tuple(one for one, above in upstream.items() if above == name)
        needed = (acknowledgers(cluster), voters(cluster, name))
        one = Shown(name, state.timeline, state.system_id, not state.in_recovery, upstream[name])
        mine = streams if behind is None else behind.get(name, ())
        found.append(one if state.in_recovery else replace(one, behind=mine, needed=(needed,)))
    return found


def enough(cluster: Cluster, backed: Mapping[str, object] | tuple[str, ...], answering: int) -> bool:
    """Whether a primary may go on: W standbys behind it, or under async durability a majority of all nodes."""
    needed = acknowledgers(cluster)
    return len(backed) >= needed if needed else answering >= majority(cluster)


def chain(cluster: Cluster, survey: Survey, name: str) -> str:
    """The node at the head of the streams that *name* follows; '' where the chain is broken or a circle."""
    names = {alias: node.name for node in cluster.nodes for alias in aliases(node)}
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        state = survey.states.get(name)
        if state is None:
            return ""
        if not state.in_recovery:
            return name
        name = names.get(state.upstream, state.upstream) if state.streaming else ""
        if name and name not in names.values():
            return ""
    return ""
