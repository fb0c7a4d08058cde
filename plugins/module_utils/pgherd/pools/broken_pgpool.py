# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A pgpool that has lost what its processes share goes on serving, deaf and without locks: it has to be restarted.

When the primary changes, pgpool ends its children by SIGQUIT. One that is being forked at that moment still has the main
process' handler, and with it removes the semaphores, PCP's socket and that of the clients (seen with 4.6.1, whose log says
"system_will_go_down called from invalid process"). Nobody can tell such a pgpool of the next primary.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import PgherdError
from ..ports.processes import listening

# For how many seconds it must last where both were there: pgpool has neither socket for a moment when it ends. When it starts it
# serves its clients first, and makes PCP's socket when it has looked for the primary, on a busy machine some seconds later.
LASTING, STARTING = 2.0, 30.0
# Seconds that a restart has to come about before it is asked for again.
AGAIN = 30.0


class BrokenPgpoolWatch:
    """Watches for it. *socket* is the path of PCP's socket, *port* that on which pgpool serves its clients, *serving* says
    whether something listens there, *restart* asks for pgpool's restart."""

    def __init__(
        self, socket: str, port: int, restart: Callable[[], None], serving: Callable[[int], bool] = listening
    ) -> None:
        self._socket = socket
        self._port = port
        self._restart = restart
        self._serving = serving
        self._since: float | None = None
        # Whether this pgpool, since it began to serve, had the socket.
        self._whole = False
        self._asked = float("-inf")

    def look(self, now: float) -> str:
        """What was done about it at *now* (monotonic seconds), '' while there is nothing to do."""
        serves = self._serving(self._port)
        if os.path.exists(self._socket) or not serves:
            self._since, self._whole = None, serves
            return ""
        self._since = now if self._since is None else self._since
        if now - self._since < (LASTING if self._whole else STARTING) or now - self._asked < AGAIN:
            return ""
        self._asked = now
        what = f"restart: pgpool serves, but {self._socket} has been gone for {now - self._since:.0f} s"
        try:
            self._restart()
        except (OSError, PgherdError) as error:
            return f"{what}; failed: {error}"
        return what
