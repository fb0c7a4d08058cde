# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Histories of timelines: where each one began, and where two of them part."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..model import lsn_to_int
from ..ports.sql import Server

# A timeline that has not ended.
OPEN = 1 << 64
Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Fork:
    """Where this node's history left the primary's: *lsn* in bytes on *timeline*, the last one that both have."""

    timeline: int
    lsn: int


def parse_history(text: str) -> dict[int, int]:
    """By timeline where its successor begins, in bytes, from a timeline history file (manual, 26.3.5)."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", line)
        if match:
            found[int(match.group(1))] = lsn_to_int(match.group(2))
    return found


def read_history(server: Server, timeline: int) -> dict[int, int]:
    """parse_history() of the server's own *timeline*, by a replication session. The first one has none."""
    if timeline == 1:
        return {}
    return parse_history(as_text(server.rows(f"TIMELINE_HISTORY {timeline}")[0]["content"]))


def as_text(value: object) -> str:
    """A value that a replication session gave: it has no types, so psycopg hands over bytes."""
    return bytes(value).decode() if isinstance(value, (bytes, memoryview)) else str(value)


def fork(mine: Path, theirs: Path) -> Fork | None:
    """Where the history *mine* leaves *theirs*; None when it does not: theirs goes on where mine ends or later."""
    for (timeline, end), (other, their_end) in zip(mine, theirs):
        if timeline != other:
            return Fork(timeline, 0)
        if end != their_end:
            return Fork(timeline, min(end, their_end)) if their_end < end or len(mine) > 1 else None
    return None


def earlier(one: Fork | None, other: Fork) -> Fork:
    """The one of two forks of one history that comes first."""
    return other if one is None or (other.timeline, other.lsn) < (one.timeline, one.lsn) else one


def path(timeline: int, history: dict[int, int]) -> Path:
    """The timelines that lead to *timeline*, each with its end in bytes; the last one's is open."""
    return (*((one, history[one]) for one in sorted(history)), (timeline, OPEN))
