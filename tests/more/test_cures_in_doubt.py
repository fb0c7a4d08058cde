# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures where it cannot be told which server is the primary, run in exactly that state. Works on any converged cluster of three
data nodes or more with a pgpool, whose replication nobody else changes at the same time."""

from __future__ import annotations

import pytest
from curing import AGENT, NOWHERE, as_standby, by_playbook, cured, in_file, left_alone, primaries, set_
from herd import Herd, healthy, problem, said, status, wait

pytestmark = pytest.mark.more


def test_two_that_nothing_tells_apart(herd: Herd) -> None:
    """They have begun the same timeline at the same place, each with WAL of its own, and nobody streams from either."""
    both = [herd.primary, next(name for name in herd.nodes if name not in (herd.primary, herd.leaf))]
    with left_alone(*herd.nodes):
        for name in set(herd.nodes) - {herd.primary}:
            set_(herd, name, primary_conninfo=NOWHERE)
        as_standby(herd, herd.primary)
        for name in both:
            herd.sql(name, "SELECT pg_promote()")
        document = wait(herd.primary, lambda seen: ("two-primaries", "") in said(seen))
        stray = problem(document, "two-primaries", "")["cure"]["on"]
        (kept,) = {*both} - {stray}
        for name, megabytes in ((stray, 2), (kept, 1)):
            herd.write(megabytes, by=name)
        cured(herd, "two-primaries", "", ask=kept)
        cured(herd, "node-down", stray, ask=kept)
        assert cured(herd, "not-streaming", stray, ask=kept) == AGENT
    wait(kept, healthy, 180.0)
    assert primaries(status(kept)[1]) == {kept}


def test_a_second_primary_where_the_number_of_confirmations_is_in_doubt(herd: Herd) -> None:
    """The first one's file does not ask for what the description says, by which agents go."""
    wanted = herd.sql(herd.primary, "SHOW synchronous_standby_names").strip()
    with left_alone(*herd.nodes):
        in_file(herd, "")
        try:
            herd.sql(herd.leaf, "SELECT pg_promote()")
            document = wait(herd.primary, lambda seen: ("two-primaries", "") in said(seen))
            assert problem(document, "two-primaries", "")["cure"]["on"] == herd.leaf
            assert cured(herd, "two-primaries", "") == AGENT
        finally:
            in_file(herd, wanted)
    wait(herd.primary, healthy, 180.0)
    assert primaries(status(herd.primary)[1]) == {herd.primary}


def test_a_primary_on_an_older_timeline_where_the_number_of_confirmations_is_in_doubt(herd: Herd) -> None:
    """Somebody has promoted a standby, and has made it a standby again."""
    with left_alone(*herd.nodes):
        in_file(herd, "")
        herd.sql(herd.leaf, "SELECT pg_promote()")
        as_standby(herd, herd.leaf)
        by_playbook(herd, ("stale-primary", herd.primary))
    wait(herd.primary, healthy, 180.0)
    assert primaries(status(herd.primary)[1]) == {herd.primary}
