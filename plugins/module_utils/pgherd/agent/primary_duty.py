# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent does about a server that runs as primary: it fences it, and has it give way to another."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..data import datadir
from ..data.postmaster import HEAR, HEAR_ASKED, kill_postmaster, stop_postmaster
from ..data.rejoin_marker import STOPPED, mark, unmark
from ..duties import fence, successor
from ..duties.standby import AGAIN
from ..errors import Conflict
from ..nodes.rejoin import Rejoin
from ..observe.node_state import ASKING, NodeState, Survey
from ..observe.primary import enough, seen_primary
from ..observe.tracker import Tracker
from ..ports.here import Here
from ..ports.services import POSTGRES
from ..quorum import voters
from .fencing import END, OPEN, READY, REST, SHUT, Fencing
from .seen import NO_VERDICT
from .work import Work

# What a verdict is to the fence.
FENCES = {"fence": SHUT, "lift": OPEN}


@dataclass(frozen=True)
class Outlook:
    """What was found about a primary: the *verdict*, the *rival* that it is demoted for ('' also where there are several, and
    nothing tells which is the primary), the *successor* that asks it to stop for a switchover, whether it has what it needs to
    go on (*good*), whether it is fenced and has not (*shut*), and how many listed standbys are *connected* to it."""

    verdict: fence.FenceVerdict = NO_VERDICT
    rival: str = ""
    successor: str = ""
    good: bool = True
    shut: bool = False
    connected: int = 0


class PrimaryDuty:
    """See the module. A look and an act are apart: what was found is shown to others before anything is done about it."""

    def __init__(self, here: Here, tracker: Tracker, work: Work) -> None:
        #: Whether no other node has anything of these data, where a record says that.
        self.unshared: Callable[[], bool] = lambda: False
        self._here = here
        self._tracker = tracker
        self._work = work
        self._fencing = Fencing(here)
        self._written: str | None = None
        self._refused = ""

    @property
    def fencing(self) -> Fencing:
        """How it is fenced."""
        return self._fencing

    def look(self, now: float, mine: NodeState, survey: Survey) -> Outlook:
        """What to do about *mine*, which is no standby."""
        here, tracker = self._here, self._tracker
        backed = tracker.backed(now, here.me)
        good = enough(here.cluster, backed, len(survey.states))
        other = seen_primary(here.cluster, tracker, now, survey.without(here.me), mine.system_id)
        # It gives way to any of several that are alike, and then follows none of them.
        rival = survey.states.get(next((name for name in (other.name, *other.tied) if name), ""))
        stands = mine.wal_waits and mine.write_lsn == self._written
        self._written = mine.write_lsn
        seen = fence.Primary(
            here.me,
            mine.timeline,
            mine.read_only,
            backed,
            tracker.lasts("alone", now, not good),
            tracker.lasts("together", now, good),
            rival.name if rival else "",
            rival.timeline if rival else 0,
            len(tracker.backed(now, rival.name)) if rival else 0,
            len(survey.states),
            bool(mine.locked),
            self._left_behind(mine, survey),
            tracker.lasts("stalled", now, stands),
            self.unshared()
            and not {node.name for node in here.cluster.data_nodes} & set(survey.without(here.me).states),
        )
        to = self._asked_by(mine)
        if to and not self._work.name:
            return Outlook(fence.FenceVerdict(fence.BELOW_RIVAL, f"to {to}, which was asked for"), successor=to)
        verdict = fence.decide(here.cluster, seen)
        connected = len(set(mine.senders) & set(voters(here.cluster, here.me)))
        return Outlook(verdict, other.name, good=good, shut=mine.read_only and not good, connected=connected)

    def act(self, found: Outlook) -> None:
        """Do it. Raises nothing: what fails is said."""
        if found.successor:
            self._work.decide("switchover", f"switchover: stops for {found.successor}")
            self._work.begin("switchover", lambda: self._give(found.successor))
            return
        verdict = found.verdict
        if verdict.action not in FENCES:
            self._fencing.want(END if found.shut else REST if found.good else READY, found.connected)
        if not verdict.action or (verdict.action in fence.DEMOTIONS and self._work.name):
            return
        if verdict.action == fence.STALLED_DISK and self._work.since("demote", time.monotonic()) < AGAIN:
            return
        if verdict.action in FENCES:
            if self._fencing.want(FENCES[verdict.action], found.connected):
                self._work.decide(verdict.action, f"{verdict.action}: {verdict.why}")
            return
        said = verdict.action if verdict.action not in fence.DEMOTIONS else "demote"
        self._work.decide(said, f"{said}: {verdict.why}")
        if verdict.action == fence.BELOW_RIVAL and found.rival:
            self._work.begin("rejoin", lambda: Rejoin(self._here).run(found.rival))
        elif verdict.action in (fence.BELOW_RIVAL, fence.LEFT_BEHIND):
            self._work.begin("demote", lambda: self._give(""))
        elif verdict.action == fence.STALLED_DISK:
            self._work.begin("demote", self._be_killed)

    def _asked_by(self, mine: NodeState) -> str:
        """Who asks this primary to stop for a switchover; '' for nobody, and for one that may not take its place."""
        here, asked = self._here, mine.stop_asked
        to = asked[len(ASKING) :] if asked.startswith(ASKING) else ""
        if to in here.cluster.electable_names and to != here.me:
            return to
        if asked and asked != self._refused:
            here.say(f"switchover: refused: {asked!r} asks for it, and names no other node that may become primary")
        self._refused = asked
        return ""

    def _left_behind(self, mine: NodeState, survey: Survey) -> str:
        """A listed standby that is on a newer timeline than this primary; '' for none."""
        return next(
            (
                name
                for name, state in survey.states.items()
                if name in self._here.cluster.electable_names
                and state.in_recovery
                and state.system_id == mine.system_id
                and state.timeline > mine.timeline
            ),
            "",
        )

    def _be_killed(self) -> None:
        """Kill the server here: one that waits for a dead disk ignores a clean stop. Once none listens, another is elected."""
        here = self._here
        hindrance = successor.hindrance(here.cluster, here.me, here.links)
        if hindrance:
            raise Conflict(f"leave the role of {here.me} to another", "one that can take it", hindrance)
        here.say("demote: another can take its place; its postmaster is killed")
        kill_postmaster(here.layout.data)

    def _give(self, to: str) -> None:
        """Stop the primary, and start it as a standby of nobody yet: it is let follow *to*, or whoever is primary, when its
        WAL has been compared (see data/diverged.py)."""
        here = self._here
        mark(f"{STOPPED} to come back below {to or 'whoever is primary'}")
        if not stop_postmaster(here.layout.data, 20.0, HEAR_ASKED if to else HEAR):
            here.say(f"{here.me} does not stop; its postmaster is killed")
            kill_postmaster(here.layout.data)
        here.services.stop(POSTGRES, timeout=60.0)
        datadir.make_standby(here.layout.data, "", here.node.slot if here.cluster.replication_slots else "")
        unmark()
        here.services.start(POSTGRES)
