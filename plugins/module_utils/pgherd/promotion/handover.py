# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Switchover: the primary is fenced and stops, the target has all its WAL and is promoted. No node needs a shell on another.

All of it runs on the target, through SQL; only the old primary's own agent can stop it, and does when it is asked by a
lock. Whatever breaks off half-way ends with this process' locks: the old primary lifts its fence, or, once it is down,
the agents elect.

That a session on the old primary broke shows no more than that: it may be the network. So a promotion seals R others as
ever, or else the old primary itself is waited for: one that answers as a standby is sealed and counted like any other.

Under async durability no seal keeps a primary from acknowledging: one that does not stop stays primary, and only itself as a
standby shows that the target has all that it ever acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

from ..errors import Conflict, PgherdError, SqlError, Unreachable
from ..model import Cluster, int_to_lsn, lsn_to_int
from ..objects.identity import sender_names
from ..objects.orders import end_sessions, set_read_only
from ..observe.node_state import ASKING, SENDERS, STOP_LOCK, ask
from ..observe.tracker import primaries
from ..ports.links import Links, says, session
from ..ports.sql import Server
from ..ports.wait import last_look, until
from ..quorum import acknowledgers
from . import seal as sealing
from .choice import counts_itself, too_few
from .promote import Promotion

# Seconds: for the target to have all WAL, for the old primary to stop, to answer as a standby, to stream from the new one.
CATCH_UP, STOP, STANDBY, RETURN = 10.0, 10.0, 60.0, 90.0
# Seconds for which a promotion that failed is tried again: the old primary is down, and one answer may only have been late.
TRIES = 30.0
# Seconds for the shutdown's last record to arrive.
LAST = 1.0
# Seconds from one attempt to the next.
PAUSE = 0.5
# Seconds from the lock to the fence: the old primary's agent looks twice a second, and twenty times once it has seen the
# lock, so it is asked to stop when it looks often.
ALERT = 0.6
# Seconds from one FLUSH to the next, while readers go on.
AGAIN = 0.2

# Senders send what is flushed. What nobody commits (a reader's hint bits and pruning) is flushed up to the last whole page, and
# on a fenced primary nobody commits any more: this does, by a role of no special rights and in a read-only transaction too.
FLUSH = "SELECT pg_logical_emit_message(true, 'pgherd', '')"


