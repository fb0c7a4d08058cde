# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which labels a data node's pod has, by which services find it: from what its agent answers, as a load balancer is answered.
Pure.

What is not known is no: a pod whose agent says nothing has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

ROLE, READ = "pgherd.io/role", "pgherd.io/read"
PRIMARY, STANDBY = "primary", "standby"
TRUE = "true"

# Seconds for which an agent that says nothing may be only busy: a label that comes and goes is worse than one that is late.
PATIENCE = 3.0
# Seconds from one look at the agent to the next; and for a time while this pod has no role, since it may be promoted just then.
LOOK, BRISK, BRISKLY = 0.5, 0.1, 30.0

# By label its value; None for none.
Labels = Mapping[str, Optional[str]]


@dataclass(frozen=True)
class AgentAnswers:
    """What the agent said last to /primary and to /replica, as JSON; None where it did not in time."""

    primary: Mapping[str, Any] | None = None
    replica: Mapping[str, Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether it has answered; what a primary says to /replica is known."""
        return self.is_primary or None not in (self.primary, self.replica)

    @property
    def is_primary(self) -> bool:
        """Whether the node may acknowledge writes."""
        return bool(self.primary and self.primary.get("ok") is True)

    @property
    def is_standby(self) -> bool:
        """Whether it streams from the primary."""
        return self.is_read and bool(self.replica and self.replica.get("streams") is True)

    @property
    def is_read(self) -> bool:
        """Whether it is a standby to be read from: also one that keeps its place while there is no primary."""
        return bool(self.replica and self.replica.get("ok") is True)


def wanted(said: AgentAnswers) -> dict[str, str | None]:
    """The labels of this pod. Where no standby streams, the primary is read from; where there is no primary, standbys are."""
    if said.is_primary and said.primary is not None:
        return {ROLE: PRIMARY, READ: None if said.primary.get("standbys") else TRUE}
    if said.is_standby:
        return {ROLE: STANDBY, READ: TRUE}
    return {ROLE: None, READ: TRUE if said.is_read else None}


def waited_for(said: AgentAnswers, silent: float) -> bool:
    """Whether nothing is done yet about an agent that has *said* this and not all that it was asked for *silent* seconds."""
    return not said.whole and silent < PATIENCE


def pause(without: float) -> float:
    """Seconds until the next look at an agent that has said for *without* seconds that its node has no role."""
    return BRISK if 0 < without < BRISKLY else LOOK


def real_primary(me: str, said: AgentAnswers) -> str:
    """Who is the primary by the agent of *me*; '' where it sees none, or does not say."""
    if said.is_primary:
        return me
    for answer in (said.primary, said.replica):
        if answer and answer.get("primary"):
            return str(answer["primary"])
    return ""


def differing(found: Mapping[str, str], labels: Labels) -> dict[str, str | None]:
    """What of *labels* is to be changed in a pod that has the labels *found*, as a merge patch has it."""
    return {key: value for key, value in labels.items() if found.get(key) != value}


def is_stale(name: str, primary: str, found: Mapping[str, str]) -> bool:
    """Whether the pod called *name*, with the labels *found*, is called the primary though *primary* is it."""
    return bool(primary) and name != primary and found.get(ROLE) == PRIMARY


def last_role(known: str | None, before: Labels, after: Labels) -> str | None:
    """The role that this pod had last when its labels are changed to *after*, by the one *known* until then; a pod that has none
    had that. Another pod's agent may have taken a label away, so what was known counts before what is found."""
    return after.get(ROLE) or known or before.get(ROLE)


def event(before: Labels, after: Labels, name: str, last: str | None = None) -> tuple[str, str] | None:
    """What there is to tell of a change of this pod's labels: a reason and a sentence; None for nothing. *last*: the role that it
    had last, as far as is known; a former primary has none for a while before it is a standby."""
    was, now = before.get(ROLE), after.get(ROLE)
    if was == now:
        return None
    if now == PRIMARY:
        return "BecamePrimary", f"{name} is the primary now"
    if now == STANDBY and PRIMARY in (was, last):
        return "Rejoined", f"{name}, which was the primary, streams from the primary now"
    if now == STANDBY:
        return "BecameStandby", f"{name} streams from the primary now"
    return "LeftService", f"{name} is neither the primary nor a standby that streams; it was {was}"
