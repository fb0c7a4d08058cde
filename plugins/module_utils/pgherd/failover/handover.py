# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Switchover: the primary is fenced and stops, the target has all its WAL and is promoted. No node needs a shell on another.

All of it runs on the target, through SQL; only the old primary's own agent can stop it, and does when it is asked by a
lock. Whatever breaks off half-way ends with this process' locks: the old primary lifts its fence, or, once it is down,
the agents elect.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from ..errors import Conflict, PgherdError, SqlError, Unreachable
from ..model import SYSTEM_ROLES, Cluster, int_to_lsn, lsn_to_int
from ..ports.sql import Server
from . import seal as sealing
from .links import Links, Meeting, session
from .memory import chain, primaries
from .promote import Promotion
from .quorum import acknowledgers, seals_needed, voters
from .voice import ASKING, STOP_LOCK, Round

# Seconds: for the target to have all WAL, for the old primary to stop, for it to stream from the new one.
CATCH_UP, STOP, RETURN = 10.0, 10.0, 90.0
# Seconds for the shutdown's last record to arrive.
LAST = 1.0
# Seconds that nodes have to answer before anything is begun.
PATIENCE = 5.0

CHECKS = """
SELECT (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
       (SELECT count(*)::int FROM pg_stat_progress_basebackup) AS copies,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()) AS oldest,
       CASE WHEN current_setting('archive_mode') <> 'off' THEN
           (SELECT count(*)::int FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') ELSE 0 END AS unarchived
"""
END_SESSIONS = """
SELECT count(pg_terminate_backend(pid))::int AS ended
  FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND NOT rolsuper AND NOT rolname = ANY(%s)
"""


@dataclass(frozen=True)
class Limits:
    """What a planned switchover puts up with: bytes that the target may be behind, seconds that a transaction may have
    been running, WAL files that may wait to be archived."""

    lag: int = 16 * 1024 * 1024
    transaction: float = 60.0
    unarchived: int = 16


@dataclass(frozen=True)
class Found:
    """What was found on the way to a switchover. The counts are of the primary; *paused* is of the target's replay."""

    round: Round
    primary: str
    prepared: int = 0
    copies: int = 0
    oldest: float = 0.0
    unarchived: int = 0
    paused: bool = False


def candidates(cluster: Cluster, round_: Round, primary: str) -> list[str]:
    """Electable standbys that stream from *primary*, the best first: most WAL, then priority, then the lower ID."""
    standing = [
        name
        for name, voice in round_.voices.items()
        if name in cluster.electable_names and voice.in_recovery and chain(cluster, round_, name) == primary
    ]

    def key(name: str) -> tuple[int, int, int]:
        return (-round_.voices[name].position, -cluster.node(name).priority, cluster.node(name).id)

    return sorted(standing, key=key)


def problems(cluster: Cluster, to: str, found: Found, limits: Limits) -> list[str]:
    """Why *to* should not take over now, in sentences with what to do; none when it may."""
    voices, primary = found.round.voices, found.primary
    if to not in voices:
        return [f"{to} does not answer: {found.round.silent.get(to, 'no reason known')}."]
    said = []
    head = chain(cluster, found.round, to)
    if to not in cluster.electable_names:
        said.append(f"{to} is not electable: its priority is 0, or it is elsewhere or below another standby by design.")
    if head != primary:
        said.append(f"{to} does not stream from {primary}.")
    behind = voices[primary].position - voices[to].position
    if behind > limits.lag:
        said.append(f"{to} is {behind} bytes behind, more than {limits.lag}: wait, or allow more.")
    if found.paused:
        said.append(f"Replay is paused on {to}: SELECT pg_wal_replay_resume() there.")
    if found.copies:
        said.append(f"A base backup is being taken from {primary} and would break off: wait for it.")
    if found.oldest > limits.transaction:
        said.append(f"A transaction on {primary} has been running for {found.oldest:.0f} s and would be lost.")
    if found.unarchived > limits.unarchived:
        said.append(
            f"{found.unarchived} WAL files wait to be archived on {primary}: see why its archive_command is slow."
        )
    return said + _no_room(cluster, to, found)


