# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Carries out the plan of backup.py, with deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ..errors import CommandError, PgherdError, Unreachable
from ..ports.directories import around
from ..ports.services import AGENT, BACKUP, RECEIVER, RUNNING, Services
from ..ports.wait import last_look
from ..programs import barman, barman_view
from ..programs.barman import Client
from ..programs.barman_view import BarmanView, Check
from ..render.conf_barman import BarmanLayout
from .backup import BackupState, Open, observe_slot, plan

T = TypeVar("T")

# What to do about a check that stays bad, by Barman's key.
# Its log says what is wrong.
RECEIVERS = ("replication_slot", "receive_wal_running")
CLIENT_PROGRAMS = "Install the client programs of the nodes' PostgreSQL version on the Barman host."
CURES = {
    "postgresql": "Look whether there is a primary: pgherd status",
    "postgresql_streaming": "Look whether pg_hba.conf and ~barman/.pgpass let streaming_barman in.",
    "no_access_to_backup_functions": "Run the site playbook for the group postgres, which grants what barman needs.",
    "pg_receivexlog_compatible": CLIENT_PROGRAMS,
    "pg_basebackup_compatible": CLIENT_PROGRAMS,
}
# Checks that do not keep Barman from taking a backup.
HARMLESS = ("failed_backups", "minimum_redundancy_requirements", "backup_maximum_age", "backup_minimum_size")
LOG = "See /var/log/barman/barman.log on the Barman host."
# Seconds between two looks.
INTERVAL = 1.0


