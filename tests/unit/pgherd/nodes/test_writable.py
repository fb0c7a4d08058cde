# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Roles and databases are made on the primary and on a witness, and foretold where one would be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.nodes.instance import Instance
from pgherd.nodes.writable import writable
from pgherd.plan import Plan

EMPTY = Instance("pg1")
STOPPED = replace(EMPTY, data="cluster")
PRIMARY = replace(STOPPED, running=True, role="primary")
DOWN = replace(STOPPED, standby=True)
STANDBY = replace(DOWN, running=True, role="standby")


@pytest.mark.parametrize(
    ("before", "would_run", "after", "left_alone", "forecast", "expected"),
    [
        (PRIMARY, True, PRIMARY, "", False, True),
        (STANDBY, True, STANDBY, "", False, False),
        (EMPTY, True, PRIMARY, "", False, True),
        (STOPPED, True, PRIMARY, "", False, True),
        (STOPPED, True, STANDBY, "its guard made it one", False, False),
        (PRIMARY, True, PRIMARY, "pg2 is primary now", False, False),
        (STOPPED, False, STOPPED, "pg2 is primary now", False, False),
        # A standby that is cloned later, or one that waits for its clone.
        (EMPTY, False, EMPTY, "", False, False),
        # Check mode: nothing has been done.
        (EMPTY, True, EMPTY, "", True, True),
        (STOPPED, True, STOPPED, "", True, True),
        (DOWN, True, DOWN, "", True, False),
        (PRIMARY, True, PRIMARY, "", True, True),
        (STOPPED, True, STOPPED, "", False, False),
        # Not left alone, but cloned later, by wipe.
        (STOPPED, False, STOPPED, "", False, False),
    ],
)
def test_where_objects_are_made(
    before: Instance, would_run: bool, after: Instance, left_alone: str, forecast: bool, expected: bool
) -> None:
    todo = Plan("pg1", {"running": before.running}, {"running": would_run})
    assert writable(before, todo, after, left_alone, forecast) is expected
