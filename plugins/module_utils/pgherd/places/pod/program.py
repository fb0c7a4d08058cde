# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What process 1 has to know of a program to start it, to stop it, and to start it again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# When a program that has ended is started again: always, after it failed, never.
ALWAYS, ON_FAILURE, NEVER = "always", "on failure", "never"
# Seconds within which starts are counted.
WINDOW = 60.0


def at_once(_pid: int) -> bool:
    """For what runs as soon as it is started."""
    return True


@dataclass(frozen=True)
class Program:
    """A program that stays in the foreground, started without a shell by *argv*, its first word a path, with *env* beside
    process 1's own environment.

    *before*: programs that have to end well before each start, one after the other, such as the start guard. *ready* says of
    the process with a number whether it is up. *stops*: the signals that end it, each with the seconds that it has for that
    until the next one; SIGKILL is the last. *again*: when it is started anew, *pause* seconds after its end, but not for the
    *burst*-th time within WINDOW (0: however often). *once*: it is never up, and has done what it is for when it ends well.
    *asked*: seconds for which it is only asked to end, by SIGTERM, before *stops* begin, where the whole pod ends.
    """

    argv: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    ready: Callable[[int], bool] = at_once
    stops: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)
    reload: signal.Signals = signal.SIGHUP
    again: str = ON_FAILURE
    pause: float = 1.0
    burst: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    asked: float = 0.0
