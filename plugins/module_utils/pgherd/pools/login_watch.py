# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A pgpool that lets nobody in any more, though all its backends are well: it has the wrong one for its main node.

The main node is the lowest backend in use, and one number for all of pgpool's processes. A child that cannot reach a standby
there at a login makes the next one the main node for all ("main node 0 is down. Update main node to 1" in its log), and only
an attach or a detach works it out anew. Where the trouble was the child's alone and passes (a name that is not known yet, a
packet lost, a server that has just begun), nobody detaches the backend. From then on each login reads the lowest one's answer
before the main node's, and fails: "kind does not match between main(0) slot[0]" (seen with 4.6.1).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import PgherdError
from ..ports.sql import connect

# Seconds from one login to the next while all is calm, and for a time after something changed.
SELDOM, SOON, STIRRED = 30.0, 2.0, 60.0
# How often it must be refused so within STIRRED: a login may meet a change halfway. Those between may come in, by a process of
# pgpool's that has a session on each backend from before (seen: 16 of 60).
TIMES = 2
# main(0): nothing has been read of the main node yet. A number there is a message, and those differ for a moment.
_ASTRAY = re.compile(r"kind does not match between main\(0\) slot\[(\d+)\]")


def login(parameters: Mapping[str, Any]) -> str:
    """Why pgpool did not let in who connects with libpq *parameters*; '' where it did."""
    try:
        with connect("pgpool", parameters, 2.0):
            return ""
    except PgherdError as error:
        return " ".join(str(error).split())


class LoginWatch:
    """Logs in now and then, by what *try_* does, which says why it was refused. That may take its time: it has a thread."""

    def __init__(self, try_: Callable[[], str]) -> None:
        self._try = try_
        self._attempt: threading.Thread | None = None
        self._said: list[str] = []
        self._ended = self._stirred = float("-inf")
        self._refused: list[float] = []

    def look(self, now: float, stirred: bool) -> int | None:
        """The number of the backend that has to be taken out and in again, None for none. *now*: monotonic seconds; *stirred*:
        whether backends have just changed, or did not answer."""
        self._stirred = now if stirred else self._stirred
        if self._attempt is None:
            soon = self._refused or now - self._stirred < STIRRED
            if now - self._ended >= (SOON if soon else SELDOM):
                self._attempt = threading.Thread(target=self._run, daemon=True)
                self._attempt.start()
            return None
        if not self._said:
            return None
        self._attempt, self._ended = None, now
        self._refused = [at for at in self._refused if now - at < STIRRED]
        found = _ASTRAY.search(self._said.pop())
        if found:
            self._refused.append(now)
        if not found or len(self._refused) < TIMES:
            return None
        self._refused = []
        return int(found.group(1))

    def _run(self) -> None:
        try:
            self._said.append(self._try())
        except Exception as error:  # a thread that ends without a word would be waited for for ever
            self._said.append(str(error))