class Handover:
    """Makes *me*, a standby of *primary*, the primary in its place."""

    def __init__(self, cluster: Cluster, me: str, primary: str, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._me = me
        self._primary = primary
        self._links = links
        # For sessions of its own: nothing is gained by a quick refusal, and much lost by one half-way.
        self._own = links.patient().patient()
        self._say = say
        self._began = time.monotonic()
        # Whether the old primary has to be sealed too: too few answer besides it, or no standby had to confirm what it has
        # acknowledged.
        self._counts = self._async = not acknowledgers(cluster)

    def run(self) -> None:
        """Do it. Raises PgherdError; the primary then is whoever it was, or is elected."""
        attempt = Promotion(self._cluster, self._me, self._primary, self._links, self._say)
        with closing(attempt), session(self._own, self._me) as mine:
            # It holds no lock, and a checkpoint may take long.
            mine.run("SET idle_session_timeout = 0")
            with ExitStack() as held:
                with session(self._own, self._primary) as theirs:
                    stopped = self._demote(theirs, mine, attempt, held)
                self._step(f"{self._primary} {'is down' if stopped else 'is fenced, but does not stop'}")
                if stopped and self._counts:
                    self._await_standby(mine)
                    attempt.prepare(back=True)
            self._promote(attempt, stopped)
        self._step(f"{self._me} is primary")
        self._await_return()

    def _promote(self, attempt: Promotion, stopped: bool) -> None:
        """Promote this node. Once nobody is primary any more an attempt that failed is made again, unless somebody is by then:
        the agents elect as well. Raises PgherdError, the last attempt's."""
        deadline = time.monotonic() + TRIES
        while failed := _attempt(attempt, stopped):
            if not stopped or attempt.withdrawn or time.monotonic() > deadline:
                raise failed
            self._step(f"tried again, since it failed: {' '.join(str(failed).split())}")
            time.sleep(PAUSE)
            attempt.wait_longer()
            found = [state.name for state in primaries(self._cluster, attempt.prepare(back=True), "")]
            if found == [self._me]:
                return
            if found:
                raise failed

    def _demote(self, theirs: Server, mine: Server, attempt: Promotion, held: ExitStack) -> bool:
        """Prepare all that takes time, fence the primary, get its last WAL, and have it stopped; whether it stopped. Agents elect
        nobody meanwhile, until *held* is closed."""
        theirs.run(f"SET application_name = '{ASKING}{self._me}'")
        sealing.lock(self._primary, theirs)
        locked = time.monotonic()
        theirs.run("SET statement_timeout = 0")
        theirs.run("CHECKPOINT")
        survey = attempt.prepare()
        self._step(f"{self._primary} is locked, and has written its checkpoint")
        short = too_few(self._cluster, survey, self._primary)
        if short:
            raise Conflict(f"switch over to {self._me}", "enough standbys", short.rstrip("."))
        self._counts = self._async or counts_itself(self._cluster, survey, self._primary)
        time.sleep(max(0.0, locked + ALERT - time.monotonic()))
        try:
            self._fence(theirs, True)
            final = self._drained(theirs, mine)
        except PgherdError:
            self._fence(theirs, False)
            raise
        self._step(f"{self._me} has all WAL, to {final}")
        self._hold_off(held)
        stopped = self._stop(theirs, mine)
        if not stopped and self._counts:
            self._fence(theirs, False)
            short = "without it too few nodes answer for a promotion"
            if self._async:
                short = "commits that it still acknowledges would be lost"
            raise Unreachable(
                f"switch over to {self._me}: {self._primary} has not stopped within {STOP:g} s, and {short}.",
                f"See what the log of the agent on {self._primary} says.",
            )
        return stopped

    def _hold_off(self, held: ExitStack) -> None:
        """Have no agent elect anybody while the old primary goes down and comes back: it has as much WAL as this node then, and
        its own agent would take it for as good. One that is at work already is met by the promotion."""
        with suppress(PgherdError):
            sealing.lock(self._me, held.enter_context(session(self._own, self._me)))

    def _step(self, words: str) -> None:
        self._say(f"switchover: after {(time.monotonic() - self._began) * 1000:.0f} ms: {words}")

    def _fence(self, theirs: Server, shut: bool) -> None:
        set_read_only(theirs, shut)
        if shut:
            self._step(f"{self._primary} is fenced, {end_sessions(theirs)} sessions ended")

    def _drained(self, theirs: Server, mine: Server) -> str:
        """Wait until this node has all that the fenced primary has written; up to where. Raises Unreachable."""
        deadline, flush = time.monotonic() + CATCH_UP, 0.0
        while True:
            if time.monotonic() >= flush:
                theirs.run(FLUSH)
                flush = time.monotonic() + AGAIN
            final = theirs.rows("SELECT pg_current_wal_insert_lsn()::text AS lsn")[0]["lsn"]
            found = ask(self._me, mine)
            if found.position >= lsn_to_int(final):
                return str(final)
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"switch over to {self._me}: it is at {int_to_lsn(found.position)}, and {self._primary} at {final} after "
                    f"{CATCH_UP:g} s."
                )
            time.sleep(0.005)

    def _stop(self, theirs: Server, mine: Server) -> bool:
        """Ask the old primary's agent to stop it; whether its sessions broke in time. This node's WAL receiver then ends
        when it has the last record; it is not waited for long, since only a rewind is spared by it."""
        theirs.rows(f"SELECT pg_try_advisory_lock({STOP_LOCK}) AS taken")

        def broken() -> bool:
            try:
                theirs.rows("SELECT 1 AS alive")
            except (Unreachable, SqlError):
                return True
            return False

        if not last_look(broken, bool, STOP, 0.01):
            return False
        last_look(lambda: ask(self._me, mine).streaming, lambda streaming: not streaming, LAST, 0.01)
        return True

    def _await_standby(self, mine: Server) -> None:
        """Wait until the old primary answers as a standby, and this node has all its WAL: it streams what is missing from there.
        Raises Unreachable."""

        def spent(theirs: Server) -> bool:
            found = ask(self._primary, theirs)
            return found.in_recovery and found.settled and ask(self._me, mine).reached >= found.reached

        until(
            lambda: says(self._own, self._primary, spent),
            STANDBY,
            f"switch over to {self._me}: {self._primary} has stopped, is needed for a safe promotion, and does not answer as a "
            "standby whose WAL is here",
            f"Start PostgreSQL on {self._primary}; the agents elect when it answers.",
        )
        self._step(f"{self._primary} is a standby, and counts as one")

    def _await_return(self) -> None:
        """Wait until the old primary streams from here. Raises Unreachable."""
        query = f"SELECT 1 FROM {SENDERS} s WHERE application_name = ANY(%s) AND state = 'streaming' AND trusted"  # noqa: S608
        names = sender_names(self._primary)
        until(
            lambda: says(self._own, self._me, lambda mine: bool(mine.rows(query, (names,)))),
            RETURN,
            f"{self._me} is primary, but {self._primary} does not follow it",
            f"Its reason: the log of the agent on {self._primary}.",
            0.1,
        )
        self._step(f"{self._primary} follows {self._me}")


def _attempt(attempt: Promotion, stopped: bool) -> PgherdError | None:
    """Why a promotion failed, None when it did not."""
    try:
        attempt.run(handover="stopped" if stopped else "fenced")
    except PgherdError as error:
        return error
    return None
