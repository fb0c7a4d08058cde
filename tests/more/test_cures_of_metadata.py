# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures of what is read of a node beside its state, run in exactly that state: repmgr's metadata, and what else is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from curing import REPMGR, by_playbook, cured, left_alone
from herd import Herd, on, problem, said, wait

pytestmark = pytest.mark.more


@contextmanager
def locked(herd: Herd, table: str) -> Iterator[None]:
    """Somebody has it for himself in a transaction, on the primary and so on all that replay it."""
    hold = f"BEGIN; LOCK TABLE {table}; SELECT pg_sleep(120)"
    on(herd.primary, "systemd-run", "--quiet", "--collect", "--unit", "holder", *REPMGR, hold)
    try:
        yield
    finally:
        herd.sql(
            herd.primary, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE%'"
        )


@pytest.mark.parametrize(
    ("table", "kind"),
    [("pg_stat_progress_basebackup", "details-unreadable"), ("repmgr.events", "metadata-unreadable")],
    ids=["details", "metadata"],
)
def test_a_table_that_somebody_holds(herd: Herd, table: str, kind: str) -> None:
    """What is printed shows who it is; whoever looks ends that."""
    with locked(herd, table):
        document = wait(herd.primary, lambda seen: {(kind, name) for name in herd.nodes} <= said(seen))
        found = problem(document, kind, herd.primary)["cure"]
        _code, shown = on(found["on"], "sh", "-c", found["command"])
        (row,) = [line for line in shown.splitlines() if "LOCK TABLE" in line and "pg_stat_activity" not in line]
        herd.sql(herd.primary, f"SELECT pg_terminate_backend({row.split('|')[0].strip()})")
        wait(herd.primary, lambda seen: kind not in {found for found, _node in said(seen)})


def test_a_stranger_that_is_called_a_primary(herd: Herd) -> None:
    """Left over, and never marked inactive."""
    names = "node_id, node_name, type, active, conninfo, repluser, config_file"
    row = "99, 'ghost', 'primary', true, 'host=ghost', 'repmgr', '/'"
    on(herd.primary, *REPMGR, f"INSERT INTO repmgr.nodes ({names}) VALUES ({row})")
    try:
        assert "primary unregister --force" in cured(herd, "metadata-stranger", "ghost")
    finally:
        on(herd.primary, *REPMGR, "DELETE FROM repmgr.nodes WHERE node_id = 99")


def test_a_node_that_was_given_another_id(herd: Herd) -> None:
    """By hand, in repmgr's metadata. When that row is gone, it is one that is not registered."""
    with left_alone(herd.leaf):
        on(herd.primary, *REPMGR, f"UPDATE repmgr.nodes SET node_id = 77 WHERE node_name = '{herd.leaf}'")
        assert "standby unregister --node-id=77" in cured(herd, "metadata-role", herd.leaf)
    by_playbook(herd, ("not-registered", herd.leaf))
