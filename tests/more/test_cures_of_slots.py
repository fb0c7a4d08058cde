# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures of slots, run in exactly that state: nobody reads one, it is about to lose WAL, it has lost WAL that somebody needs."""

from __future__ import annotations

import pytest
from curing import AGENT, NOWHERE, cured, left_alone, lose, set_, upstream_by_design
from deployed import described
from herd import Herd, cure, on, problem, problems, said, wait

pytestmark = pytest.mark.more
# The least that is kept for slots, so that there is less to write.
LITTLE = {"wal_keep_size": "0", "max_slot_wal_keep_size": "48MB"}
NOTHING = dict.fromkeys(LITTLE)


def test_a_slot_that_its_owner_does_not_read(herd: Herd) -> None:
    """It runs, and streams without it."""
    source = upstream_by_design(herd, herd.leaf)
    # The agent of a standby moves slots on that are not read there.
    with left_alone(herd.leaf, source):
        set_(herd, herd.leaf, primary_slot_name="")
        wait(herd.primary, lambda seen: ("not-streaming", herd.leaf) not in said(seen))
        herd.write(96)
        cured(herd, "slot-inactive", source, naming=slot(herd.leaf))


def test_a_slot_that_is_about_to_lose_wal(herd: Herd) -> None:
    """Its owner reads without it; another one has no owner."""
    source = upstream_by_design(herd, herd.leaf)
    with left_alone(herd.leaf, source):
        set_(herd, source, **LITTLE)
        try:
            set_(herd, herd.leaf, primary_slot_name="")
            wait(herd.primary, lambda seen: ("not-streaming", herd.leaf) not in said(seen))
            herd.write(128, checkpoint=False)
            assert "standby follow" in cured(herd, "slot-losing", source, naming=slot(herd.leaf))
            herd.sql(source, "SELECT pg_create_physical_replication_slot('ghost', true)")
            herd.write(128, checkpoint=False)
            assert "pg_drop_replication_slot('ghost')" in cured(herd, "slot-losing", source, naming="ghost")
        finally:
            set_(herd, source, **NOTHING)


@pytest.mark.parametrize("runs", [False, True])
def test_a_slot_that_has_lost_what_its_owner_needs(herd: Herd, runs: bool) -> None:
    """It is cloned anew, by its own agent; what is left of the slot is the other agent's to drop, once that runs."""
    source, leaf = upstream_by_design(herd, herd.leaf), herd.leaf
    with left_alone(leaf, source):
        set_(herd, source, **LITTLE)
        try:
            if runs:
                set_(herd, leaf, primary_conninfo=NOWHERE)
                wait(herd.primary, lambda seen: ("not-streaming", leaf) in said(seen))
            else:
                on(leaf, "systemctl", "stop", herd.unit())
                on(leaf, "systemctl", "start", "pgherd-agent")
            lose(herd, source)
            document = wait(herd.primary, lambda seen: bool(problems(seen, "slot-lost", source, slot(leaf))))
            found = problem(document, "slot-lost", source, slot(leaf))
            assert found["cure"] == {"on": leaf, "command": AGENT if runs else f"systemctl start {herd.unit()}"}
            cure(found, expect=(0, 1))
            wait(herd.primary, lambda seen: not {("node-down", leaf), ("not-streaming", leaf)} & said(seen), 240.0)
        finally:
            set_(herd, source, **NOTHING)
    wait(herd.primary, lambda seen: not problems(seen, "slot-lost", source))


def test_a_slot_of_nobody_that_has_lost_wal(herd: Herd) -> None:
    source = upstream_by_design(herd, herd.leaf)
    set_(herd, source, **LITTLE)
    try:
        herd.sql(source, "SELECT pg_create_physical_replication_slot('ghost', true)")
        lose(herd, source)
        assert "pg_drop_replication_slot('ghost')" in cured(herd, "slot-lost", source, naming="ghost")
    finally:
        set_(herd, source, **NOTHING)


def slot(node: str) -> str:
    """What a node's slot is called, wherever it is."""
    return f"repmgr_slot_{described().hosts[node].vars['node_id']}"
