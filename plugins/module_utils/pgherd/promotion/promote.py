# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Promotion: lock, seal, compare, catch up, promote, repoint, record; in this order, and nothing in between is assumed.

repmgrd calls it through ``pgherd promote``, the agent when repmgrd does not, and a switchover once the old primary is
down. Whatever happens half-way, the locks end with this process, and the agents of the sealed nodes point them at the
primary that there is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from ..data.datadir import SIGNAL
from ..data.rejoin_marker import STOPPED, STRAY, mark
from ..data.twins import OWN
from ..errors import Busy, Conflict, PgherdError, Unreachable
from ..model import Cluster, int_to_lsn
from ..objects import orders
from ..observe.ask import LATE
from ..observe.identity import Confirmed, unfit
from ..observe.node_state import NodeState, Survey, ask
from ..observe.open_sessions import OpenSessions, counted, each
from ..ports.links import LIMIT, Links
from ..ports.sql import Server
from ..ports.wait import last_look
from ..programs.postgres import shortage
from ..programs.repmgr import streaming_conninfo
from . import seal as sealing
from .apart import of_other_history
from .election import LONG_AGO, Candidacy, ElectionVerdict, Missed, cannot_replay, decide, furthest
from .repoint import Repointing

T = TypeVar("T")
# repmgrd's promotion and the agent's own run in one process.
_ONE = threading.Lock()
Say = Callable[[str], None]

# Seconds: for catching up with one that is ahead; from one look at the locks to the next while PostgreSQL leaves recovery,
# and for all of that: it first replays all it has.
CATCH_UP, PROMOTE, REPLAY = 30.0, 5, 600.0