class BackupExecutor:
    """Runs the steps. *timeout* bounds, in seconds, each wait for the primary, for WAL and for good checks;
    *backup_timeout* bounds a backup. *told* asks this host's agent, and raises Unreachable while it does not answer."""

    def __init__(
        self,
        place: BarmanLayout,
        client: Client,
        services: Services,
        open_: Open,
        timeout: float = 300.0,
        backup_timeout: float = 14400.0,
        told: Callable[[], BarmanView] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._client = client
        self._services = services
        self._open = open_
        self._timeout = timeout
        self._backup_timeout = backup_timeout
        self._told = told
        self._sleep = sleep
        self._clock = clock
        self._started: set[str] = set()

    def start(self, service: str) -> None:
        """Start *service*."""
        self._services.start(service)
        self._started.add(service)

    def stop(self, service: str) -> None:
        """Stop *service*."""
        self._services.stop(service)

    def restart(self, service: str) -> None:
        """Restart *service*."""
        self._services.restart(service)
        self._started.add(service)

    def drop_slot(self) -> None:
        """Drop the slot on the primary, and keep in mind that a backup is needed after it."""
        with around(self._place.gap_file) as (place, name):
            place.replace(name, b"", 0o644)
        self._client.drop_slot()

    def create_slot(self) -> None:
        """Create the slot on the primary, unless the receiver was quicker."""
        try:
            self._client.create_slot()
        except CommandError:
            if observe_slot(self._open, self._place.slot) is None:
                raise

    def reset(self) -> None:
        """Let the receiver begin anew."""
        self._client.reset_receiver()

    def archive(self) -> None:
        """Have one WAL file closed, received and archived."""
        self._await_receiver()
        self._switch()

    def backup(self, joined: bool) -> None:
        """Take a backup, or see the one through that is being taken (*joined*), until it can be restored."""
        if joined:
            self._wait("wait for the backup that is being taken", LOG, self._not_taking, self._backup_timeout)
        if not joined or self._newest_status() in (barman_view.FAILED, *barman_view.UNFINISHED):
            self._take()
        newest = self._client.backups()[0]
        if not newest.finished:
            self.complete(newest.id)
        with suppress(FileNotFoundError), around(self._place.gap_file) as (place, name):
            place.remove(name)

    def complete(self, backup: str) -> None:
        """Have all WAL of *backup* archived, upon which it can be restored."""
        self._switch()
        self._client.check_backup(backup)
        found = self._client.backup(backup)
        if not found.finished:
            raise PgherdError(
                f"have the WAL of backup {backup} archived: the backup is {found.status}.",
                f"Look whether the WAL from {found.begin_wal} to {found.end_wal} is here: barman list-files.",
            )

    def delete(self, backup: str) -> None:
        """Delete what *backup* left."""
        self._client.delete(backup)

    def confirm(self) -> None:
        """Wait until what was started runs and all checks are good. Raises PgherdError with those that are not, their
        hints, and a cure."""
        # Before the checks: while the receiver of Barman's cron makes room, or ours is about to be refused, they are good, and
        # are not a moment later.
        for service in sorted(self._started):
            runs = self._receiving if service == RECEIVER else partial(self._runs, service)
            self._wait(f"see {service} run", self._reason(service), runs)
        if bad := self._last_look(self._bad, lambda bad: not bad, self._timeout):
            raise self._not_good(bad)
        if self._told:
            told = "hear from this host's agent that WAL is received and all checks are good"
            self._wait(told, self._reason(AGENT), self._tells)

    def settled(self, observe: Callable[[], BackupState], wait: bool, forecast: bool = False) -> BackupState:
        """What *observe* says once it can be planned from. With *wait*, the primary and checks that no step makes good
        are waited for. Raises Unreachable without a primary, PgherdError for such checks.

        In a *forecast* a missing primary is no error as long as there is no backup: it may be about to be made.
        """
        state = self._last_look(observe, lambda seen: not seen.why, self._timeout if wait else 0.0)
        if state.why and (state.finished or not forecast):
            raise Unreachable(state.why, CURES["postgresql"])
        if state.failed and not plan(self._place, state).steps:
            if not wait:
                raise self._not_good(list(state.failed))
            self.confirm()
            state = observe()
        return state

    def _bad(self) -> list[Check]:
        return [check for check in self._client.checks() if not check.ok]

    def _not_good(self, bad: list[Check]) -> PgherdError:
        return PgherdError(f"see all checks of {self._place.server} good: {said(bad)}.", self._cure(bad))

    def _take(self) -> None:
        # Barman refuses to take a backup while no WAL is received.
        self._await_receiver()
        # The base backup begins with a checkpoint that takes its time; with nothing to write it is there at once.
        with self._open(self._timeout) as server:
            server.run("CHECKPOINT")
        deadline = self._clock() + self._timeout
        while True:
            try:
                self._services.start(BACKUP, self._backup_timeout)
                return
            except CommandError as error:
                reason = self._why_not()
                if reason or self._clock() >= deadline:
                    reason = reason or "Barman says no more."
                    raise PgherdError(f"take a backup of {self._place.server}: {reason}", str(error)) from error
            self._sleep(INTERVAL)

    def _newest_status(self) -> str:
        return next((backup.status for backup in self._client.backups()), barman_view.FAILED)

    def _why_not(self) -> str:
        """Barman refuses to begin while a check is bad; of one that began and failed it keeps the reason. '' where neither is
        to be seen: the check was bad for a moment (a primary that took more than two seconds to answer, say)."""
        if bad := [check for check in self._bad() if check.name not in HARMLESS]:
            return f"{said(bad)}. {self._cure(bad)}"
        newest = next(iter(self._client.backups()), None)
        error = self._client.backup(newest.id).error if newest and newest.status == barman_view.FAILED else ""
        return f"{error}." if error else ""

    def _switch(self) -> None:
        # Without a word written since the last switch there would be nothing to close.
        with self._open(self._timeout) as server:
            server.rows("SELECT pg_create_restore_point('pgherd')")
        self._client.switch_wal(int(self._timeout))

    def _await_receiver(self) -> None:
        self._wait(f"receive WAL through the slot {self._place.slot}", self._reason(RECEIVER), self._receiving)

    def _receiving(self) -> bool:
        try:
            slot = observe_slot(self._open, self._place.slot)
        except Unreachable:
            return False
        # The slot alone may be still another's: of a receiver that was cut off, say.
        return bool(slot and slot.active and slot.used) and barman.receives(self._receiver())

    def _receiver(self) -> int:
        """The receiver's process; 0 where it is not the service's: one that Barman's cron started is about to make room."""
        process = self._services.process(RECEIVER)
        holder = barman.process(self._place.lock_directory, self._place.server, "receive-wal")
        return process if process == holder else 0

    def _runs(self, service: str) -> bool:
        return self._services.state(service) == RUNNING

    def _reason(self, service: str) -> str:
        return f"Its reason: {self._services.log(service)}"

    def _cure(self, checks: list[Check]) -> str:
        """What to do about the first of *checks* of which that is known."""
        names = [check.name for check in checks]
        known = {**CURES, **dict.fromkeys(RECEIVERS, self._reason(RECEIVER))}
        return next((known[name] for name in known if name in names), LOG)

    def _tells(self) -> bool:
        """Whether the agent has seen all there is, the good checks and the receiver that is here, so that the status shows
        them. It looks from time to time: it may have looked while none was there, and checked when there was one again."""
        try:
            view = self._told() if self._told else None
        except Unreachable:
            return False
        if view is None:
            return True
        known = view.checks is not None and view.backups is not None and not view.failed_checks
        return known and bool(view.receiving) and view.receiver == self._receiver()

    def _not_taking(self) -> bool:
        return not barman.running(self._place.lock_directory, self._place.server, "backup")

    def _wait(self, attempted: str, look: str, done: Callable[[], bool], timeout: float = 0.0) -> None:
        timeout = timeout or self._timeout
        if not self._last_look(done, bool, timeout):
            raise Unreachable(f"{attempted}: not within {timeout:g} s.", look)

    def _last_look(self, look: Callable[[], T], enough: Callable[[T], bool], seconds: float) -> T:
        return last_look(look, enough, seconds, INTERVAL, self._clock, self._sleep)


def said(checks: list[Check]) -> str:
    """The failed checks with what Barman says of each."""
    return "; ".join(str(check) if check.hint else f"{check} has failed" for check in checks)
