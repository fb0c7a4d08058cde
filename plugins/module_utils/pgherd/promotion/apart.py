# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which sealed nodes are not of the candidate's history: a twin may wait for its clone while the primary dies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from ..data.twins import Served, parted
from ..observe.ask import LATE
from ..observe.gather import gather
from ..observe.node_state import NodeState
from ..ports.links import Links, session

# Seconds more than a question takes that reading and summing up the end of the WAL may take.
READ = 5.0


def of_other_history(me: str, sealed: Mapping[str, NodeState], lone: Collection[str], links: Links) -> dict[str, str]:
    """Of which of the *sealed* nodes the WAL and that of *me* are not of one history, and why. That is asked where one of the two
    is *lone*, following nobody before it was sealed: what followed somebody was compared before it was pointed there. What
    cannot be compared in the time that *links* give and READ seconds is named too. By sessions of its own: those of the
    promotion hold its locks, and must not wait for a late answer."""

    def compare(name: str) -> str:
        less, more = sorted((sealed[me], sealed[name]), key=lambda state: state.reached)
        with session(links, less.name) as one, session(links, more.name) as other:
            return parted(less.position, less.timeline, Served(one), other, more.timeline)

    asked = {name: partial(compare, name) for name in sealed if name != me and (name in lone or me in lone)}
    done, failed = gather(asked, links.limit + READ)
    why = {**dict.fromkeys(asked, LATE), **failed, **done}
    return {name: f"{name} and {me} are not of one history ({words})" for name, words in why.items() if words}
