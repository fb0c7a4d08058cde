# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The note that a data directory is half-way between two states, and must not be started."""

from __future__ import annotations

import os
from contextlib import suppress

# Says that a rewind or a clone was begun here and not finished: such data must not be started. It lies outside of the
# data directory, which both of them empty.
MARK = "/var/lib/postgresql/.pgherd-rejoin"
# How the note begins while the data are still whole; of one that has begun a timeline which nobody must follow.
STOPPED, STRAY = "stopped", "promoted without its locks"


def mark(text: str) -> None:
    """Note that the data directory is not to be started, and why."""
    with open(MARK, "w", encoding="utf-8") as stream:
        stream.write(f"{text}\n")
        stream.flush()
        os.fsync(stream.fileno())


def marked() -> str:
    """What mark() noted; '' when nothing."""
    try:
        with open(MARK, encoding="utf-8") as stream:
            return stream.read().strip() or "unfinished"
    except FileNotFoundError:
        return ""


def unmark() -> None:
    """Take the note away."""
    with suppress(FileNotFoundError):
        os.unlink(MARK)
