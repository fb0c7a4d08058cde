# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Having the WAL of the standby here compared with a primary's, beside the looks."""

from __future__ import annotations

from ..data.twins import Served, parted
from ..duties.standby import AGAIN
from ..observe.node_state import NodeState
from ..ports.here import Here
from ..ports.links import session
from .work import Work

# Seconds for which one counts for a standby that gets on, streaming from a third node.
FRESH = 10.0


class Comparison:
    """The last one, and the next. See twins.py."""

    def __init__(self, here: Here, work: Work) -> None:
        self._here = here
        self._work = work
        self._at = float("-inf")
        self._asked = "", 0
        # By primary, timeline and position why the WAL here is another's, '' where it is that primary's.
        self._found: tuple[tuple[str, int, int], str] = (("", 0, 0), "")

    def parted(self, now: float, mine: NodeState, theirs: NodeState) -> bool | None:
        """Whether it has WAL of its own on a timeline of which the primary *theirs* has one too; None while it is not known."""
        if not mine.settled:
            return None
        which = (theirs.name, mine.timeline, mine.position)
        known = self._found[0]
        fresh = mine.streaming and known[:2] == which[:2] and now - self._at < FRESH
        if known != which and not fresh:
            if not self._work.name and (now - self._at >= AGAIN or self._asked != which[:2]):
                self._at, self._asked = now, which[:2]
                self._work.begin("compare", lambda: self._see(which, theirs.timeline))
            return None
        return bool(self._found[1])

    def own(self, mine: NodeState, primary: str) -> str:
        """Why the WAL here is none of *primary*'s, '' for that of the one with which it was compared last; '' where it is, or is
        other WAL by now."""
        (asked, *compared), why = self._found
        return why if compared == [mine.timeline, mine.position] and primary in ("", asked) else ""

    def _see(self, which: tuple[str, int, int], now: int) -> None:
        """*now*: the timeline that the primary is on."""
        primary, timeline, position = which
        with session(self._here.links, self._here.me) as mine, session(self._here.links, primary) as server:
            self._found = (which, parted(position, timeline, Served(mine), server, now))
