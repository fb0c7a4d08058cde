# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether the data here run elsewhere at this moment: a volume that another machine still has, or a copy of one. Asked before a
start, when whatever streams as this node is another server.

A stream shows whose it is only by its name. But a name stands for one incarnation, that which is admitted under it: who streams
as *me* while the others' table has the incarnation that lies here has the same. What a server that died has left at the other
end looks like a stream too, for as long as that end does not notice. So a stream counts when it is seen to live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..model import Cluster
from ..observe.node_state import Survey
from ..observe.tracker import FRESH

# Answers of a stream that were sent by one that has died may still arrive; not one after the other.
ANSWERS = 2
# Seconds for which a node has to receive from a server of this name: its receiver ends at once when that dies with a word, and a
# machine that dies without one is not there again so soon.
LASTS = 3.0
# What a node that receives shows; one that sends shows when it was answered last.
RECEIVES = ""


@dataclass(frozen=True)
class Sign:
    """What a node showed first at the time *since*, and then *answers* times anew, last at *changed*; *mark* is the last."""

    mark: str
    since: float
    changed: float
    answers: int = 0


def shown(cluster: Cluster, me: str, own: str, survey: Survey) -> dict[str, str]:
    """By node what it shows of a server that is *me* with the incarnation *own*, in whichever direction that streams."""
    found = {}
    for name, state in survey.states.items():
        if name == me or not own or (state.members or {}).get(me) != own:
            continue
        if me in state.senders:
            found[name] = state.senders[me]
        elif state.streaming and cluster.node_at(state.upstream) == me:
            found[name] = RECEIVES
    return found


def signs(found: Mapping[str, str], before: Mapping[str, Sign], now: float) -> dict[str, Sign]:
    """What is known when that was *found* now, and what was known *before*."""
    known = {}
    for name, mark in found.items():
        last = before.get(name)
        if last is None or (last.mark == RECEIVES) != (mark == RECEIVES):
            known[name] = Sign(mark, now, now)
        else:
            new = mark != last.mark
            known[name] = Sign(mark, last.since, now if new else last.changed, last.answers + new)
    return known


def living(known: Mapping[str, Sign], now: float) -> tuple[str, ...]:
    """The nodes that have seen it live."""
    return tuple(
        name
        for name, sign in known.items()
        if (now - sign.since >= LASTS if sign.mark == RECEIVES else sign.answers >= ANSWERS)
    )


def undecided(known: Mapping[str, Sign], now: float) -> bool:
    """Whether it may yet be seen to."""
    return any(sign.mark == RECEIVES or now - sign.changed < FRESH for sign in known.values())
