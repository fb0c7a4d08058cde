# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waits that tell what they wait for while they last. **PRIVATE**."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

# Seconds: from one look to the next, until it is told what is missing, and until it is told again that it still is.
PAUSE, TELL, AGAIN = 2.0, 10.0, 60.0


def awaited(
    look: Callable[[], Sequence[str]],
    explain: Callable[[Sequence[str]], Sequence[str]],
    show: Callable[[str], None],
    timeout: float,
    *,
    met: str,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """What is missing still after *timeout* seconds, in sentences; none as soon as nothing is.

    *look*: says what is missing now. *explain*: says more of that; it is asked as often as something may be shown, and at the
    end. *show*: gets each line for people: what is new, each TELL seconds, and all of it again after AGAIN; and that it is *met*,
    where they have been told that it was not."""
    begun, shown = clock(), Shown()
    while True:
        waits = look()
        past = clock() - begun
        if not waits:
            if shown.lines:
                show(f"{met}, after {past:.0f} s")
            return []
        if past >= timeout:
            return [*waits, *explain(waits)]
        if shown.may_be_more(past):
            for line in shown.more([*waits, *explain(waits)], past):
                show(line)
        pause(PAUSE)


class Shown:
    """What people have been shown of a wait. Times are seconds of that wait."""

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self._looked = self._whole = 0.0

    def may_be_more(self, past: float) -> bool:
        """Whether it is time to look for that."""
        return past >= self._looked + TELL

    def more(self, said: Sequence[str], past: float) -> list[str]:
        """The lines to be shown of what is *said* now. What Kubernetes says in turns is told once, until all is told again."""
        self._looked = past
        new = [line for line in dict.fromkeys(said) if line not in self.lines]
        if past >= self._whole + AGAIN:
            self._whole = past
            new = [f"after {past:.0f} s still: {line}" for line in dict.fromkeys(said)]
        elif not self.lines:
            self._whole = past
        self.lines.update(said)
        return new
