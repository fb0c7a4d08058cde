# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Two servers that were promoted apart have each a timeline of the same number, and neither is ever connected to the other."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pgherd.data.twins import COMPARED, OWN, PAGE, UNTOLD, Served
from pgherd.data.twins import parted as parted_
from scripted import ScriptedServer

SEGMENT = 16 << 20
BEGAN, LATER = b"1\t0/3000100\tno recovery target specified\n", b"1\t0/3000178\tno recovery target specified\n"
SAME, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"x", b"y"))
FILE, SUM = r"SELECT pg_read_binary_file", r"sha256\(pg_read_binary_file"


def parted(position: int, timeline: int, mine: ScriptedServer, theirs: ScriptedServer, now: int = 0) -> str:
    """Of two that run; the other is on the same timeline unless *now* says on which."""
    return parted_(position, timeline, Served(mine), theirs, now or timeline)


def server(name: str, history: bytes | None, *sums: str | None, lsn: str = "", standby: bool = False) -> ScriptedServer:
    """What one says of timeline 2. *lsn*: of the one that is to be followed."""
    asked: list[tuple[str, Any]] = [(FILE, [{"content": history}])]
    if lsn:
        asked.append(("pg_current_wal_flush_lsn", [{"lsn": lsn, "standby": standby}]))
        if sums:
            asked.append(("wal_segment_size", [{"size": SEGMENT}]))
    return ScriptedServer(name, [*asked, *((SUM, [{"sum": found}]) for found in sums)])


def test_another_history() -> None:
    """They have left their timeline in two places."""
    found = parted(0x3000200, 2, server("pg2", LATER), server("pg1", BEGAN))
    assert found == f"{OWN} 2, which has another history than pg1's"


def test_it_is_further_than_the_primary_has_ever_been() -> None:
    theirs = server("pg1", BEGAN, lsn="0/30001F0")
    assert (
        parted(0x3000200, 2, server("pg2", BEGAN), theirs) == f"{OWN} 2, to 0/3000200: pg1 has come to 0/30001F0 only"
    )
    # A standby may have more than another.
    less = server("pg1", BEGAN, SAME, lsn="0/30001F0", standby=True)
    assert not parted(0x3000200, 2, server("pg2", BEGAN, SAME), less)
    assert less.said[-1][1] == ("pg_wal/000000020000000000000003", 0x100, 0xF0)


@pytest.mark.parametrize(
    ("mine", "theirs", "own"),
    [
        ((SAME, SAME), (SAME, SAME), False),
        ((SAME, SAME), (SAME, OTHER), True),
        ((OTHER,), (SAME,), True),
        # What was recycled tells nothing.
        ((None, SAME), (SAME, SAME), False),
        ((SAME, SAME), (None, OTHER), True),
    ],
)
def test_the_end_of_its_wal(mine: tuple[str, ...], theirs: tuple[str, ...], own: bool) -> None:
    here, there = server("pg2", BEGAN, *mine), server("pg1", BEGAN, *theirs, lsn="0/4000300")
    found = parted(0x4000100, 2, here, there)
    assert found == (f"{OWN} 2: up to 0/4000100 it is not what pg1 has there" if own else "")
    # As much as is compared, in two files.
    pieces = [
        ("pg_wal/000000020000000000000003", 0x100, SEGMENT - 0x100),
        ("pg_wal/000000020000000000000004", 0, 0x100),
    ]
    assert [words for query, words in here.said if "sha256" in query] == pieces[: len(mine)]
    assert COMPARED == SEGMENT


def test_what_came_before_the_timeline_is_its_historys() -> None:
    """A stream that breaks where the timeline begins leaves the first part of that segment, and zeros behind it."""
    here, there = server("pg2", BEGAN, SAME), server("pg1", BEGAN, OTHER, lsn="0/3000300")
    assert parted(0x3000200, 2, here, there)
    assert here.said[-1][1] == ("pg_wal/000000020000000000000003", 0x100, 0x100)
    here, there = server("pg2", BEGAN), server("pg1", BEGAN, lsn="0/3000300")
    assert not parted(0x3000100, 2, here, there)


def test_the_first_timeline_has_no_history() -> None:
    same = [(SUM, [{"sum": SAME}])] * 2
    here = ScriptedServer("pg2", same)
    there = [("flush_lsn", [{"lsn": "0/1000028", "standby": False}]), ("wal_segment_size", [{"size": 2 * SEGMENT}])]
    assert not parted(0x1000028, 1, here, ScriptedServer("pg1", [*there, *same]))
    assert here.said[1][1] == ("pg_wal/000000010000000000000000", 0x28, SEGMENT)