class Promotion:
    """One attempt to make *me* the primary in the place of *primary*. *confirmed*: see election.Candidacy."""

    def __init__(
        self, cluster: Cluster, me: str, primary: str, links: Links, say: Say, confirmed: Confirmed | None = None
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._primary = primary
        self._links = links
        self._say = say
        self._confirmed = confirmed or {}
        # Whom the last look at them found not to count, and who is not of this node's history.
        self._unfit: Collection[str] = ()
        self._apart: Collection[str] = ()
        self._accept_loss = False
        self._began = time.monotonic()
        self._sessions: OpenSessions | None = None
        self._servers: dict[str, Server] = {}
        # Whom the locked nodes followed.
        self._before: dict[str, sealing.Following] = {}
        #: Who did not answer in time when all were asked.
        self.late: list[str] = []
        #: Whether this node was stopped, since it has been promoted or might be at any moment, without its locks.
        self.withdrawn = False

    def run(
        self, handover: str = "", accept_loss: bool = False, patience: float = 0.0, missed: Missed = LONG_AGO
    ) -> None:
        """Do it. *patience*: seconds that the old primary has to answer, counted from the beginning; *missed*: by the agent.
        Raises Conflict when it is refused, with the reason, PgherdError when it failed; neither leaves this node promoted
        and followed."""
        if not _ONE.acquire(blocking=False):
            raise Busy(f"promote {self._me}", "another promotion in this process")
        try:
            verdict = self.consider(handover, accept_loss, patience, missed)
            self._accept_loss = accept_loss
            self._run(verdict, alive=bool(handover) or accept_loss)
        finally:
            _ONE.release()

    def _run(self, verdict: ElectionVerdict, alive: bool) -> None:
        """*alive*: whether the primary may be, and writable."""
        if not verdict.allowed:
            raise Conflict(f"promote {self._me}", "a safe promotion", verdict.why)
        try:
            sealed = self._seal(verdict)
            self._catch_up(sealed)
            directory = self._ready()
            self._holding(verdict, sealed)
            if not alive:
                self._not_back()
        except PgherdError as error:
            self._step("given up", " ".join(str(error).split()))
            self._let_go()
            raise
        self._promote(verdict, sealed, directory)
        pointed = [name for name, one in self._before.items() if one.conninfo and name not in self._apart]
        after = Repointing(self._cluster, self._me, self._primary, self._servers, self._step, pointed)
        after.repoint(sealed)
        after.record(sealed)

    def close(self) -> None:
        """End all sessions, and with them the locks."""
        if self._sessions:
            self._sessions.close()

    def wait_longer(self) -> None:
        """From the next sessions on, give the others twice the time."""
        self._links = self._links.patient()

    def prepare(self, back: bool = False) -> Survey:
        """Open the sessions on all but the primary beforehand, so that what comes later finds them open; on the primary too
        once it is *back* as a standby. What they say."""
        self.close()
        # With the sessions the locks of an attempt before have ended: what it held is not this one's to let go.
        self._before = {}
        names = [node.name for node in self._cluster.nodes if back or node.name != self._primary]
        self._sessions = OpenSessions(names, self._links)
        self._sessions.wait(names, self._links.limit)
        self._began = time.monotonic()
        return self._sessions.survey()

    def consider(
        self, handover: str = "", accept_loss: bool = False, patience: float = 0.0, missed: Missed = LONG_AGO
    ) -> ElectionVerdict:
        """Ask all nodes and decide; changes nothing."""
        if self._sessions:
            self._sessions.again(self._links.limit)
        else:
            others = [node.name for node in self._cluster.nodes if node.name != self._primary]
            self._sessions = OpenSessions([*others, *([self._primary] if self._primary else [])], self._links)
            self._sessions.wait(others, self._links.limit)
            if self._primary:
                # It may be a standby that is needed, and late like the others.
                self._sessions.wait([self._primary], patience if self._links.limit <= LIMIT else self._links.limit)
        self._servers, survey = self._sessions.servers, self._sessions.survey()
        self.late = [name for name, why in survey.silent.items() if why == LATE]
        self._step("connected", ", ".join(sorted(survey.states)))
        theirs = survey.states.get(self._primary)
        answers = f"on timeline {theirs.timeline}" if theirs and not theirs.in_recovery else ""
        # A listed primary that runs as a standby now is one of those to seal; another is not counted.
        back = theirs and theirs.in_recovery and self._primary in self._cluster.electable_names
        primary = "" if back else self._primary
        rest = survey.without(self._primary) if answers else survey
        short = self._short(survey.states.get(self._me))
        asked = Candidacy(self._me, primary, rest, answers, handover, accept_loss, missed, self._confirmed, short)
        verdict = decide(self._cluster, asked)
        self._unfit = verdict.unfit
        self._step("considered", verdict.why)
        return verdict

    def _short(self, mine: NodeState | None) -> str:
        """Which limits of this node keep it from replaying what it holds, '' while nothing does. Such a standby pauses, which a
        promotion does not end."""
        if not mine or not mine.replay_paused:
            return ""
        return shortage(mine.limits, self._links.least(self._servers[self._me]))

    def _not_back(self) -> None:
        """Raise Conflict when the primary has answered since it was waited for: a restart was only slower than that."""
        theirs = self._sessions.survey().states.get(self._primary) if self._sessions else None
        if theirs and not theirs.in_recovery:
            raise Conflict(f"promote {self._me}", "a primary that is gone", f"{self._primary}, which is back")

    def _step(self, what: str, words: str = "") -> None:
        passed = (time.monotonic() - self._began) * 1000
        self._say(f"promote: {what} after {passed:.0f} ms" + (f": {words}" if words else ""))

    def _each(
        self, names: Iterable[str], do: Callable[[str, Server], T], more: float = 0.0
    ) -> tuple[dict[str, T], dict[str, str]]:
        return each(self._servers, names, do, self._links.limit + more)

    def _seal(self, verdict: ElectionVerdict) -> dict[str, NodeState]:
        """Lock and seal; what the sealed nodes hold. Raises Conflict when there are fewer than needed."""
        refused = self._lock(verdict.seal)
        locked = list(self._before)
        self._step("locked", ", ".join(locked))
        if not self._enough(verdict, locked):
            raise Conflict(f"promote {self._me}", f"{verdict.needed} locked nodes", counted(locked, refused))
        standing, _why = self._each(locked, ask)
        promoted = [name for name, state in standing.items() if not state.in_recovery]
        if promoted:
            raise Conflict(
                f"promote {self._me}", "standbys only", f"{', '.join(promoted)}, which was promoted meanwhile"
            )
        stop = max(sealing.STOP, self._links.limit)
        sealed, failed = self._each(locked, partial(sealing.seal, stop=stop), stop)
        found = ", ".join(f"{name} at {state.timeline}:{int_to_lsn(state.position)}" for name, state in sealed.items())
        self._step("sealed", found)
        # What follows nobody any more cannot come to count, or not to.
        lone = [name for name in sealed if not self._before[name].conninfo]
        apart = of_other_history(self._me, sealed, lone, self._links)
        if apart:
            self._step("compared", ", ".join(apart.values()))
        if not verdict.needed:
            # Nobody counts. What could not be compared may be needed all the same, but this node must not take the others' place.
            apart = {name: words for name, words in apart.items() if OWN in words}
            if apart and self._me in lone and not self._accept_loss:
                raise Conflict(f"promote {self._me}", "a node of the others' history", "; ".join(apart.values()))
        self._apart = tuple(apart)
        why = {**unfit(self._cluster, sealed, self._confirmed), **apart}
        self._unfit, failed = tuple(why), {**failed, **why}
        if not self._enough(verdict, sealed):
            raise Conflict(f"promote {self._me}", f"{verdict.needed} sealed nodes", counted(list(sealed), failed))
        return {name: state for name, state in sealed.items() if name not in apart}

    def _lock(self, names: Sequence[str]) -> dict[str, str]:
        """Lock them; why some were not. The same one first for everybody: of two promotions at once, one goes on. Raises
        Conflict when another is at work on any: both might have enough without it."""

        def take(name: str, server: Server) -> sealing.Following | None:
            try:
                return sealing.lock(name, server)
            except Conflict:
                return None

        refused: dict[str, str] = {}
        first, *rest = sorted(names)
        for some in ([first], rest):
            taken, failed = self._each(some, take)
            refused.update(failed)
            self._before.update({name: following for name, following in taken.items() if following})
            theirs = [name for name, following in taken.items() if following is None]
            if theirs:
                raise Busy(f"promote {self._me}", f"a promotion on {', '.join(theirs)}")
        return refused

    def _enough(self, verdict: ElectionVerdict, names: Collection[str]) -> bool:
        """Whether *names* are what the verdict asks for: this node, and so many listed ones that count."""
        listed = [name for name in self._cluster.electable_names if name in names and name not in self._unfit]
        return len(listed) >= verdict.needed and self._me in names

    def _catch_up(self, sealed: dict[str, NodeState]) -> None:
        """Get what another sealed node holds beyond this one. Raises Unreachable when that takes too long."""
        best = furthest(self._cluster, self._me, sealed)
        if best == self._me:
            self._step("compared", f"nobody holds more than {self._me}")
            return
        mine, theirs = self._servers[self._me], sealed[best]
        node, source = self._cluster.node(self._me), self._cluster.node(best)
        self._step(
            "compared", f"{best} holds more ({theirs.timeline}:{int_to_lsn(theirs.position)}), which is fetched first"
        )
        orders.point(mine, streaming_conninfo(self._cluster, node, source), "")
        now = last_look(
            lambda: ask(self._me, mine), lambda state: state.reached >= theirs.reached, CATCH_UP, pause=0.02
        )
        if now.reached < theirs.reached:
            raise Unreachable(f"promote {self._me}: {best} is ahead and did not hand its WAL over in {CATCH_UP:g} s.")
        sealed[self._me] = sealing.seal(self._me, mine)
        self._step("caught up", f"{self._me} is at {now.timeline}:{int_to_lsn(now.position)}")

    def _ready(self) -> str:
        """Lift a fence that was left behind here, and let what follows take its time; the data directory."""
        mine = self._servers[self._me]
        orders.forget_read_only(mine)
        orders.reload(mine)
        # This session began before the reload.
        mine.run("SET default_transaction_read_only = off")
        mine.run("SET statement_timeout = 0")
        return str(mine.rows("SELECT current_setting('data_directory') AS directory")[0]["directory"])

    def _promote(self, verdict: ElectionVerdict, sealed: Mapping[str, NodeState], directory: str) -> None:
        """Promote, holding the locks from before to after. A node that was let go meanwhile may have followed the old
        primary again: then this one stops, followed by nobody. Raises PgherdError."""
        mine, deadline = self._servers[self._me], time.monotonic() + REPLAY
        query = f"SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, {PROMOTE}) ELSE true END AS done"
        try:
            while not mine.rows(query)[0]["done"]:
                self._holding(verdict, sealed)
                short = self._short(ask(self._me, mine))
                if short:
                    raise Unreachable(f"promote {self._me}: {cannot_replay(self._me, short)}.")
                if time.monotonic() > deadline:
                    raise Unreachable(f"promote {self._me}: PostgreSQL has not left recovery within {REPLAY:g} s.")
            self._step("promoted")
            self._holding(verdict, sealed)
        except PgherdError as error:
            self._withdraw(directory, " ".join(str(error).split()))
            raise

    def _withdraw(self, directory: str, why: str) -> None:
        """Stop this node: it has been promoted, or still may be at any moment, and others may have gone on without it. A
        timeline that it has begun must never be taken for a newer truth: such data are cloned anew."""
        self.withdrawn = True
        self._step("stopping", why)
        self._note(STRAY)
        self._links.stop()
        if os.path.exists(os.path.join(directory, SIGNAL)):
            self._note(f"{STOPPED} before it was promoted")

    def _note(self, text: str) -> None:
        try:
            mark(text)
        except OSError as error:
            self._step("not marked", f"{text}: {error.strerror}")

    def _holding(self, verdict: ElectionVerdict, sealed: Mapping[str, NodeState]) -> None:
        holding, why = self._each(list(sealed), sealing.still_locked)
        kept = [name for name, held in holding.items() if held]
        if not self._enough(verdict, kept):
            raise Conflict(f"promote {self._me}", f"{verdict.needed} nodes locked throughout", counted(kept, why))

    def _let_go(self) -> None:
        """Let the locked nodes follow whom they followed."""

        def back(name: str, server: Server) -> None:
            following = self._before[name]
            if not ask(name, server).in_recovery:
                return
            orders.point(server, following.conninfo, following.slot)

        done, failed = self._each([name for name, following in self._before.items() if following.conninfo], back)
        self._step("let go", counted(list(done), failed))
