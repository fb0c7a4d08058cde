# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What nodes are told by SQL, statement by statement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import SqlError
from pgherd.model import SYSTEM_ROLES
from pgherd.objects import orders
from scripted import ScriptedServer

CORE = Path(__file__).resolve().parents[4] / "plugins/module_utils/pgherd"


def test_point() -> None:
    server = ScriptedServer(
        "pg2", [("primary_conninfo = 'host=pg1'", []), ("primary_slot_name = 's'", []), ("reload", [])]
    )
    orders.point(server, "host=pg1", "s")


def test_pointed_anew_through_the_same_slot() -> None:
    server = ScriptedServer("pg2", [("primary_conninfo = ''", []), ("reload", [])])
    orders.point(server, "")
    server.finish()


def test_the_clusters_own_sessions_are_not_ended() -> None:
    server = ScriptedServer("pg1", [("NOT rolsuper AND NOT rolname = ANY", [{"ended": 2}])])
    assert orders.end_sessions(server) == 2
    assert server.said[0][1] == (list(SYSTEM_ROLES),)


@pytest.mark.parametrize(
    ("there", "done"),
    [
        ([], ["create"]),
        ([{"useless": False}], []),
        # What it has lost it would go on lacking, and it would keep nothing for whom it is for.
        ([{"useless": True}], ["drop", "create"]),
    ],
)
def test_a_slot_that_is_there_is_made_again_only_where_it_keeps_nothing(
    there: list[dict[str, bool]], done: list[str]
) -> None:
    calls = {"create": ("pg_create_physical", []), "drop": ("pg_drop_replication_slot", [])}
    server = ScriptedServer("pg2", [("wal_status = 'lost'", there), *(calls[name] for name in done)])
    orders.make_slot(server, "s")
    server.finish()


@pytest.mark.parametrize(
    ("found", "drop", "none_left"),
    [
        ([], None, True),
        ([{"active": True}], None, False),
        ([{"active": False}], [], True),
        # Somebody else dropped it between the two statements.
        ([{"active": False}], SqlError("drop", "pg1", "it does not exist", "42704"), True),
    ],
)
def test_only_an_idle_slot_is_dropped(found: list[dict[str, bool]], drop: Any, none_left: bool) -> None:
    calls = [] if drop is None else [("pg_drop_replication_slot", drop)]
    server = ScriptedServer("pg1", [("pg_replication_slots", found), *calls])
    assert orders.drop_idle_slot(server, "s") is none_left
    server.finish()


# What an order says, without the words of cures, which people type, and of rights, which name functions.
SAID_ONCE = (
    "pg_drop_replication_slot(%s)",
    "pg_create_physical_replication_slot(",
    '.run("SELECT pg_reload_conf()")',
    "ALTER SYSTEM SET primary_conninfo",
    "ALTER SYSTEM SET default_transaction_read_only",
    "count(pg_terminate_backend(pid))",
    "upstream_node_id AS upstream FROM repmgr.nodes",
    "DELETE FROM repmgr.nodes",
)


@pytest.mark.parametrize("statement", SAID_ONCE)
def test_the_core_says_it_once(statement: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(CORE.rglob("*.py"))]
    assert sum(text.count(statement) for text in texts) == 1
