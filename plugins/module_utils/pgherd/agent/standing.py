# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node has shown of itself as a follower, look by look; reads.py says what follows from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..model import Cluster
from ..observe.node_state import NodeState, Survey
from ..observe.primary import chain

# Seconds from one look to the next after which this process stood still: what it missed may have been a primary.
STILL = 4.0


@dataclass(frozen=True)
class Standing:
    """What looks have shown of a node as a follower. *primary* was seen at the last look, at *at* (monotonic seconds), and
    without a break since *since*. *astray*: for how many seconds it has seen a primary and not followed it, since it last did;
    infinite where it never did, or has been the primary itself since."""

    at: float = 0.0
    primary: str = ""
    since: float = 0.0
    astray: float = float("inf")

    def look(self, at: float, primary: str, head: str, mine: NodeState | None) -> Standing:
        """The same after one more look, which saw *primary* ('' for none), *mine* (None: it did not answer), and its chain of
        streams end at *head* ('' where it is broken). While no primary is seen nothing tells that one is not followed."""
        after = replace(self, at=at, primary=primary, since=self.since if primary == self.primary else at)
        if mine and not mine.in_recovery:
            return replace(after, astray=float("inf"))
        if primary and mine and head == primary:
            return replace(after, astray=0.0)
        passed = at - self.at
        return replace(after, astray=self.astray + passed) if primary or passed > STILL else after

    @property
    def seen_for(self) -> float:
        """For how many seconds the primary has been seen, or nobody has."""
        return self.at - self.since


def head_of(cluster: Cluster, survey: Survey, me: str) -> str:
    """The node from which what *me* serves comes now; '' for none, as for who was told to follow nobody."""
    mine = survey.states.get(me)
    return "" if mine is None or mine.sealed else chain(cluster, survey, me)
