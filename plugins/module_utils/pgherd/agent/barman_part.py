# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a Barman host: what Barman has, seen without asking Barman all the time.

Each of Barman's commands costs half a second of processor time before it does anything. So files are looked at every
few seconds, and a command runs when they say that something happened, or when its last answer has grown old.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from ..backups import left_behind
from ..errors import PgherdError
from ..model import Barman, Cluster
from ..ports.run import LocalRunner
from ..ports.sql import Server, connect, parse_conninfo
from ..programs.barman import Client
from ..programs.barman_view import Backup, BarmanView
from ..render.conf_barman import MAIN_FILE, server_file, settings
from .barman_files import Directories, Look, entries, look_at
from .part import Decision, Part, Replaceable

# Seconds after which a command's answer is old: of the checks when all are good and when not, of the catalogue (backups
# become obsolete by time alone), and of a command that did not answer.
GOOD, BAD, CATALOGUE, FAILED = 300.0, 60.0, 1800.0, 60.0
# Seconds that one command may take: less than the agent's watchdog allows for a tick.
LIMIT = 25.0
# Seconds after which a receiver has not ended at once; without such a one for so long, the primary is asked whether it has
# the WAL that they want; and from one question to the next.
LIVES, RESTLESS, AGAIN = 8.0, 15.0, 30.0
# Seconds from one look to the next: while all is known and WAL is received, while it is not (a receiver that is started again
# is back in three), and while a command is due, of which one runs per look.
CALM, AWAIT, BEHIND = 5.0, 1.0, 0.2
Primary = Callable[[], AbstractContextManager[Server]]


