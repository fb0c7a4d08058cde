# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What runs beside a pod's process 1 and sees the mounted Secrets: it leaves the pod what is its own of them. Before process 1,
and where Secrets are the user's, which change at any time, again whenever they have."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from ...description import read
from ...errors import PgherdError
from . import files
from .output import say

# Seconds from one look to the next. A kubelet shows a changed Secret within some ninety.
PAUSE = 5.0
# What a kubelet puts in the place of the one before, as a whole.
_DATA = "..data"


def own(config: str, name: str, secrets: str = files.SECRETS) -> int:
    """Leave what of the Secret mounted at *secrets* is the pod's called *name*, by the description in the file *config*, where
    its processes find it. Raises PgherdError."""
    for path in files.write(files.own(read(config).cluster, name, files.read_secret(secrets))):
        say(f"own: {path}")
    return 0


class Renewal:
    """Does that whenever the Secret or the description is another one. What is missing is said once, and what was left before
    stays."""

    def __init__(self, config: str, name: str, secrets: str, tell: Callable[[str], None] = say) -> None:
        self._where = config, name, secrets
        self._tell = tell
        self._seen: tuple[object, ...] = ()
        self._said = ""

    def look(self) -> None:
        """Look once."""
        config, _name, secrets = self._where
        try:
            signature = tuple(map(files.signature, (config, os.path.join(secrets, _DATA), secrets)))
            if signature == self._seen:
                return
            own(*self._where)
            self._seen, self._said = signature, ""
        except (PgherdError, OSError) as error:
            if str(error) != self._said:
                self._tell(f"own: {error}")
            self._said = str(error)


def renew(config: str, name: str, secrets: str = files.SECRETS) -> int:
    """See Renewal, until SIGTERM or SIGINT."""
    ending = {signal.SIGTERM, signal.SIGINT}
    # Nothing but these is waited for, and what ends this process is not lost between two looks.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    renewal = Renewal(config, name, secrets)
    while True:
        renewal.look()
        if signal.sigtimedwait(ending, PAUSE):
            return 0
