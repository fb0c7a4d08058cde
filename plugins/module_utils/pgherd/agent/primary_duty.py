# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent does about a server that runs as primary: it fences it, and has it give way to another."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import Conflict, PgherdError
from ..failover import datadir, fence, resign
from ..failover.handover import END_SESSIONS
from ..failover.links import each, session
from ..failover.memory import enough, real_primary
from ..failover.postmaster import kill_postmaster, stop_postmaster
from ..failover.standby import AGAIN
from ..failover.voice import ASKING, Round, Voice
from ..model import SYSTEM_ROLES
from ..nodes.mark import STOPPED, mark, unmark
from ..ports.sql import Server
from .seen import NO_VERDICT
from .work import Here, Work


@dataclass(frozen=True)
class Outlook:
    """What was found about a primary: the *verdict*, the *rival* that it yields to, the *heir* that asks it to stop for a
    switchover, and whether it is fenced and still has no standbys (*shut*)."""

    verdict: fence.Verdict = NO_VERDICT
    rival: str = ""
    heir: str = ""
    shut: bool = False


class PrimaryDuty:
    """See the module. A look and an act are apart: what was found is shown to others before anything is done about it."""

    def __init__(self, here: Here, work: Work) -> None:
        self._here = here
        self._work = work
        self._written: str | None = None

    def look(self, now: float, mine: Voice, round_: Round) -> Outlook:
        """What to do about *mine*, which is no standby."""
        here, memory = self._here, self._here.memory
        backed = memory.backed(now, here.me)
        good = enough(here.cluster, backed, len(round_.voices))
        rival = real_primary(here.cluster, memory, now, round_.without(here.me), mine.system_id)
        stands = mine.wal_waits and mine.write_lsn == self._written
        self._written = mine.write_lsn
        seen = fence.Primary(
            here.me,
            mine.timeline,
            mine.read_only,
            backed,
            memory.lasts("alone", now, not good),
            memory.lasts("together", now, good),
            rival.name if rival else "",
            rival.timeline if rival else 0,
            len(memory.backed(now, rival.name)) if rival else 0,
            len(round_.voices),
            bool(mine.locked),
            self._left_behind(mine, round_),
            memory.lasts("stalled", now, stands),
        )
        if mine.stop_asked.startswith(ASKING) and not self._work.name:
            heir = mine.stop_asked[len(ASKING) :]
            return Outlook(fence.Verdict("yield", f"to {heir}, which was asked for"), heir=heir)
        verdict = fence.decide(here.cluster, seen)
        return Outlook(verdict, seen.rival, shut=mine.read_only and not good)

    def act(self, found: Outlook) -> None:
        """Do it. Raises nothing: what fails is said."""
        if found.heir:
            self._work.decide("switchover", f"switchover: stops for {found.heir}")
            self._work.begin("switchover", lambda: self._give(found.heir))
            return
        if found.shut:
            self._end_sessions()
        verdict = found.verdict
        if not verdict.action or (verdict.action in ("yield", "retire", "resign") and self._work.name):
            return
        if verdict.action == "resign" and self._work.since("resign", time.monotonic()) < AGAIN:
            return
        self._work.decide(verdict.action, f"{verdict.action}: {verdict.why}")
        if verdict.action == "yield":
            self._work.begin("rejoin", lambda: self._here.come_back(found.rival))
        elif verdict.action == "retire":
            self._work.begin("retire", lambda: self._give(""))
        elif verdict.action == "resign":
            self._work.begin("resign", self._resign)
        elif verdict.action in ("fence", "lift"):
            self._fence(verdict.action == "fence")

    def _left_behind(self, mine: Voice, round_: Round) -> str:
        """A listed standby that is on a newer timeline than this primary; '' for none."""
        return next(
            (
                name
                for name, voice in round_.voices.items()
                if name in self._here.cluster.electable_names
                and voice.in_recovery
                and voice.system_id == mine.system_id
                and voice.timeline > mine.timeline
            ),
            "",
        )

    def _fence(self, shut: bool) -> None:
        """Refuse writes and end all clients' sessions, or let them in again."""
        here = self._here

        def write(_name: str, server: Server) -> bool:
            server.run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if shut else 'off'}")
            server.run("SELECT pg_reload_conf()")
            return True

        try:
            with session(here.links, here.me) as server:
                _done, failed = each({here.me: server}, [here.me], write, fence.STANDS)
        except PgherdError as error:
            failed = {here.me: " ".join(str(error).split())}
        if failed:
            here.say(f"fence: failed: {failed[here.me]}")
            if shut:
                # Its disk is full, or stands still. A server that cannot be told to refuse writes must not go on taking them.
                kill_postmaster(here.directory)
        elif shut:
            self._end_sessions()

    def _end_sessions(self) -> None:
        try:
            with session(self._here.links, self._here.me) as server:
                ended = server.rows(END_SESSIONS, (list(SYSTEM_ROLES),))
        except PgherdError as error:
            self._here.say(f"fence: sessions were not ended: {' '.join(str(error).split())}")
        else:
            if ended[0]["ended"]:
                self._here.say(f"fence: {ended[0]['ended']} sessions ended")

    def _resign(self) -> None:
        """Be killed: what waits for a dead disk cannot be stopped, and once no server listens here another is elected."""
        here = self._here
        hindrance = resign.hindrance(here.cluster, here.me, here.links)
        if hindrance:
            raise Conflict(f"leave the role of {here.me} to another", "one that can take it", hindrance)
        here.say("resign: another can take its place; its postmaster is killed")
        kill_postmaster(here.directory)

    def _give(self, heir: str) -> None:
        """Stop the primary, and start it as a standby of nobody yet: it is let follow *heir*, or whoever is primary, when its
        WAL has been compared (see failover/diverged.py)."""
        here = self._here
        mark(f"{STOPPED} to come back below {heir or 'whoever is primary'}")
        if not stop_postmaster(here.directory, 20.0):
            kill_postmaster(here.directory)
        here.service.stop(here.unit, timeout=60.0)
        datadir.make_standby(here.directory, "", here.node.slot if here.cluster.replication_slots else "")
        unmark()
        here.service.start(here.unit)
