# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent is made of: parts, which look on a beat of their own, and the lines that say what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..text import one_line, say

# A part that has not begun a tick for so many seconds makes the watchdog unhappy; health has the same limit.
STUCK = 30.0


@dataclass(frozen=True)
class Decision:
    """One line of the log: what was decided and why."""

    text: str


class Part(Protocol):
    """One duty of the agent."""

    @property
    def name(self) -> str:
        """What its lines in the log begin with."""

    @property
    def interval(self) -> float:
        """Seconds from one tick's begin to the next one's."""

    def tick(self, now: float) -> Sequence[Decision]:
        """Look, decide, act. *now* is a monotonic time in seconds. A PgherdError is a fault: it is shown, and the next
        tick comes all the same."""

    def close(self) -> None:
        """Let go of what is held; called once, at the end."""


class Replaceable:
    """What is asked of a part when another one, of a changed description, is to take its place: between two ticks of it. Most
    have nothing to say to that."""

    def pause(self) -> str:
        """Begin nothing until resume(), or for ever. What is under way all the same and goes by the description, in words; '' for
        nothing."""
        return ""

    def resume(self) -> None:
        """Nothing has taken its place; go on."""

    def take_over(self, before: Part) -> None:
        """Take what lasts from the paused part *before*, of the same name, which is closed then. It does not fail."""


def log(line: str) -> None:
    """One line for the journal, at once."""
    say(one_line(line))
