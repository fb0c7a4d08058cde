# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent does about a server that runs as standby, or does not run: has it follow, come back, start, be elected."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import closing

from ..data import datadir, last_words, wal
from ..data.diverged import diverged, history_of
from ..data.foreign_wal import foreign
from ..data.rejoin_marker import marked, unmark
from ..data.unfinished import size, whole
from ..duties import standby
from ..errors import PgherdError
from ..model import lsn_to_int
from ..nodes.rejoin import Rejoin
from ..objects.identity import renamed
from ..objects.orders import make_slot
from ..observe.identity import newcomers
from ..observe.node_state import NodeState, Survey
from ..observe.primary import chain
from ..observe.tracker import Tracker
from ..ports.here import Here
from ..ports.links import session
from ..ports.services import FAILED, POSTGRES, STARTING
from ..programs.repmgr import streaming_conninfo
from ..promotion.command import SECOND_OPINION, last_primary
from ..promotion.election import Missed, rank
from ..promotion.promote import Promotion
from ..promotion.seal import move
from ..quorum import acknowledgers
from .comparison import Comparison
from .work import Work

# Seconds from one look at a silent service to the next, and from one look into why a server does not stream.
STATE, EXAMINE = 1.0, 10.0
# Without these there is nothing to start.
NEEDED = ("PG_VERSION", "global/pg_control")