def test_a_history_that_is_gone_tells_nothing() -> None:
    here, there = server("pg2", None, SAME), server("pg1", BEGAN, SAME, lsn="0/3000200")
    assert not parted(0x3000200, 2, here, there)


AFTER = b"1\t0/3000100\tno recovery target specified\n2\t0/3000300\tno recovery target specified\n"
ELSEWHERE = b"1\t0/3000178\tno recovery target specified\n2\t0/3000300\tno recovery target specified\n"


@pytest.mark.parametrize(
    ("what", "position", "history", "mine", "theirs", "own"),
    [
        ("its end is the primary's", 0x3000200, AFTER, SAME, SAME, ""),
        ("it is not", 0x3000200, AFTER, SAME, OTHER, "2: up to 0/3000200 it is not what pg1 has there"),
        ("what is beyond the next one's beginning is no twin's", 0x3000500, AFTER, SAME, SAME, ""),
        ("and what is before may be", 0x3000500, AFTER, SAME, OTHER, "2: up to 0/3000300 it is not what pg1 has there"),
        ("it has begun elsewhere", 0x3000200, ELSEWHERE, None, None, "2, which has another history than pg1's"),
    ],
)
def test_the_primary_has_begun_the_next(
    what: str, position: int, history: bytes, mine: str | None, theirs: str | None, own: str
) -> None:
    """A twin's position may lie where by the primary's history all is its own."""
    here = server("pg2", BEGAN, *([mine] if mine else []))
    size = [("wal_segment_size", [{"size": SEGMENT}])] if theirs else []
    there = ScriptedServer(
        "pg1", [(FILE, [{"content": history}]), *size, *([(SUM, [{"sum": theirs}])] if theirs else [])]
    )
    assert parted(position, 2, here, there, 3) == (f"{OWN} {own}" if own else ""), what
    if theirs:
        # Each by the file that it has.
        names = [one.said[-1][1][0] for one in (here, there)]  # type: ignore[index]
        assert names == ["pg_wal/000000020000000000000003", "pg_wal/000000030000000000000003"]


@pytest.mark.parametrize(
    ("what", "position", "mine", "theirs", "told"),
    [
        ("nothing is left of it", 0x4000000, (SAME,), (None,), False),
        ("a header is left, which is the same in both", 0x4000028, (SAME, SAME), (None, SAME), False),
        ("a page is", 0x4002000, (SAME, SAME, SAME), (None, None, SAME), True),
        ("where it begins is left, with the time in it", 0x5000000, (SAME, SAME), (SAME, None), True),
        ("here is nothing either", 0x4000000, (None,), (None,), True),
    ],
)
def test_what_the_primary_has_no_more(
    what: str, position: int, mine: tuple[str, ...], theirs: tuple[str, ...], told: bool
) -> None:
    """At a segment's boundary a stream would begin behind all that could be compared."""
    found = parted(position, 2, server("pg2", BEGAN, *mine), server("pg1", BEGAN, *theirs, lsn="0/5000000"))
    assert found.startswith(UNTOLD) is not told, what
    assert told is (found == ""), what


def test_the_first_timeline_is_nobodys_twin() -> None:
    """No promotion has begun it."""
    there = [("flush_lsn", [{"lsn": "0/5000000", "standby": False}]), ("wal_segment_size", [{"size": SEGMENT}])]
    here = ScriptedServer("pg2", [(SUM, [{"sum": SAME}])])
    assert not parted(0x2000000, 1, here, ScriptedServer("pg1", [*there, (SUM, [{"sum": None}])]))


SWITCHED = 64 << 20


def test_zeros_behind_a_switch_are_everybodys() -> None:
    """With large segments all that is compared at the end may be zeros: then where the segment, and the timeline, begin."""
    begins, end = b"1\t0/5000100\tno recovery target specified\n", 2 * SWITCHED
    for own in (1, 2):
        sums = [OTHER if number == own else SAME for number in range(3)]
        here = server("pg2", begins, *[SAME] * (own + 1))
        theirs: list[tuple[str, Any]] = [
            (FILE, [{"content": begins}]),
            ("flush_lsn", [{"lsn": "0/9000000", "standby": False}]),
        ]
        theirs.append(("wal_segment_size", [{"size": SWITCHED}]))
        there = ScriptedServer("pg1", [*theirs, *((SUM, [{"sum": found}]) for found in sums[: own + 1])])
        assert parted(end, 2, here, there).startswith(OWN)
    pieces = [words[1:] for query, words in here.said if "sha256" in query and words]
    assert pieces == [(0x1000100, PAGE), (0x1000100, SEGMENT), (SWITCHED - SEGMENT, SEGMENT)]
