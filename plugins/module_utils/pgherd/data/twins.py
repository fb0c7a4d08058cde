# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a node has begun, or followed, another timeline of a number that the one which it is to follow has too.

Two servers that are promoted apart take the same number. One of them may be a standby again, as the start guard has it.
Nothing that streams sees the difference: its receiver asks for WAL from the beginning of the segment, and confirms WAL up
to where its own ends, which it does not have. pg_rewind compares the numbers alone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Protocol

from ..model import int_to_lsn, lsn_to_int
from ..ports.directories import as_owner
from ..ports.sql import Server
from .histories import as_text, parse_history
from .wal import AvailableWal, file_name

# How the reason begins: the WAL is another's; nobody can tell whose it is.
OWN, UNTOLD = "it has WAL of its own on timeline", "nothing tells whose its WAL is on timeline"
# Bytes of the WAL's end that are compared, and of a history. Of less than a page nothing is learned: its header is the same.
COMPARED, HISTORY, PAGE = 16 << 20, 1 << 20, 8192
SIZE = "SELECT setting::bigint AS size FROM pg_settings WHERE name = 'wal_segment_size'"
# Not md5(), which PostgreSQL refuses where OpenSSL is in FIPS mode.
SUM = "SELECT encode(sha256(pg_read_binary_file(%s, %s, %s, true)), 'hex') AS sum"
# A stream that has just been asked for says that it has received up to where a segment begins.
WRITTEN = """
SELECT pg_is_in_recovery() AS standby, CASE WHEN pg_is_in_recovery()
       THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END::text AS lsn
"""


class Wal(Protocol):
    """The WAL that a node holds."""

    def history(self, timeline: int) -> dict[int, int]:
        """By timeline where its successor begins, in bytes; empty where there is no history, or no longer."""

    def sum(self, file: str, first: int, length: int) -> str:
        """Of *length* bytes of a segment from *first* on; '' where it is not there."""


class Served:
    """That of a running server, by a session."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def history(self, timeline: int) -> dict[int, int]:
        """See Wal."""
        if timeline == 1:
            return {}
        piece = (f"pg_wal/{timeline:08X}.history", 0, HISTORY)
        query = "SELECT pg_read_binary_file(%s, %s, %s, true) AS content"
        content = self._server.rows(query, piece)[0]["content"]
        return {} if content is None else parse_history(as_text(content))

    def sum(self, file: str, first: int, length: int) -> str:
        """See Wal."""
        return str(self._server.rows(SUM, (f"pg_wal/{file}", first, length))[0]["sum"] or "")


class Stored:
    """That of a stopped server, in its data *directory*."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def history(self, timeline: int) -> dict[int, int]:
        """See Wal."""
        return {} if timeline == 1 else parse_history(self._read(f"{timeline:08X}.history", 0, HISTORY).decode())

    def sum(self, file: str, first: int, length: int) -> str:
        """See Wal."""
        found = self._read(file, first, length)
        return hashlib.sha256(found).hexdigest() if found else ""

    def _read(self, file: str, first: int, length: int) -> bytes:
        try:
            with as_owner(self._directory), open(os.path.join(self._directory, "pg_wal", file), "rb") as stream:
                stream.seek(first)
                return stream.read(length)
        except FileNotFoundError:
            return b""


@dataclass(frozen=True)
class _Branch:
    """The *wal* of a node that is on *timeline*, which it came to by *history*."""

    wal: Wal
    timeline: int
    history: dict[int, int]

    @property
    def timelines(self) -> set[int]:
        """All that it has been on."""
        return {*self.history, self.timeline}

    def begin(self, timeline: int) -> int | None:
        """Where *timeline* begins, in bytes; None where that is not known."""
        if timeline == 1:
            return 0
        return max((end for one, end in self.history.items() if one < timeline), default=None)

    def sum(self, number: int, first: int, last: int, size: int) -> str:
        """Of the segment *number* what is from *first* to *last*, in bytes of all WAL; *size* of a segment."""
        name = file_name(number, AvailableWal(0, size, self.timeline), self.history)
        return self.wal.sum(name, first - number * size, last - first)


def parted(position: int, timeline: int, mine: Wal, theirs: Server, now: int) -> str:
    """Why the WAL up to *position* (bytes) on *timeline* that *mine* is, is none of the history of *theirs*, the session of
    whom it is to follow, who is on timeline *now*; '' where it is, as far as the two go together by the numbers of their
    timelines: whether it is further than that is not asked here. Raises PgherdError."""
    other = Served(theirs)
    here, there = _Branch(mine, timeline, mine.history(timeline)), _Branch(other, now, other.history(now))
    shared = next(
        (one for one in sorted(here.timelines & there.timelines, reverse=True) if _alike(one, here, there)), 0
    )
    if shared < timeline and timeline in there.timelines:
        return f"{OWN} {timeline}, which has another history than {theirs.name}'s"
    if not shared:
        return ""
    end = position if shared == timeline else here.history[shared]
    if shared == now:
        written, at = theirs.rows(WRITTEN)[0], int_to_lsn(end)
        limit = lsn_to_int(written["lsn"] or "0/0")
        if end > limit and shared == timeline and not written["standby"]:
            return f"{OWN} {timeline}, to {at}: {theirs.name} has come to {written['lsn']} only"
    else:
        limit = there.history[shared]
    return _compared(shared, min(end, limit), here, there, theirs)


def _alike(timeline: int, here: _Branch, there: _Branch) -> bool:
    """Whether they have begun *timeline* at the same place, as far as that is known."""
    begins = here.begin(timeline), there.begin(timeline)
    return None in begins or begins[0] == begins[1]


def _compared(timeline: int, end: int, here: _Branch, there: _Branch, theirs: Server) -> str:
    """parted(), by what both have on *timeline* before *end*."""
    # What came before this timeline its history has told. Of the segment where it begins a broken stream may leave the first part
    # alone, and the position is that of the timeline before.
    begin = max(here.begin(timeline) or 0, there.begin(timeline) or 0)
    if begin >= end:
        return ""
    size, same, lacks = int(theirs.rows(SIZE)[0]["size"]), 0, False
    for first, last in _pieces(begin, end, size):
        mine, other = (one.sum(first // size, first, last, size) for one in (here, there))
        if mine and other and mine != other:
            return f"{OWN} {timeline}: up to {int_to_lsn(end)} it is not what {theirs.name} has there"
        # What a promotion writes first has its time in it.
        same += PAGE if mine and other and first == begin else last - first if mine and other else 0
        lacks = lacks or bool(mine and not other)
    if lacks and same < PAGE and timeline > 1:
        return f"{UNTOLD} {timeline}, up to {int_to_lsn(end)}: {theirs.name} has that no longer"
    return ""


def _pieces(begin: int, end: int, size: int) -> list[tuple[int, int]]:
    """What is compared of a timeline's WAL from *begin* to *end*, in bytes, by segments of *size*: where it begins, all of its
    end, and where a last segment begins that is longer: after a switch the rest of one is zeros, in every server."""
    late = max(begin, end - COMPARED)
    found = [(begin, min(begin + PAGE, (begin // size + 1) * size))] if 0 < begin < late else []
    last = (end - 1) // size
    first = max(begin, last * size)
    if first < late:
        found.append((first, min(late, first + COMPARED)))
    for number in range(late // size, last + 1):
        found.append((max(late, number * size), min(end, (number + 1) * size)))
    return found
