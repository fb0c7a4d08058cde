# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The note that a data directory is half-way between two states, and must not be started; and that one alone is at it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import Busy
from ..ports.directories import around, as_owner

# Says that a rewind or a clone was begun here and not finished: such data must not be started. It lies outside of the
# data directory, which both of them empty.
MARK = "/var/lib/postgresql/.pgherd-rejoin"
# How the note begins while the data are still whole; of one that has begun a timeline which nobody must follow.
STOPPED, STRAY = "stopped", "promoted without its locks"
# Bytes of it that are read.
LONGEST = 1000


@contextmanager
def alone(name: str, patience: float = 0.0) -> Iterator[bool]:
    """Be the only one to rewind, empty or fill the data directory here, of node *name*: its agent and a playbook may both see
    the need. Waits *patience* seconds for another to end; yields whether it had to. Raises Conflict, OSError."""
    # Nobody's to open but the owner's: any user may lock what any user may open.
    with as_owner(os.path.dirname(MARK)):
        handle = os.open(f"{MARK}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield _locked(handle, name, patience)
    finally:
        os.close(handle)


def _locked(handle: int, name: str, patience: float) -> bool:
    deadline, waited = time.monotonic() + patience, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return waited
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                cure = "Its agent or a playbook does it: look again when that has ended, as the log of its agent says."
                raise Busy(f"Bring {name} back", "another attempt", cure) from error
        waited = True
        time.sleep(0.2)


def mark(text: str) -> None:
    """Note that the data directory is not to be started, and why. Raises OSError."""
    with around(MARK) as (place, name):
        place.replace(name, f"{text}\n".encode(), 0o644)


def marked() -> str:
    """What mark() noted; '' when nothing. What stands there may be anybody's: it is shown as far as it is a text of one
    line, and what is no file counts as a note too."""
    try:
        with around(MARK) as (place, name):
            text = place.read(name, LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"unfinished; {MARK}: {error.strerror}"
    return "".join(one if one.isprintable() else "?" for one in text.strip()) or "unfinished"


def unmark() -> None:
    """Take the note away."""
    with suppress(FileNotFoundError), around(MARK) as (place, name):
        place.remove(name)