class BarmanPart(Replaceable):
    """Keeps a BarmanView of this host; ``view`` may be called from any thread."""

    name = "barman"
    interval = CALM

    def __init__(
        self,
        host: str,
        client: Client,
        configuration: Sequence[str],
        clock: Callable[[], float],
        primary: Primary | None = None,
    ) -> None:
        """*primary* opens a replication session on it."""
        self._primary = primary
        self._receiver_since = self._restful = float("-inf")
        self._client = client
        self._configuration = tuple(configuration)
        self._clock = clock
        self._lock = threading.Lock()
        self._view = BarmanView(host, client.server, clock())
        self._unread: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._place: Directories | None = None
        self._place_of: tuple[float, ...] = ()
        self._look: Look | None = None
        self._shown: dict[str, Backup] = {}

    @classmethod
    def here(cls, cluster: Cluster, barman: Barman) -> BarmanPart:
        """For the Barman host that this is; the agent runs as Barman's user."""
        client = Client(LocalRunner(), cluster.name, user=None, timeout=LIMIT)
        wanted = parse_conninfo(str(settings(cluster, barman, 0)[1]["streaming_conninfo"]))

        def primary() -> AbstractContextManager[Server]:
            return connect("the primary", {**wanted, "replication": "true"})

        return cls(barman.name, client, (MAIN_FILE, server_file(cluster)), time.time, primary)

    def view(self) -> BarmanView:
        """What is known now."""
        with self._lock:
            return self._view

    def tick(self, now: float) -> Sequence[Decision]:
        """Look at the files, and run at most one of Barman's commands."""
        before = self.view()
        view = replace(before, collected_at=self._clock())
        view = self._configured(view, now)
        if self._place:
            # Before the command, which takes a second or more: that is as old as what would be shown until then.
            view = self._show(self._looked(view, now))
            view = self._asked(view, now)
        view = self._show(view)
        # One command a tick; what is due besides must not wait for the next look.
        behind = self._place is None or any(self._due.get(source, now) <= now for source in ("catalogue", "check"))
        calm = AWAIT if view.receiving is False else CALM
        self.interval = BEHIND if behind and not self._unread else calm
        return (*_news(before, view), *self._moved_unusable_wal_aside(now))

    def _show(self, view: BarmanView) -> BarmanView:
        shown = replace(view, unread=dict(self._unread))
        with self._lock:
            self._view = shown
        return shown

    def close(self) -> None:
        """Nothing is held."""

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: what was seen is shown until the next look."""
        if isinstance(before, BarmanPart):
            self._view = replace(before.view(), server=self._client.server)

    def _configured(self, view: BarmanView, now: float) -> BarmanView:
        """Ask for directories and version once, and again when the configuration was written."""
        try:
            written = tuple(os.stat(path).st_mtime for path in self._configuration)
        except OSError as error:
            self._place, self._unread = None, {"config": f"{error.filename}: {error.strerror}"}
            return view
        if (self._place and written == self._place_of) or now < self._due.get("config", now):
            return view

        def ask() -> BarmanView:
            found = self._client.configuration()
            backups = str(found["backup_directory"])
            self._place = Directories(
                str(found["wals_directory"]),
                str(found["streaming_wals_directory"]),
                str(found["basebackups_directory"]),
                f"{backups}/meta",
                str(found["barman_lock_directory"]),
            )
            self._place_of, self._due = written, {}
            return replace(view, version=self._client.version())

        return self._read("config", view, now, 0.0, ask)

    def _looked(self, view: BarmanView, now: float) -> BarmanView:
        if not self._place:
            raise AssertionError("its place is known before it is looked at")
        try:
            look = look_at(self._place, view.server)
            self._unread.pop("archive", None)
        except OSError as error:
            self._unread["archive"] = f"{error.filename}: {error.strerror}"
            return view
        if self._look is None:
            self._restful = now
        if self._look is None or look.receiver != self._look.receiver:
            self._receiver_since = now
        elif look.receiver and now - self._receiver_since >= LIVES:
            self._restful = now
        if self._look is None or look.catalogue != self._look.catalogue:
            self._due["catalogue"] = self._due["check"] = now
        elif look.receiving != self._look.receiving:
            self._due["check"] = now
        self._look = look
        return replace(
            view,
            receiving=look.receiving,
            receiver=look.receiver,
            not_receiving_since=_over(view, look.receiving, self._clock()),
            receiving_wal=look.receiving_wal,
            receiving_at=look.receiving_at,
            last_wal=look.last_wal,
            last_wal_at=look.last_wal_at,
        )

    def _moved_unusable_wal_aside(self, now: float) -> Iterator[Decision]:
        """Where no receiver stays: move the WAL aside that makes it ask for what the primary does not have."""
        place, primary = self._place, self._primary
        if not place or not primary or now - self._restful < RESTLESS or now < self._due.get("timeline", now):
            return
        self._due["timeline"] = now + AGAIN
        names = [name for name, _at in entries(place.streaming)]
        try:
            with primary() as server:
                truth = left_behind.ask(server)
        except PgherdError:
            # Without a primary there is nothing to receive, and the checks say so.
            return
        unusable = left_behind.unusable(names, truth)
        if unusable:
            to = left_behind.move_aside(place.streaming, unusable)
            yield Decision(
                f"WAL that the primary's history does not have was moved to {to}, so that it is received again: "
                f"{', '.join(unusable)}; the primary is on timeline {truth.timeline}"
            )

    def _asked(self, view: BarmanView, now: float) -> BarmanView:
        last = view.last_backup
        if self._due.get("catalogue", now) <= now:
            return self._read("catalogue", view, now, CATALOGUE, lambda: self._with_backups(view))
        if last and last.id not in self._shown and self._due.get("show", now) <= now:
            return self._read("show", view, now, 0.0, lambda: self._with_details(view, last.id))
        if self._due.get("check", now) <= now:
            return self._read("check", view, now, GOOD, lambda: self._with_checks(view, now))
        return view

    def _read(
        self, source: str, view: BarmanView, now: float, again: float, ask: Callable[[], BarmanView]
    ) -> BarmanView:
        """Ask, and note when to ask again and, where there was no answer, why."""
        self._due[source] = now + again
        try:
            found = ask()
        except PgherdError as error:
            self._due[source] = now + FAILED
            self._unread[source] = " ".join(str(error).split())
            # An old answer is no answer; what was shown of a backup stays true.
            if source == "check":
                return replace(view, checks=None)
            return replace(view, backups=None) if source == "catalogue" else view
        self._unread.pop(source, None)
        return found

    def _with_backups(self, view: BarmanView) -> BarmanView:
        backups = self._client.backups()
        self._shown = {name: backup for name, backup in self._shown.items() if name in {item.id for item in backups}}
        return replace(view, backups=tuple(self._detailed(backup) for backup in backups))

    def _with_details(self, view: BarmanView, backup_id: str) -> BarmanView:
        self._shown[backup_id] = self._client.backup(backup_id)
        return replace(view, backups=tuple(self._detailed(backup) for backup in view.backups or ()))

    def _detailed(self, listed: Backup) -> Backup:
        shown = self._shown.get(listed.id)
        return replace(shown, status=listed.status, retention=listed.retention) if shown else listed

    def _with_checks(self, view: BarmanView, now: float) -> BarmanView:
        checks = self._client.checks()
        if not all(check.ok for check in checks):
            self._due["check"] = now + BAD
        return replace(view, checks=checks, checked_at=self._clock())


def _over(before: BarmanView, receiving: bool, now: float) -> float | None:
    """BarmanView.not_receiving_since, by what was seen before. WAL was last written long before on an idle primary."""
    if receiving:
        return None
    return now if before.receiving else before.not_receiving_since


def _news(before: BarmanView, after: BarmanView) -> Iterator[Decision]:
    """What a reader of the log wants to know."""
    if after.receiving != before.receiving:
        yield Decision("WAL is received" if after.receiving else "WAL is not received")
    bad = [str(check) for check in after.failed_checks]
    known = None if before.checks is None else [str(check) for check in before.failed_checks]
    if after.checks is not None and bad != known:
        yield Decision(f"checks failed: {'; '.join(bad)}" if bad else "all checks are good")
    last, former = after.last_backup, before.last_backup
    if last and (former is None or last.id != former.id):
        yield Decision(f"the last finished backup is {last.id}")
    for source, why in after.unread.items():
        if before.unread.get(source) != why:
            yield Decision(f"{source} cannot be read: {why}")
