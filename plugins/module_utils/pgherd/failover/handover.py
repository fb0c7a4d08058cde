# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Switchover: the primary is fenced and stops, the target has all its WAL and is promoted. No node needs a shell on another.

All of it runs on the target, through SQL; only the old primary's own agent can stop it, and does when it is asked by a
lock. Whatever breaks off half-way ends with this process' locks: the old primary lifts its fence, or, once it is down,
the agents elect.

That a session on the old primary broke shows no more than that: it may be the network. So a promotion seals R others as
ever, or else the old primary itself is waited for: one that answers as a standby is sealed and counted like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress

from ..errors import Conflict, PgherdError, SqlError, Unreachable
from ..model import SYSTEM_ROLES, Cluster, int_to_lsn, lsn_to_int
from ..ports.sql import Server
from . import seal as sealing
from .choice import counts_itself, too_few
from .links import Links, session
from .promote import Promotion
from .voice import ASKING, STOP_LOCK
from .wait import says, until

# Seconds: for the target to have all WAL, for the old primary to stop, to answer as a standby, to stream from the new one.
CATCH_UP, STOP, STANDBY, RETURN = 10.0, 10.0, 60.0, 90.0
# Seconds for a promotion that another has begun here.
ELECTED = 5.0
# Seconds for the shutdown's last record to arrive.
LAST = 1.0
# Seconds from the lock to the fence: the old primary's agent looks twice a second, and twenty times once it has seen the
# lock, so it is asked to stop when it looks often.
ALERT = 0.6

END_SESSIONS = """
SELECT count(pg_terminate_backend(pid))::int AS ended
  FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND NOT rolsuper AND NOT rolname = ANY(%s)
"""


class Handover:
    """Makes *me*, a standby of *primary*, the primary in its place."""

    def __init__(self, cluster: Cluster, me: str, primary: str, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._me = me
        self._primary = primary
        self._links = links
        self._say = say
        self._began = time.monotonic()
        # Whether too few answer besides the old primary, so that it has to be sealed too.
        self._counts = False

    def run(self) -> None:
        """Do it. Raises PgherdError; the primary then is whoever it was, or is elected."""
        attempt = Promotion(self._cluster, self._me, self._primary, self._links, self._say)
        with closing(attempt), session(self._links, self._me) as mine:
            # It holds no lock, and a checkpoint may take long.
            mine.run("SET idle_session_timeout = 0")
            with session(self._links, self._primary) as theirs:
                stopped = self._retire(theirs, mine, attempt)
            self._step(f"{self._primary} {'is down' if stopped else 'is fenced, but does not stop'}")
            if stopped and self._counts:
                self._await_standby()
                attempt.prepare(back=True)
            try:
                attempt.run(handover="stopped" if stopped else "fenced")
            except Conflict:
                if not (self._counts and self._is_promoted(mine)):
                    raise
        self._step(f"{self._me} is primary")
        self._await_return()

    def _retire(self, theirs: Server, mine: Server, attempt: Promotion) -> bool:
        """Prepare all that takes time, fence the primary, get its last WAL, and have it stopped; whether it stopped."""
        theirs.run(f"SET application_name = '{ASKING}{self._me}'")
        sealing.lock(self._primary, theirs)
        locked = time.monotonic()
        theirs.run("SET statement_timeout = 0")
        theirs.run("CHECKPOINT")
        round_ = attempt.prepare()
        self._step(f"{self._primary} is locked, and has written its checkpoint")
        short = too_few(self._cluster, round_, self._primary)
        if short:
            raise Conflict(f"switch over to {self._me}", "enough standbys", short.rstrip("."))
        self._counts = counts_itself(self._cluster, round_, self._primary)
        time.sleep(max(0.0, locked + ALERT - time.monotonic()))
        try:
            self._fence(theirs, True)
            final = self._drained(theirs, mine)
        except PgherdError:
            self._fence(theirs, False)
            raise
        self._step(f"{self._me} has all WAL, to {final}")
        stopped = self._stop(theirs, mine)
        if not stopped and self._counts:
            self._fence(theirs, False)
            raise Unreachable(
                f"switch over to {self._me}: {self._primary} has not stopped within {STOP:g} s, and without it too few "
                "standbys answer for a promotion.",
                f"See: journalctl -u pgherd-agent -n 50 on {self._primary}; or bring another standby back.",
            )
        return stopped

    def _step(self, words: str) -> None:
        self._say(f"switchover: after {(time.monotonic() - self._began) * 1000:.0f} ms: {words}")

    def _fence(self, theirs: Server, shut: bool) -> None:
        theirs.run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if shut else 'off'}")
        theirs.run("SELECT pg_reload_conf()")
        if shut:
            ended = theirs.rows(END_SESSIONS, (list(SYSTEM_ROLES),))[0]["ended"]
            self._step(f"{self._primary} is fenced, {ended} sessions ended")

    def _drained(self, theirs: Server, mine: Server) -> str:
        """Wait until this node has all that the fenced primary has written; up to where. Raises Unreachable."""
        deadline = time.monotonic() + CATCH_UP
        while True:
            final = theirs.rows("SELECT pg_current_wal_insert_lsn()::text AS lsn")[0]["lsn"]
            found = sealing.ask(self._me, mine)
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
        deadline = time.monotonic() + STOP
        while time.monotonic() < deadline:
            try:
                theirs.rows("SELECT 1 AS alive")
            except (Unreachable, SqlError):
                break
            time.sleep(0.01)
        else:
            return False
        deadline = time.monotonic() + LAST
        while sealing.ask(self._me, mine).streaming and time.monotonic() < deadline:
            time.sleep(0.01)
        return True

    def _await_standby(self) -> None:
        """Wait until the old primary answers as a standby. Raises Unreachable; the agents elect once it does."""
        until(
            lambda: says(self._links, self._primary, lambda theirs: sealing.ask(self._primary, theirs).in_recovery),
            STANDBY,
            f"switch over to {self._me}: too few standbys answer for a promotion without {self._primary}, which has stopped "
            "and does not answer as one",
            f"Start PostgreSQL on {self._primary}; the agents elect when it answers.",
        )
        self._step(f"{self._primary} is a standby, and counts as one")

    def _is_promoted(self, mine: Server) -> bool:
        """Whether this node's agent was quicker: while the old primary is waited for, it sees none and may elect this one."""
        with suppress(Unreachable):
            until(lambda: not sealing.ask(self._me, mine).in_recovery, ELECTED, f"{self._me} is no primary")
            return True
        return False

    def _await_return(self) -> None:
        """Wait until the old primary streams from here. Raises Unreachable."""
        query = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
        with session(self._links, self._me) as mine:
            until(
                lambda: bool(mine.rows(query, (self._primary,))),
                RETURN,
                f"{self._me} is primary, but {self._primary} does not follow it",
                f"Its reason: journalctl -u pgherd-agent -n 50 on {self._primary}.",
                0.1,
            )
        self._step(f"{self._primary} follows {self._me}")