class StandbyDuty:
    """See the module."""

    def __init__(self, here: Here, tracker: Tracker, work: Work) -> None:
        self._here = here
        self._tracker = tracker
        self._work = work
        self._state_at = float("-inf")
        self._state = self._primary = ""
        self._since = 0.0
        self._segment, self._segment_since, self._waiting = "", 0.0, 0.0
        self._history: tuple[str, int, dict[int, int]] = ("", 0, {})
        self._useless = self._words = ""
        self._examined = float("-inf")
        self._comparison = Comparison(here, work)
        self._new = False
        # How the nodes are reached for an election.
        self._elects = here.links

    @property
    def words(self) -> str:
        """Why the server here does not run, or does not stream, in its own words; or what is in the way of a copy that it needs;
        '' where all is well."""
        return self._work.refused or self._words

    def run(self, now: float, mine: NodeState, survey: Survey, primary: str) -> None:
        """Look at the standby *mine*, and begin what it needs. *primary* is the real one, '' for none."""
        here, lasts = self._here, self._tracker.lasts
        self._segment = ""  # it answers: recovery has got on
        theirs = survey.states.get(primary)
        others = survey.without(here.me)  # a stream that comes through this node is none to follow
        heads = {name: chain(here.cluster, others, name) for name in others.states}
        wanted = standby.wanted_upstream(here.cluster, here.me, primary, heads) if primary else ""
        head = chain(here.cluster, survey, here.me)
        free = mine.sealed and not mine.locked
        follows = bool(primary) and not mine.locked and not mine.sealed
        off_primary = follows and head != primary
        pointed_at = here.cluster.node_at(mine.pointed_at)
        upstream = pointed_at if off_primary else ""
        off_design = follows and head == primary and wanted not in (primary, pointed_at)
        no_stream = lasts(
            "no_stream", now, off_primary and upstream == wanted and not mine.streaming and not mine.told_to_wait
        )
        self._examine(now, mine, primary, wanted, no_stream)
        sealed, off = lasts("sealed", now, free), lasts("off_primary", now, off_primary)
        # Before it is pointed anywhere.
        newer = bool(theirs and theirs.timeline > mine.timeline)
        due = sealed >= standby.UNSEAL or off >= standby.OFF_PRIMARY or (free and newer)
        strange = newcomers(here.cluster, survey.states)
        diverged_ = self._diverged(now, mine, theirs, due)
        own = self._comparison.own(mine, primary)
        seen = standby.Standby(
            me=here.me,
            state=mine,
            primary=primary,
            head=head,
            upstream=upstream,
            wanted=wanted,
            sealed=sealed,
            off_primary=off,
            no_stream=no_stream,
            leaderless=lasts("leaderless", now, not primary and not mine.locked),
            off_design=lasts("off_design", now, off_design),
            hung=self._hung(now, primary, survey),
            rank=rank(here.cluster, here.me, survey),
            electable=here.me in here.cluster.electable_names and here.me not in strange and not own,
            safe=not primary or standby.may_follow(here.cluster, here.me, primary, survey),
            newer=newer,
            diverged=diverged_,
            pointed=bool(primary) and pointed_at == primary,
            useless=self._useless,
            words=self._words,
            own=own,
        )
        self._new = here.me in strange
        if primary and head == primary:
            self._work.refused = ""
        if primary:
            self._elects = here.links
        self._do(now, standby.decide(seen), seen.leaderless or seen.hung, survey.states)

    def down(self, now: float, primary: str) -> None:
        """The same for a server that does not answer."""
        here = self._here
        self._tracker.lasts("stray", now, False)
        if now - self._state_at >= STATE:
            self._state_at = now
            self._state = here.services.state(POSTGRES)
            self._waiting = self._waits(now, primary)
            self._why(now, primary)
        seen = standby.Down(
            here.me,
            self._state,
            primary,
            marked(),
            self._tracker.lasts("down", now, True),
            self._waiting,
            self._words,
            self._useless,
        )
        self._do(now, standby.decide_down(seen))

    def _why(self, now: float, primary: str) -> None:
        """See why the server here does not start: by its log where it failed, by its WAL where its recovery gets nowhere."""
        here, failed = self._here, self._state == FAILED
        self._words = last_words.said(here.layout) if failed else ""
        stands = self._state == STARTING and self._segment and now - self._segment_since >= standby.WAITING
        if failed:
            self._useless = self._broken()
        elif not stands:
            self._useless = ""
        elif primary and not self._work.name and now - self._examined >= EXAMINE:
            self._examined = now
            self._work.begin("examine", lambda: self._compare(primary))

    def _compare(self, primary: str) -> None:
        self._useless = self._foreign(primary)

    def _foreign(self, primary: str) -> str:
        """Why the WAL here is not the primary's at all; '' where it is."""
        here = self._here
        local = datadir.local(here.layout, here.runner)
        with session(here.links, primary) as server:
            return foreign(here.layout, local, server, here.runner)

    def _broken(self) -> str:
        """Why no start will mend the data here; '' where nothing says so."""
        data = self._here.layout.data
        try:
            missing = [name for name in NEEDED if size(data, name) < 0]
            if missing or not whole(data):
                return f"there is no {missing[0] if missing else 'whole global/pg_control'} in {data}"
        except PgherdError:
            # What cannot be seen may be whole; the server's own words say what to mend.
            return ""
        return self._words if last_words.broken(self._words) else ""

    def _examine(self, now: float, mine: NodeState, primary: str, wanted: str, no_stream: float) -> None:
        """Have it found out beside the looks why a server that runs does not stream."""
        if no_stream < standby.NO_STREAM:
            self._useless = self._words = ""
            return
        if not self._work.name and now - self._examined >= EXAMINE:
            self._examined = now
            self._work.begin("examine", lambda: self._look_into_it(mine, primary, wanted))

    def _look_into_it(self, mine: NodeState, primary: str, wanted: str) -> None:
        self._words = last_words.said(self._here.layout)
        # Set once: a look meanwhile must not find that there is nothing against it any more.
        self._useless = self._foreign(primary) or self._misses(mine, wanted)

    def _misses(self, mine: NodeState, wanted: str) -> str:
        """What WAL it waits for that *wanted* no longer has; '' for none."""
        if not mine.wants_wal:
            # What it still has to replay the primary need not have any more.
            return ""
        with session(self._here.links, wanted) as server:
            theirs = wal.available_wal(server)
        if lsn_to_int(mine.replay_lsn or "0/0") // theirs.size >= theirs.oldest:
            return ""
        return f"it needs WAL from {mine.replay_lsn} on, and {wanted} no longer has that"

    def _waits(self, now: float, primary: str) -> float:
        """For how many seconds the recovery here has been at one and the same WAL segment that it does not get; 0.0 where it
        may just be slow."""
        found, waits = wal.recovering(self._here.layout.data) if self._state == STARTING else ("", False)
        if not found or found != self._segment:
            self._segment, self._segment_since = found, now
        lasting = now - self._segment_since
        return lasting if waits or (primary and lasting >= standby.WAITING and self._gone(primary, found)) else 0.0

    def _gone(self, primary: str, name: str) -> bool:
        """Whether *primary* says that it no longer has the segment *name*."""
        try:
            with session(self._here.links, primary) as server:
                theirs = wal.available_wal(server)
        except PgherdError:
            return False
        return wal.segment(name, theirs.size) < theirs.oldest

    def _hung(self, now: float, primary: str, survey: Survey) -> float:
        """standby.hung(), no longer than this primary has been it: before, another was tried."""
        if primary != self._primary:
            self._primary, self._since = primary, now
        return min(standby.hung(self._here.cluster, primary, survey), now - self._since) if primary else 0.0

    def _without_me(self, now: float, mine: NodeState, theirs: NodeState | None) -> bool:
        """Whether so many others follow a primary on an older timeline that no promotion can have sealed: the newer timeline is a
        stray's then."""
        if theirs is None or mine.timeline <= theirs.timeline:
            return False
        needed = acknowledgers(self._here.cluster)
        return 0 < needed <= len({*self._tracker.backed(now, theirs.name)} - {mine.name})

    def _diverged(self, now: float, mine: NodeState, theirs: NodeState | None, due: bool = False) -> bool | None:
        """Whether it has WAL that the primary's history has not, which is read once; None while that is not known. Where the
        numbers of their timelines do not tell, that is compared where it is *due*."""
        stray = self._without_me(now, mine, theirs)
        lasted = self._tracker.lasts("stray", now, stray) >= standby.STRAY
        if theirs is None:
            return False
        if mine.timeline == theirs.timeline:
            return due and self._comparison.parted(now, mine, theirs)
        if not mine.settled:
            return None
        if mine.timeline > theirs.timeline:
            return (lasted or None) if stray else False
        if self._history[:2] != (theirs.name, theirs.timeline):
            try:
                with session(self._here.links, theirs.name) as server:
                    self._history = (theirs.name, theirs.timeline, history_of(server, theirs.timeline))
            except PgherdError:
                return None
        return diverged(mine, self._history[2]) or (due and self._comparison.parted(now, mine, theirs))

    def _do(self, now: float, duty: standby.Duty, gone: float = 0.0, heard: Collection[str] = ()) -> None:
        if not duty.action or self._work.name or self._work.since(duty.action, now) < duty.again:
            return
        jobs: dict[str, Callable[[], object]] = {
            "follow": lambda: self._follow(duty.target),
            "rejoin": lambda: Rejoin(self._here).run(duty.target, duty.useless),
            "elect": lambda: self._elect(gone, heard),
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
        wanted = renamed(streaming_conninfo(here.cluster, here.node, here.cluster.node(target)), here.me, self._new)
        with session(here.links, here.me) as server:
            move(here.me, server, wanted, slot)

    def _start(self) -> None:
        """Start as a standby that waits for a primary; the guard has the last word."""
        if marked():
            datadir.make_standby(self._here.layout.data, "", "")
            unmark()
        self._here.services.start(POSTGRES)

    def _elect(self, gone: float, heard: Collection[str]) -> None:
        """Try a promotion. One that came to nothing since nodes were late who had just been *heard*, by a session that is open,
        is given twice the time at the next attempt: on a busy machine all of them would fail."""
        here = self._here
        # An agent that has been started since has not seen it.
        primary = self._tracker.primary or last_primary(here.cluster, here.me, here.links)
        known = dict(self._tracker.confirmed)
        with closing(Promotion(here.cluster, here.me, primary, self._elects, here.say, known)) as promotion:
            missed = Missed(gone, self._tracker.heard(time.monotonic(), primary))
            try:
                promotion.run(patience=SECOND_OPINION, missed=missed)
            except PgherdError:
                self._elects = self._elects.patient() if set(promotion.late) & set(heard) else here.links
                raise
