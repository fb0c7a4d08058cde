# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which processes a process has below it, by /proc; and their end, at once."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from ...ports.wait import last_look

# Seconds from one look to the next at what was killed and is still there.
PAUSE = 0.01
ZOMBIE = "Z"


def _all() -> dict[int, tuple[int, str]]:
    """All processes by number, with their parents and states."""
    found = {}
    for entry in os.listdir("/proc"):
        with suppress(OSError, IndexError, ValueError):
            if entry.isdigit():
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stream:
                    words = stream.read().rpartition(")")[2].split()
                found[int(entry)] = int(words[1]), words[0]
    return found


def children(pid: int) -> list[int]:
    """The numbers of all children of the process *pid*, adopted ones too."""
    return [one for one, (parent, _state) in _all().items() if parent == pid]


def below(pid: int) -> list[int]:
    """The numbers of all that live below the process *pid*: its children, theirs, and so on."""
    there = _all()
    found, next_ones = [], [pid]
    while next_ones:
        parents = {*next_ones}
        next_ones = [one for one, (parent, _state) in there.items() if parent in parents]
        found += next_ones
    return [one for one in found if there[one][1] != ZOMBIE]


def kill_below(pid: int, seconds: float) -> bool:
    """Kill all that lives below the process *pid*, also what is made meanwhile; whether nothing was left within *seconds*."""

    def kill() -> list[int]:
        left = below(pid)
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        return left

    return not last_look(kill, lambda left: not left, seconds, PAUSE)
