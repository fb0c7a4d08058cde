# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A write service that led to two nodes, or to the old primary for long, is found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from faults.checker.endpoints import Led, late, miscalled, read, sealed, two


def line(at: float, name: str, *said: str, kind: str = "slice", event: str = "MODIFIED") -> str:
    return json.dumps({"at": at, "kind": kind, "event": event, "name": name, "said": said}) + "\n"


def test_each_change_is_read_once() -> None:
    given = [
        line(1, "s", "pg-0=true", event="ADDED"),
        line(2, "s", "pg-0=true"),
        line(3, "s", "pg-0=false"),
        line(4, "pg-1", "primary", kind="pod"),
        line(5, "s", event="blind"),
        line(6, "s", "pg-1="),
        line(6.5, "s", event="blind"),
        line(6.6, "s", "pg-1=true", event="ADDED"),
        line(7, "s", "pg-1=true", event="DELETED"),
        line(8, "pg-1", "primary", kind="pod", event="DELETED"),
        '{"at": 9, "kind"',
    ]
    assert read(given) == [
        Led(1, ("pg-0",)),
        Led(3, ()),
        Led(4, (), ("pg-1",)),
        Led(5, (), ("pg-1",), True),
        Led(6, ("pg-1",), ("pg-1",)),
        Led(6.5, (), ("pg-1",), True),
        Led(6.6, ("pg-1",), ("pg-1",)),
        Led(7, (), ("pg-1",)),
        Led(8, ()),
    ]


def test_two_nodes_at_once_are_told_also_in_two_slices() -> None:
    led = read([line(1, "s", "pg-0=true"), line(2, "t", "pg-1=true"), line(3, "s")])
    assert two(led) == ["at 2.000 the write service led to pg-0, pg-1"]


OLD, NONE, NEW = Led(0, ("pg-0",)), Led(12, ()), Led(13, ("pg-1",))


@pytest.mark.parametrize(
    ("led", "seals", "said"),
    [
        ([OLD, NONE, NEW], [(5.0, "pg-1")], 0),
        ([OLD, NONE, NEW], [(1.0, "pg-1")], 1),
        ([OLD], [(1.0, "pg-1")], 1),
        # Sealed again in time by another: then it is that one's.
        ([OLD, NONE, NEW, Led(17, ("pg-2",))], [(1.0, "pg-1"), (8.0, "pg-2")], 0),
        ([OLD, NONE, NEW], [], 0),
        ([NEW, Led(30, ("pg-0",))], [(1.0, "pg-1")], 1),
    ],
)
def test_the_old_primary_is_told_of_after_the_limit(led: list[Led], seals: list[tuple[float, str]], said: int) -> None:
    assert len(late(led, seals, 10.0)) == said


def blind(at: float, *nodes: str) -> Led:
    return Led(at, nodes, nodes, True)


@pytest.mark.parametrize(
    ("led", "services", "names"),
    [
        # Away from 4 to 14, sealed at 5: names have to be right at 24, services at 74.
        ([blind(4), Led(14, ("pg-0",), ("pg-0",)), Led(23, ("pg-0",), ("pg-1",)), Led(73, ("pg-1",), ("pg-1",))], 0, 0),
        ([blind(4), Led(14, ("pg-0",), ("pg-0",)), Led(25, ("pg-0",), ("pg-1",)), Led(75, ("pg-1",), ("pg-1",))], 1, 1),
        # A watch that has ended is none of that, and neither is what comes after the limit.
        ([blind(4), Led(5, ("pg-0",)), Led(16, ())], 1, 0),
        ([Led(0, ("pg-0",), ("pg-0",)), blind(16), Led(30, ())], 1, 1),
        # Before: controllers wait on.
        ([blind(0), Led(4, ("pg-0",)), Led(63, ())], 0, 0),
        # To the end, and while it is away nobody knows.
        ([Led(0, ("pg-0",), ("pg-0",)), blind(6)], 0, 0),
    ],
)
def test_while_the_api_server_is_away_nobody_can_change_it(led: list[Led], services: int, names: int) -> None:
    seals = [(5.0, "pg-1")]
    assert (len(late(led, seals, 10.0)), len(miscalled(led, seals, 10.0))) == (services, names)


def test_a_promotion_that_was_given_up_has_sealed_nothing() -> None:
    begun = [(1.0, "promote: sealed after 80 ms: pg-1, pg-2"), (1.5, "promote: let go after 90 ms: pg-1, pg-2")]
    done = [(5.0, "promote: sealed after 70 ms: pg-1, pg-2"), (5.4, "promote: promoted after 300 ms")]
    assert sealed(begun) == []
    assert sealed([*done, *begun]) == [5.0]
