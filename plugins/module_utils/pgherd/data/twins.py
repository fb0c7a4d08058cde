# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a standby has begun, or followed, another timeline of the number that its primary's has.

Two servers that are promoted apart take the same number. One of them may be a standby again, as the start guard has it.
Nothing that streams sees the difference: its receiver asks for WAL from the beginning of the segment, and confirms WAL up
to where its own ends, which it does not have. pg_rewind compares the numbers alone.
"""

from __future__ import annotations

from ..model import int_to_lsn, lsn_to_int
from ..ports.sql import Server
from .histories import as_text, parse_history
from .wal import AvailableWal, file_name

# How the reason begins.
OWN = "it has WAL of its own on timeline"
# Bytes of the WAL's end that are compared, and of a history.
COMPARED, HISTORY = 16 << 20, 1 << 20
SIZE = "SELECT setting::bigint AS size FROM pg_settings WHERE name = 'wal_segment_size'"
# Not md5(), which PostgreSQL refuses where OpenSSL is in FIPS mode.
SUM = "SELECT encode(sha256(pg_read_binary_file(%s, %s, %s, true)), 'hex') AS sum"
WRITTEN = """
SELECT pg_is_in_recovery() AS standby, CASE WHEN pg_is_in_recovery()
       THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END::text AS lsn
"""


def parted(position: int, timeline: int, here: Server, theirs: Server) -> str:
    """Why the WAL up to *position* (bytes) on *timeline* of the standby whose session *here* is, is none of *theirs*, the
    session of whom it is to follow, who is on a timeline of that number; '' where it is, or where nothing tells. Raises
    PgherdError."""
    began, history = _history(here, timeline), _history(theirs, timeline)
    if began and history and began != history:
        return f"{OWN} {timeline}, which has another history than {theirs.name}'s"
    written, at = theirs.rows(WRITTEN)[0], int_to_lsn(position)
    if position > lsn_to_int(written["lsn"] or "0/0"):
        return (
            "" if written["standby"] else f"{OWN} {timeline}, to {at}: {theirs.name} has come to {written['lsn']} only"
        )
    # What came before this timeline its history has told. Of the segment where it begins a broken stream may leave the first part
    # alone, and the position is that of the timeline before.
    begin = max(0, position - COMPARED, *history.values())
    if begin >= position:
        return ""
    size = int(theirs.rows(SIZE)[0]["size"])
    for number in range(begin // size, -(-position // size)):
        name = file_name(number, AvailableWal(0, size, timeline), history)
        first, last = max(begin, number * size), min(position, (number + 1) * size)
        piece = (f"pg_wal/{name}", first - number * size, last - first)
        mine, other = _sum(here, piece), _sum(theirs, piece)
        if mine and other and mine != other:
            return f"{OWN} {timeline}: up to {at} it is not what {theirs.name} has there"
    return ""


def _sum(server: Server, piece: tuple[str, int, int]) -> str:
    """Of some bytes of a file; '' where it is not there."""
    return str(server.rows(SUM, piece)[0]["sum"] or "")


def _history(server: Server, timeline: int) -> dict[int, int]:
    """By timeline where its successor begins, in bytes; empty where there is no history, or no longer."""
    if timeline == 1:
        return {}
    piece = (f"pg_wal/{timeline:08X}.history", 0, HISTORY)
    content = server.rows("SELECT pg_read_binary_file(%s, %s, %s, true) AS content", piece)[0]["content"]
    return {} if content is None else parse_history(as_text(content))