def _no_room(cluster: Cluster, to: str, found: Found) -> list[str]:
    """Whether commits could be acknowledged after it: the old primary counts, for it comes back."""
    needed = acknowledgers(cluster)
    seals = seals_needed(cluster, found.primary)
    here = [name for name in voters(cluster, found.primary) if name in found.round.voices]
    if len(here) < seals:
        return [f"Only {len(here)} of {seals} standbys that a promotion must seal answer: bring another one back."]
    left = [name for name in cluster.electable_names if name != to and name in found.round.voices]
    if len(left) >= needed:
        return []
    return [f"Only {len(left)} of {needed} standbys that must confirm commits would be left: bring another one back."]


def look(cluster: Cluster, links: Links, to: str = "") -> tuple[Found, str]:
    """Ask all nodes; what was found, and the target: *to*, or the best one where that is ''. Raises Conflict without
    exactly one primary, Unreachable without a candidate."""
    with closing(Meeting([node.name for node in cluster.nodes], links)) as meeting:
        meeting.wait([node.name for node in cluster.nodes], PATIENCE)
        round_ = meeting.round()
        found = [voice.name for voice in primaries(cluster, round_, "")]
        if len(found) != 1:
            raise Conflict(
                "switch over", "one primary", " and ".join(found) or "none that answers", "See: pgherd status"
            )
        primary = found[0]
        best = candidates(cluster, round_, primary)
        target = to or (best[0] if best else "")
        if not target:
            raise Unreachable(f"switch over: no electable standby streams from {primary}.", "See: pgherd status")
        checks = meeting.servers[primary].rows(CHECKS)[0]
        paused = False
        if target in meeting.servers and round_.voices[target].in_recovery:
            rows = meeting.servers[target].rows("SELECT pg_get_wal_replay_pause_state() <> 'not paused' AS paused")
            paused = bool(rows[0]["paused"])
    return Found(round_, primary, paused=paused, **checks), target


class Handover:
    """Makes *me*, a standby of *primary*, the primary in its place."""

    def __init__(self, cluster: Cluster, me: str, primary: str, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._me = me
        self._primary = primary
        self._links = links
        self._say = say
        self._began = time.monotonic()

    def run(self) -> None:
        """Do it. Raises PgherdError; the primary then is whoever it was, or is elected."""
        attempt = Promotion(self._cluster, self._me, self._primary, self._links, self._say)
        with closing(attempt), session(self._links, self._me) as mine:
            # It holds no lock, and a checkpoint may take long.
            mine.run("SET idle_session_timeout = 0")
            with session(self._links, self._primary) as theirs:
                stopped = self._retire(theirs, mine, attempt)
            self._step(f"{self._primary} {'is down' if stopped else 'is fenced, but does not stop'}")
            attempt.run(handover="stopped" if stopped else "fenced")
        self._step(f"{self._me} is primary")
        self._await_return()

    def _retire(self, theirs: Server, mine: Server, attempt: Promotion) -> bool:
        """Prepare all that takes time, fence the primary, get its last WAL, and have it stopped; whether it stopped."""
        theirs.run(f"SET application_name = '{ASKING}{self._me}'")
        sealing.lock(self._primary, theirs)
        theirs.run("SET statement_timeout = 0")
        theirs.run("CHECKPOINT")
        attempt.prepare()
        self._step(f"{self._primary} is locked, and has written its checkpoint")
        try:
            self._fence(theirs, True)
            final = self._drained(theirs, mine)
        except PgherdError:
            self._fence(theirs, False)
            raise
        self._step(f"{self._me} has all WAL, to {final}")
        return self._stop(theirs, mine)

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

    def _await_return(self) -> None:
        """Wait until the old primary streams from here. Raises Unreachable."""
        deadline = time.monotonic() + RETURN
        query = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
        with session(self._links, self._me) as mine:
            while not mine.rows(query, (self._primary,)):
                if time.monotonic() > deadline:
                    raise Unreachable(
                        f"{self._me} is primary, but {self._primary} does not follow it after {RETURN:g} s.",
                        f"Its reason: journalctl -u pgherd-agent -n 50 on {self._primary}.",
                    )
                time.sleep(0.1)
        self._step(f"{self._primary} follows {self._me}")
