# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent does about a server that runs as standby, or does not run: has it follow, come back, start, be elected."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from ..errors import PgherdError
from ..failover import datadir, standby, wal
from ..failover.command import SECOND_OPINION, last_primary
from ..failover.diverged import diverged, history_of
from ..failover.election import Missed, rank
from ..failover.links import session
from ..failover.memory import chain
from ..failover.promote import Promotion
from ..failover.seal import make_slot, move
from ..failover.voice import Round, Voice, node_at
from ..nodes.mark import marked, unmark
from ..programs.repmgr import streaming_conninfo
from .work import Here, Work

# Seconds from one look at a silent unit to the next.
UNIT = 1.0


class StandbyDuty:
    """See the module."""

    def __init__(self, here: Here, work: Work) -> None:
        self._here = here
        self._work = work
        self._unit_at = float("-inf")
        self._unit = self._primary = ""
        self._since = 0.0
        self._segment, self._segment_since, self._waiting = "", 0.0, 0.0
        self._history: tuple[str, int, dict[int, int]] = ("", 0, {})

    def run(self, now: float, mine: Voice, round_: Round, primary: str) -> None:
        """Look at the standby *mine*, and begin what it needs. *primary* is the real one, '' for none."""
        here, lasts = self._here, self._here.memory.lasts
        self._segment = ""  # it answers: recovery has got on
        theirs = round_.voices.get(primary)
        others = round_.without(here.me)  # a stream that comes through this node is none to follow
        heads = {name: chain(here.cluster, others, name) for name in others.voices}
        wanted = standby.wanted_upstream(here.cluster, here.me, primary, heads) if primary else ""
        head = chain(here.cluster, round_, here.me)
        free = mine.sealed and not mine.locked
        follows = bool(primary) and not mine.locked and not mine.sealed
        astray = follows and head != primary
        pointed_at = node_at(here.cluster, mine.pointed_at)
        upstream = pointed_at if astray else ""
        away = follows and head == primary and wanted not in (primary, pointed_at)
        seen = standby.Standby(
            here.me,
            mine,
            primary,
            head,
            upstream,
            wanted,
            lasts("sealed", now, free),
            lasts("lost", now, astray),
            lasts("stuck", now, astray and upstream == wanted and not mine.streaming),
            lasts("leaderless", now, not primary and not mine.locked),
            lasts("away", now, away),
            self._hung(now, primary, round_),
            rank(here.cluster, here.me, round_),
            here.me in here.cluster.electable_names,
            not primary or standby.may_follow(here.cluster, here.me, primary, round_),
            bool(theirs and theirs.timeline > mine.timeline),
            self._diverged(mine, theirs),
            bool(primary) and pointed_at == primary,
        )
        self._do(now, standby.decide(seen), seen.leaderless or seen.hung)

    def down(self, now: float, primary: str) -> None:
        """The same for a server that does not answer."""
        here = self._here
        if now - self._unit_at >= UNIT:
            self._unit_at = now
            self._unit = here.service.state(here.unit)
            self._waiting = self._waits(now, primary)
        seen = standby.Down(
            here.me,
            self._unit,
            primary,
            marked(),
            here.memory.lasts("down", now, True),
            self._waiting,
        )
        self._do(now, standby.decide_down(seen))

    def _waits(self, now: float, primary: str) -> float:
        """For how many seconds the recovery here has been at one and the same WAL segment that it does not get; 0.0 where it
        may just be slow."""
        found, waits = wal.recovering(self._here.directory) if self._unit == "activating" else ("", False)
        if not found or found != self._segment:
            self._segment, self._segment_since = found, now
        lasting = now - self._segment_since
        return lasting if waits or (primary and lasting >= standby.WAITING and self._gone(primary, found)) else 0.0

    def _gone(self, primary: str, name: str) -> bool:
        """Whether *primary* says that it no longer has the segment *name*."""
        try:
            with session(self._here.links, primary) as server:
                theirs = wal.held(server)
        except PgherdError:
            return False
        return wal.segment(name, theirs.size) < theirs.oldest

    def _hung(self, now: float, primary: str, round_: Round) -> float:
        """standby.hung(), no longer than this primary has been it: before, another was tried."""
        if primary != self._primary:
            self._primary, self._since = primary, now
        return min(standby.hung(self._here.cluster, primary, round_), now - self._since) if primary else 0.0

    def _diverged(self, mine: Voice, theirs: Voice | None) -> bool | None:
        """Whether it has WAL that the primary's history has not, which is read once; None while that is not known."""
        if theirs is None or mine.timeline >= theirs.timeline:
            return False
        if not mine.settled:
            return None
        if self._history[:2] != (theirs.name, theirs.timeline):
            try:
                with session(self._here.links, theirs.name) as server:
                    self._history = (theirs.name, theirs.timeline, history_of(server, theirs.timeline))
            except PgherdError:
                return None
        return diverged(mine, self._history[2])

    def _do(self, now: float, duty: standby.Duty, gone: float = 0.0) -> None:
        if not duty.action or self._work.name or self._work.since(duty.action, now) < standby.AGAIN:
            return
        jobs: dict[str, Callable[[], None]] = {
            "follow": lambda: self._follow(duty.target),
            "rejoin": lambda: self._here.come_back(duty.target),
            "elect": lambda: self._elect(gone),
            "start": self._start,
        }
        target = f" {duty.target}" if duty.target else ""
        self._work.decide(duty.action, f"{duty.action}{target}: {duty.why}")
        self._work.begin(duty.action, jobs[duty.action])

    def _follow(self, target: str) -> None:
        here, slot = self._here, self._here.node.slot if self._here.cluster.replication_slots else ""
        if slot:
            with session(here.links, target) as server:
                make_slot(server, slot)
        wanted = streaming_conninfo(here.cluster, here.node, here.cluster.node(target))
        with session(here.links, here.me) as server:
            move(here.me, server, wanted, slot)

    def _start(self) -> None:
        """Start as a standby that waits for a primary; the guard has the last word."""
        if marked():
            datadir.make_standby(self._here.directory, "", "")
            unmark()
        self._here.service.start(self._here.unit)

    def _elect(self, gone: float) -> None:
        here = self._here
        # An agent that has been started since has not seen it.
        primary = here.memory.primary or last_primary(here.cluster, here.me, here.links)
        with closing(Promotion(here.cluster, here.me, primary, here.links, here.say)) as promotion:
            missed = Missed(gone, here.memory.heard(time.monotonic(), primary))
            promotion.run(patience=SECOND_OPINION, missed=missed)
