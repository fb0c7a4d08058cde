# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent does about who its server is: shows which data directory it has, has it stream under the node's name only while
it stands for that, and on the primary admits others. See observe/identity.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..data import incarnation
from ..errors import PgherdError
from ..objects import orders
from ..objects.identity import SETTING, admit, newcomer_name, renamed
from ..observe.identity import Admission, Marks, Row, admissions, may_take, newcomers, row_of
from ..observe.node_state import NodeState, Survey
from ..ports.here import Here
from ..ports.links import session
from ..ports.sql import Server, literal
from ..promotion.seal import lock, unlock

# Seconds from one look at the data directory itself to the next, while its server answers.
INTERVAL = 10.0


class IdentityDuty:
    """See the module."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._note: incarnation.Note | None = None
        self._checked = 0.0
        self._marks: Marks = {}
        self._row: Row = None
        self._fault = ""

    def away(self) -> None:
        """The server does not answer, or is worked on: what comes after it may be another directory."""
        self._note, self._marks, self._row = None, {}, None

    def tick(self, now: float, mine: NodeState, survey: Survey, primary: str) -> None:
        """Look at the running server *mine*, and mend. *primary* is the real one, '' for none. Raises nothing."""
        if mine.locked:
            return
        try:
            self._show(now, mine, survey, primary)
            if primary == mine.name and not mine.in_recovery:
                self._admit(mine, survey)
        except PgherdError as error:
            said = " ".join(str(error).split())
            if said != self._fault:
                self._here.say(f"identity: failed: {said}")
            self._fault = said
        else:
            self._fault = ""

    def _show(self, now: float, mine: NodeState, survey: Survey, primary: str) -> None:
        here = self._here
        if self._note is None or now - self._checked > INTERVAL:
            self._note, self._checked = incarnation.current(here.layout.data), now
        self._row = row_of(_as(self._note, mine), self._row)
        known = (mine.members or {}).get(here.me, "")
        if mine.in_recovery and known in self._note.past and known != self._note.id:
            # The swap was lost with the timeline that it stood on. What it replaced is as gone as it was.
            self._note = incarnation.again(here.layout.data, known)
        if self._note.replaces and self._may(self._note, mine, survey, primary):
            self._note = incarnation.taken(here.layout.data)
            here.say(f"identity: {self._note.id} stands for {here.me} now")
        own = self._note.shown
        new = here.me in newcomers(here.cluster, {**survey.states, here.me: _as(self._note, mine)})
        called = newcomer_name(here.me) if new else here.me
        # Without a primary there is nothing to stream from, and a promotion may be about to lock this node.
        renames = bool(primary) and mine.in_recovery and mine.has_upstream and mine.called != called
        says = (mine.incarnation, mine.replaces) != (own.id, own.replaces)
        if not says and not renames:
            return
        with session(here.links, here.me) as server:
            if says:
                server.run(f"ALTER SYSTEM SET {SETTING} = {literal(str(own))}")
            if renames:
                with _locked(here.me, server) as conninfo_:
                    if not conninfo_:
                        # Sealed since it was asked: whoever did that has it follow somebody again.
                        return
                    wanted = renamed(conninfo_, here.me, new)
                    orders.point(server, wanted)
                here.say(f"identity: {here.me} streams as {called}")
            else:
                orders.reload(server)

    def _may(self, note: incarnation.Note, mine: NodeState, survey: Survey, primary: str) -> bool:
        """Whether it may stand for its name: nobody else was ever admitted under it, or what was is replaced and enough others
        know. A primary is what all others are compared with."""
        if mine.members is None:
            return False
        known = mine.members.get(mine.name, "")
        if not mine.in_recovery:
            return known in ("", note.id)
        if not known:
            # The primary's table is the newest there is.
            theirs = survey.states.get(primary)
            return bool(theirs and theirs.members is not None and mine.name not in theirs.members)
        with_it = Survey({**survey.states, mine.name: _as(note, mine)}, survey.silent)
        return may_take(self._here.cluster, mine.name, with_it, primary, (note.timeline, note.upstream), self._row)

    def _admit(self, mine: NodeState, survey: Survey) -> None:
        here = self._here
        found, self._marks = admissions(here.cluster, here.me, survey, self._marks)
        if not found:
            return
        with session(here.links, here.me) as server:
            for one in found:
                admit(server, one.node, one.incarnation, one.old)
                here.say(_words(one))


def _as(note: incarnation.Note, mine: NodeState) -> NodeState:
    """What the running server *mine* is by the *note*, whatever it shows yet."""
    return replace(mine, incarnation=note.id, replaces=note.replaces)


def _words(one: Admission) -> str:
    tail = f" in the place of {one.old}" if one.old else ""
    return f"identity: {one.incarnation} is admitted as {one.node}{tail}"


@contextmanager
def _locked(name: str, server: Server) -> Iterator[str]:
    """Keep promotions off the node for a moment; its primary_conninfo. Raises Conflict while one is at work."""
    following = lock(name, server)
    try:
        yield following.conninfo
    finally:
        unlock(server)
