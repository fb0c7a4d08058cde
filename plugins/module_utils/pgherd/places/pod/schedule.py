# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Takes Barman's base backups when they are due, in a pod, where no timer of systemd's does: a child of process 1."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

from ...description import read
from ...errors import PgherdError
from ...model import CLUSTER_FILE
from ...ports.services import BACKUP, Services
from ...programs.calendar_next import next_after
from ...render.conf_barman import HOME

# Seconds from one look to the next at most: the schedule may have been changed.
LOOK = 30.0
# Beside the backups, since when one was due counts while no pod runs too.
STAMP = ".pgherd-schedule"


def due(expression: str, last: float | None, now: float) -> tuple[bool, float]:
    """Whether a backup by *expression* is due at *now*, where the *last* time that counted was so; and the seconds until the next
    look. Times are in seconds since the epoch; None: none has counted yet, and the count begins now. One backup makes up for any
    number of times that were missed."""
    if last is None:
        return False, LOOK
    coming = next_after(expression, datetime.fromtimestamp(last, timezone.utc))
    if coming is None:
        return False, LOOK
    left = coming.timestamp() - now
    return left <= 0, min(LOOK, max(0.5, left))


def main(services: Services, say: Callable[[str], None], path: str = CLUSTER_FILE) -> int:
    """Look until SIGTERM or SIGINT. *path*: the description."""
    over, said = threading.Event(), ""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    pause = 0.0
    while not over.wait(pause):
        pause = LOOK
        try:
            options = read(path).cluster.options
            stamp = os.path.join(options.barman_directory or HOME, STAMP)
            last = _last(stamp)
            is_due, pause = due(options.barman_schedule, last, time.time())
            if last is None or is_due:
                _note(stamp)
            if is_due:
                say("a base backup is due by cluster_barman_schedule")
                services.start(BACKUP, wait=False)
            said = ""
        except (PgherdError, OSError) as error:
            if said != str(error):
                said = str(error)
                say(f"fault: {said}")
    return 0


def _last(stamp: str) -> float | None:
    try:
        return os.stat(stamp).st_mtime
    except FileNotFoundError:
        return None


def _note(stamp: str) -> None:
    with open(stamp, "a", encoding="ascii"):
        os.utime(stamp)
