# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How many seconds a standby is behind, by this host's clock alone: clocks of other hosts may be an hour off. Pure."""

from __future__ import annotations

# Positions that are remembered; beyond that, every other one.
MARKS = 2000


class LagWatch:
    """Remembers when the primary was seen at which position. A standby that has replayed up to there and no further is as
    far behind as that is ago; the answer is at most one look too high."""

    def __init__(self) -> None:
        self._of: tuple[str, int] = ("", 0)
        self._marks: list[tuple[int, float]] = []

    def look(self, at: float, primary: str, timeline: int, position: int) -> None:
        """Take in that *primary* was at *position* (bytes) on *timeline* at the time *at* (seconds)."""
        marks = self._marks
        if (primary, timeline) != self._of or (marks and position < marks[-1][0]):
            self._of, marks[:] = (primary, timeline), []
        if marks and marks[-1][0] == position:
            marks.pop()
        marks.append((position, at))
        if len(marks) > MARKS:
            del marks[1:-1:2]

    def seconds(self, replayed: int) -> float | None:
        """The lag of who has *replayed* so much; None while nothing so old is remembered."""
        marks = self._marks
        # What lies before the last position that was replayed is of no more use.
        while len(marks) > 1 and marks[1][0] <= replayed:
            marks.pop(0)
        if not marks or replayed < marks[0][0]:
            return None
        return 0.0 if len(marks) == 1 else marks[-1][1] - marks[0][1]
