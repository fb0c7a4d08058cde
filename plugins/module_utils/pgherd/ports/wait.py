# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waiting for what somebody else is about to do: looking again and again, for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Optional, TypeVar

from ..errors import Unreachable

T = TypeVar("T")
Clock = Callable[[], float]
Sleep = Callable[[float], None]


def last_look(
    look: Callable[[], T],
    enough: Callable[[T], bool],
    seconds: float,
    pause: float,
    clock: Optional[Clock] = None,
    sleep: Optional[Sleep] = None,
) -> T:
    """Look at least once, and again until it is *enough* or *seconds* are over, with *pause* seconds between two looks.
    Gives what was seen last, *enough* or not. Raises what *look* and *enough* raise. *clock* and *sleep*: other than time's."""
    clock, sleep = clock or time.monotonic, sleep or time.sleep
    deadline = clock() + seconds
    while not enough(seen := look()):
        if clock() >= deadline:
            break
        sleep(pause)
    return seen


def reason_left(condition: Callable[[], str], seconds: float, pause: float) -> str:
    """Wait until *condition* gives no reason against: '', or the last reason after *seconds*."""
    return last_look(condition, lambda reason: not reason, seconds, pause)


def or_silent(condition: Callable[[], str]) -> Callable[[], str]:
    """The same *condition*, to which Unreachable is a reason too."""

    def against() -> str:
        try:
            return condition()
        except Unreachable as error:
            return str(error)

    return against


def until(holds: Callable[[], bool], seconds: float, late: str, cure: str = "", pause: float = 0.05) -> None:
    """Look again and again until *holds*, with *pause* seconds between two looks. Raises Unreachable with *late* and *cure*
    when it does not after *seconds*."""
    if not last_look(holds, bool, seconds, pause):
        raise Unreachable(f"{late} after {seconds:g} s.", cure)


def wait_for(
    condition: Callable[[], str],
    seconds: float,
    attempted: str,
    cure: str = "Run again when that is mended.",
    pause: float = 0.1,
) -> None:
    """Wait until *condition* gives no reason against what is *attempted*, with *pause* seconds between two looks. Raises
    Unreachable with the last one and *cure* after *seconds*."""
    if reason := reason_left(condition, seconds, pause):
        raise Unreachable(f"{attempted}: {reason} after {seconds:g} s.", cure)
