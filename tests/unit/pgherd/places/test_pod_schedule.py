# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When Barman's pod takes a base backup."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from pgherd.places.pod.schedule import LOOK, due


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        ("2026-07-14 02:00:00", "2026-07-15 01:00:00", (False, LOOK)),
        ("2026-07-14 02:00:01", "2026-07-15 01:59:50", (False, 10.0)),
        ("2026-07-14 02:00:01", "2026-07-15 02:00:00", (True, 0.5)),
        # Two were missed while no pod ran: one is taken.
        ("2026-07-12 02:00:01", "2026-07-15 01:00:00", (True, 0.5)),
        ("2026-07-15 02:00:00", "2026-07-15 02:00:00", (False, LOOK)),
    ],
)
def test_a_backup_is_due(last: str, now: str, expected: tuple[bool, float]) -> None:
    assert due("*-*-* 02:00:00", at(last), at(now)) == expected


def test_the_first_look_only_begins_to_count() -> None:
    assert due("minutely", None, at("2026-07-15 02:00:00")) == (False, LOOK)


def test_what_never_comes_again_is_never_due() -> None:
    assert due("2020-01-01", at("2026-07-15 02:00:00"), at("2027-07-15 02:00:00")) == (False, LOOK)
