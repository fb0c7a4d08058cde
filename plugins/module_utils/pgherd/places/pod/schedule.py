# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Takes Barman's base backups in a pod, where neither a playbook nor a timer of systemd's does: the first as soon as one can be
taken, others when they are due. A child of process 1."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone

from ...description import read
from ...errors import PgherdError
from ...model import CLUSTER_FILE
from ...ports.run import LocalRunner
from ...ports.services import BACKUP, RUNNING, STARTING, Services
from ...programs.barman import Client
from ...programs.barman_view import WAITING, Backup, remains
from ...programs.calendar_next import next_after
from ...render.conf_barman import HOME

# Seconds from one look to the next at most: the schedule may have been changed.
LOOK = 30.0
# And between two tries of the first backup: the shortest, doubled each time up to the longest.
SOONEST, LATEST = 5.0, 600.0
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


def begun(backups: Iterable[Backup]) -> bool:
    """Whether a first backup has been taken. One whose last WAL is awaited has: Barman's maintenance sees it come."""
    return any(backup.finished or backup.status == WAITING for backup in backups)


def main(services: Services, say: Callable[[str], None], path: str = CLUSTER_FILE) -> int:
    """Look until SIGTERM or SIGINT. *path*: the description."""
    over, said, tries = threading.Event(), "", 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    pause = 0.0
    while not over.wait(pause):
        pause = LOOK
        try:
            cluster = read(path).cluster
            stamp = os.path.join(cluster.options.barman_directory or HOME, STAMP)
            last = _last(stamp)
            if last is None:
                pause, tries = min(SOONEST * 2**tries, LATEST), tries + 1
                if not _begun(services, Client(LocalRunner(), cluster.name, None), say):
                    _take(services, "no base backup has been taken yet", say)
                    continue
            is_due, pause = due(cluster.options.barman_schedule, last, time.time())
            if last is None or is_due:
                _note(stamp)
            if is_due:
                _take(services, "a base backup is due by cluster_barman_schedule", say)
            said = ""
        except (PgherdError, OSError) as error:
            if said != str(error):
                said = str(error)
                say(f"fault: {said}")
    return 0


def _begun(services: Services, client: Client, say: Callable[[str], None]) -> bool:
    """See begun(). What tries left that failed, while the cluster was still being made, is deleted."""
    backups = client.backups()
    for backup in remains(backups, _runs(services)):
        say(f"what backup {backup.id} left, which is {backup.status}, is deleted")
        client.delete(backup.id)
    return begun(backups)


def _runs(services: Services) -> bool:
    return services.state(BACKUP) in (RUNNING, STARTING)


def _take(services: Services, why: str, say: Callable[[str], None]) -> None:
    if not _runs(services):
        say(f"{why}: one is taken")
        services.start(BACKUP, wait=False)


def _last(stamp: str) -> float | None:
    try:
        return os.stat(stamp).st_mtime
    except FileNotFoundError:
        return None


def _note(stamp: str) -> None:
    with open(stamp, "a", encoding="ascii"):
        os.utime(stamp)
