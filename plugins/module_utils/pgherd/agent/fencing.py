# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How a primary's agent fences it: beside the looks, which would grow late otherwise, and one thing at a time.

Its session is opened as soon as a fence is in sight, and kept until the primary has recovered: a machine in need may have
neither a place nor a process for a new one.
"""

from __future__ import annotations

import threading
import time

from ..data.postmaster import kill_postmaster
from ..duties import fence
from ..errors import PgherdError
from ..objects.orders import end_sessions, set_read_only
from ..observe.open_sessions import each
from ..ports.here import Here
from ..ports.sql import Server

# What may be wanted: a session for what may come, writes refused and sessions ended, sessions ended, writes allowed again,
# and no session any more.
READY, SHUT, END, OPEN, REST = "ready", "shut", "end", "open", "rest"
# Seconds within which a session that has been ended says so.
GONE = 1.0


class Fencing:
    """See the module. *connected*: how many listed standbys are connected to the primary, whether they answer or not."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._lock = threading.Lock()
        self._wanted = self._doing = ""
        self._server: Server | None = None
        self._failing: float | None = None
        self.connected = 0

    def want(self, wanted: str, connected: int = 0) -> bool:
        """Have *wanted* done now, or right after what is being done; whether it was not being done already."""
        self.connected = connected
        with self._lock:
            if wanted in (self._doing, self._wanted) or (wanted == REST and not self._doing and self._server is None):
                return False
            self._wanted = wanted
            if self._doing:
                return True
            self._doing = wanted
        try:
            threading.Thread(target=self._run, name="fence", daemon=True).start()
        except RuntimeError:  # there are no more threads: the next look tries again
            with self._lock:
                self._doing = self._wanted = ""
            raise
        return True

    @property
    def doing(self) -> str:
        """What is being done right now; '' for nothing."""
        return self._doing

    def take_over(self, before: Fencing) -> None:
        """Keep the session of *before*, which does nothing and is not asked again: now may be a bad time for a new one."""
        self._server, before._server = before._server, None
        self._failing = before._failing

    def _run(self) -> None:
        while True:
            with self._lock:
                self._doing, self._wanted = self._wanted, ""
                if not self._doing:
                    return
            try:
                self._do(self._doing)
            except PgherdError as error:
                self._failed(self._doing, " ".join(str(error).split()))
            except Exception as error:  # what was not foreseen must not leave it undone for ever
                self._failed(self._doing, f"unforeseen: {type(error).__name__}: {error}")

    def _do(self, wanted: str) -> None:
        if wanted == REST:
            self._leave()
            return
        kept, began = self._server is not None, time.monotonic()
        try:
            self._ask(wanted)
        except PgherdError:
            # A kept session may have been ended by anybody: that says nothing about the server.
            if not kept or time.monotonic() - began > GONE:
                raise
            self._leave()
            self._ask(wanted)
        self._failing = None

    def _ask(self, wanted: str) -> None:
        if self._server is None:
            self._server = self._here.links.open_(self._here.me)
        if wanted in (SHUT, OPEN):
            self._write(self._server, wanted == SHUT)
        if wanted in (SHUT, END) and (ended := end_sessions(self._server)):
            self._here.say(f"fence: {ended} sessions ended")

    def _write(self, server: Server, shut: bool) -> None:
        def write(_name: str, server: Server) -> bool:
            set_read_only(server, shut)
            return True

        me = self._here.me
        _done, failed = each({me: server}, [me], write, fence.STANDS)
        if failed:
            raise PgherdError(failed[me])

    def _failed(self, wanted: str, why: str) -> None:
        self._leave()
        now = time.monotonic()
        if wanted == REST:
            return
        if wanted != SHUT:
            self._here.say(f"fence: {'no session yet' if wanted == READY else 'failed'}: {why}")
            return
        self._failing = now if self._failing is None else self._failing
        self._here.say(f"fence: failed: {why}")
        reason = fence.fatal(self._here.cluster, self.connected, now - self._failing)
        if reason:
            self._here.say(f"fence: {reason}: the postmaster is killed")
            kill_postmaster(self._here.layout.data)

    def _leave(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
