# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Has all that runs here go by the description as it is: the agent, and commands that read it when they began."""

from __future__ import annotations

import signal
import time

from ...description import UNREADABLE, Told, digest_of, parse_told, read
from ...errors import PgherdError
from .systemd import SystemdServices

# Seconds that an agent has: it ends a promotion first. Seconds from one look to the next, and from one word to an agent to the
# next.
LIMIT = 60.0
AGAIN, ASK = 0.1, 5.0
# Seconds after the first word within which what it refused before may be refused for a reason that is gone.
PASSED = 2.0


class Agents:
    """What the agents on this host say, by *services*. They are told of a description and waited for where *limit*, in seconds,
    is above 0."""

    def __init__(self, services: SystemdServices, limit: float = LIMIT) -> None:
        self._services = services
        self._limit = limit

    def told(self, unit: str) -> Told | None:
        """By what the agent that runs as *unit* goes; None where it does not say: it is of an earlier release."""
        return parse_told(self._services.says(unit))

    def rereads(self, unit: str) -> bool:
        """See up_to_date.SayTheirDescription."""
        return self.told(unit) is not None

    def behind(self, unit: str, path: str) -> str:
        """See up_to_date.SayTheirDescription. Raises PgherdError where it refuses what is there: then it would not start with
        it either."""
        began, again = time.monotonic(), 0.0
        while self._limit:
            wanted, by = digest_of(path), self.told(unit)
            if by is None:
                return "it does not say by what it goes any more"
            if by.digest == wanted and not by.refused:
                return ""
            # Only what it refuses after it has been told to look again.
            if by.refused in (wanted, UNREADABLE) and again and time.monotonic() > began + PASSED:
                read(path)  # says why, where that is seen from here
                raise PgherdError(f"have {unit} go by {path}: refused.", f"Its reason: {self._services.log(unit)}")
            if time.monotonic() > began + self._limit:
                waits = f": it waits for {by.waits}" if by.waits else ""
                return f"was not taken up within {self._limit:g} s{waits}"
            if time.monotonic() > again:
                again = time.monotonic() + ASK
                self._services.signal(unit, signal.SIGHUP)
            time.sleep(AGAIN)
        return ""


def without(description: str, files: tuple[str, ...], agents: Agents, unit: str) -> tuple[str, ...]:
    """Of the *files* that the agent that runs as *unit* reads those for which it has to be started again: not the *description*,
    once it has taken that up. Raises as behind()."""
    if description not in files or not agents.rereads(unit) or agents.behind(unit, description):
        return files
    return tuple(path for path in files if path != description)
