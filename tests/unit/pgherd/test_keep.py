# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where two histories part, and which WAL only this node has."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.failover.keep import OPEN, Fork, _begins, _beyond, fork, parse_history, path

HISTORY = "1\t0/5000000\tno recovery target specified\n\n2\t1/A0000000\tno recovery target specified\n"
MB16 = 16 * 1024 * 1024


def test_a_history_file() -> None:
    assert parse_history(HISTORY) == {1: 0x5000000, 2: 0x1A0000000}
    assert parse_history("# nothing here\n") == {}
    assert path(3, parse_history(HISTORY)) == ((1, 0x5000000), (2, 0x1A0000000), (3, OPEN))
    assert path(1, {}) == ((1, OPEN),)


@pytest.mark.parametrize(
    ("what", "mine", "theirs", "expected"),
    [
        ("the same timeline", ((1, OPEN),), ((1, OPEN),), None),
        ("F23: its successor was promoted", ((1, OPEN),), ((1, 100), (2, OPEN)), Fork(1, 100)),
        ("it was promoted in vain", ((1, 100), (2, OPEN)), ((1, OPEN),), Fork(1, 100)),
        ("both were, it first", ((1, 100), (2, OPEN)), ((1, 120), (2, OPEN)), Fork(1, 100)),
        ("both were, it last", ((1, 120), (2, OPEN)), ((1, 100), (2, OPEN)), Fork(1, 100)),
        ("numbers differ too", ((1, 120), (2, OPEN)), ((1, 100), (3, OPEN)), Fork(1, 100)),
        ("two promotions later", ((1, 100), (2, OPEN)), ((1, 100), (2, 150), (3, OPEN)), Fork(2, 150)),
        ("from the same point on", ((1, 100), (2, OPEN)), ((1, 100), (3, OPEN)), Fork(2, 0)),
        ("one number from one point: not to be seen here", ((1, 9), (2, OPEN)), ((1, 9), (2, OPEN)), None),
    ],
)
def test_where_histories_part(what: str, mine: Any, theirs: Any, expected: Fork | None) -> None:
    assert fork(mine, theirs) == expected, what


def test_where_timelines_begin() -> None:
    assert _begins(((1, 100), (2, 150), (3, OPEN))) == [(1, 0), (2, 100), (3, 150)]


@pytest.mark.parametrize(
    ("name", "beyond"),
    [
        ("000000020000000000000005", True),
        ("000000020000000000000004", False),
        ("000000020000000100000000", True),
        ("000000010000000000000009", False),
        ("00000002.history", False),
        ("000000020000000000000005.partial", False),
        ("archive_status", False),
    ],
)
def test_which_segments_are_kept(name: str, beyond: bool) -> None:
    assert _beyond(name, {2}, 5, MB16) is beyond
