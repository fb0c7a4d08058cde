# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Replication slots: what is planned for which finding, and the conversation with the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import ConfigError, Conflict, PgherdError, SqlError
from pgherd.objects.slots import FoundSlots, SlotExecutor, WantedSlot, absent, observe, present
from scripted import ScriptedServer

PHYSICAL = WantedSlot("s")
LOGICAL = WantedSlot("s", type="logical", database="shop")
PRIMARY_15 = FoundSlots(version=15, wal_level="logical", free=3)
PRIMARY_17 = replace(PRIMARY_15, version=17)
STANDBY_15 = replace(PRIMARY_15, in_recovery=True)
STANDBY_17 = replace(PRIMARY_17, in_recovery=True)


def physical(**more: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "type": "physical",
        "plugin": None,
        "database": None,
        "temporary": False,
        "active": False,
        "active_pid": None,
        "restart_lsn": "0/3000060",
        "wal_status": "reserved",
        "two_phase": False,
        **more,
    }


def logical(**more: Any) -> dict[str, Any]:
    return physical(**{"type": "logical", "plugin": "pgoutput", "database": "shop", "failover": False, **more})


@pytest.mark.parametrize(
    ("wanted", "state"),
    [
        (PHYSICAL, FoundSlots()),
        (PHYSICAL, replace(PRIMARY_15, wal_level="replica")),
        (PHYSICAL, STANDBY_15),
        (LOGICAL, PRIMARY_15),
        (LOGICAL, STANDBY_17),
        (LOGICAL, replace(STANDBY_17, version=16)),
        (replace(LOGICAL, failover=True), PRIMARY_17),
        (replace(LOGICAL, failover=True), FoundSlots()),
    ],
)
def test_a_missing_slot_is_created(wanted: WantedSlot, state: FoundSlots) -> None:
    plan = present(wanted, state)
    assert [(step.action, dict(step.args)) for step in plan.steps] == [("create", {"slot": wanted})]
    assert plan.before == {}
    assert (plan.after["name"], plan.after["type"]) == ("s", wanted.type)


@pytest.mark.parametrize(
    ("wanted", "state", "says"),
    [
        (LOGICAL, STANDBY_15, "needs PostgreSQL 16 or later, this is 15"),
        (LOGICAL, replace(PRIMARY_17, wal_level="replica"), "Set wal_level to logical and restart"),
        (PHYSICAL, replace(PRIMARY_17, wal_level="minimal"), "Set wal_level to replica and restart"),
        (PHYSICAL, replace(PRIMARY_17, free=0), "Raise max_replication_slots"),
        (replace(LOGICAL, failover=True), PRIMARY_15, "needs PostgreSQL 17 or later, this is 15"),
        (replace(LOGICAL, failover=True), STANDBY_17, "State it on the primary"),
        (WantedSlot("Upper"), PRIMARY_17, "lower case"),
        (WantedSlot("a" * 64), FoundSlots(), "up to 63"),
    ],
)
def test_what_a_server_cannot_do_says_the_cure(wanted: WantedSlot, state: FoundSlots, says: str) -> None:
    with pytest.raises(PgherdError, match=says):
        present(wanted, state)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (WantedSlot("s-1"), "underscores"),
        (replace(PHYSICAL, two_phase=True), "a physical slot has no two_phase"),
        (replace(PHYSICAL, failover=True), "a physical slot has no failover"),
        (replace(LOGICAL, reserve=True), "a logical slot has no reserve"),
    ],
)
def test_mistakes_of_the_user(wanted: WantedSlot, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        present(wanted, PRIMARY_17)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (PHYSICAL, physical()),
        (PHYSICAL, physical(active=True, active_pid=7)),
        (PHYSICAL, physical(restart_lsn=None, wal_status=None)),
        (replace(PHYSICAL, reserve=True), physical()),
        (LOGICAL, logical(active=True, active_pid=7)),
        (replace(LOGICAL, two_phase=True, failover=True), logical(two_phase=True, failover=True)),
    ],
)
def test_a_right_slot_is_left_alone(wanted: WantedSlot, found: dict[str, Any]) -> None:
    plan = present(wanted, replace(PRIMARY_17, slot=found, free=0))
    assert not plan.changed
    assert plan.before == plan.after == found


@pytest.mark.parametrize(
    ("wanted", "found", "says"),
    [
        (PHYSICAL, logical(), "wanted type physical, found type logical"),
        (LOGICAL, physical(), "wanted type logical, found type physical"),
        (PHYSICAL, physical(temporary=True), "wanted temporary False, found temporary True"),
        (LOGICAL, logical(plugin="test_decoding"), "wanted plugin pgoutput, found plugin test_decoding"),
        (LOGICAL, logical(database="other"), "wanted database shop, found database other"),
        (LOGICAL, logical(two_phase=True), "wanted two_phase False, found two_phase True"),
        (LOGICAL, logical(wal_status="lost"), "What its reader missed"),
        (replace(LOGICAL, failover=True), logical(active=True, active_pid=7), r"process 7 \(app\)"),
        (replace(PHYSICAL, reserve=True), physical(restart_lsn=None, active=True, active_pid=7), r"process 7 \(app\)"),
    ],
)
def test_another_slot_is_a_conflict_with_both_values(wanted: WantedSlot, found: dict[str, Any], says: str) -> None:
    with pytest.raises(Conflict, match=says):
        present(wanted, replace(PRIMARY_17, slot=found, application="app"))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (PHYSICAL, physical(restart_lsn=None, wal_status="lost")),
        (replace(PHYSICAL, reserve=True), physical(restart_lsn=None, wal_status=None)),
    ],
)
def test_a_physical_slot_that_holds_nothing_is_replaced(wanted: WantedSlot, found: dict[str, Any]) -> None:
    plan = present(wanted, replace(PRIMARY_17, slot=found))
    assert [step.action for step in plan.steps] == ["drop", "create"]


@pytest.mark.parametrize("failover", [True, False])
def test_failover_is_altered_on_the_primary_only(failover: bool) -> None:
    wanted, found = replace(LOGICAL, failover=failover), logical(failover=not failover)
    plan = present(wanted, replace(PRIMARY_17, slot=found))
    assert [(step.action, step.args["failover"]) for step in plan.steps] == [("set_failover", failover)]
    assert (plan.before["failover"], plan.after["failover"]) == (not failover, failover)
    with pytest.raises(Conflict, match="State it on the primary"):
        present(wanted, replace(STANDBY_17, slot=found))


def test_absent() -> None:
    assert not absent("s", PRIMARY_17).changed
    plan = absent("s", replace(PRIMARY_17, slot=logical()))
    assert [step.what for step in plan.steps] == ["drop slot s"]
    assert (plan.before, plan.after) == (logical(), {})


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        (replace(PRIMARY_17, slot=physical(active=True, active_pid=7), application="pg2"), None, r"process 7 \(pg2\)"),
        (replace(PRIMARY_17, slot=logical()), "physical", "wanted physical, found logical"),
        (replace(STANDBY_17, slot=logical(synced=True)), None, "Drop it on the primary"),
    ],
)
def test_absent_refuses(state: FoundSlots, kind: str | None, says: str) -> None:
    with pytest.raises(Conflict, match=says):
        absent("s", state, kind)


FACTS = {"version": 15, "in_recovery": False, "wal_level": "replica", "free": 9}


def test_observe() -> None:
    # As of PostgreSQL 15: no column failover.
    row = {"slot_name": "s", "slot_type": "physical", "datoid": None, "active": True, "active_pid": 7, "xmin": None}
    server = ScriptedServer(
        "pg1",
        [
            ("current_setting", [FACTS]),
            ("FROM pg_replication_slots", [{"slot": row, "application": "pg2"}]),
            ("current_setting", [FACTS]),
            ("FROM pg_replication_slots", []),
        ],
    )
    assert observe(server, "s") == FoundSlots(
        **FACTS, slot={"name": "s", "type": "physical", "active": True, "active_pid": 7}, application="pg2"
    )
    assert observe(server, "s") == FoundSlots(**FACTS)
    assert server.said[1][1] == ("s",)


def executor(*conversation: tuple[str, Any]) -> tuple[ScriptedServer, SlotExecutor]:
    server = ScriptedServer("pg1", conversation)
    return server, SlotExecutor(server, lambda: server, timeout=2.0)


def test_steps_are_the_servers_functions() -> None:
    server, runs = executor(
        (r"pg_create_physical_replication_slot\(%s, %s\)", []),
        ("set_config", []),
        (r"pg_create_logical_replication_slot\(%s, %s, twophase => %s, failover => true\)", []),
        (r"pg_drop_replication_slot\(%s\)", []),
        (r'^ALTER_REPLICATION_SLOT "s" \(FAILOVER false\)$', []),
    )
    runs.create(replace(PHYSICAL, reserve=True))
    runs.create(replace(LOGICAL, failover=True))
    runs.drop("s")
    runs.set_failover("s", False)
    assert [params for _query, params in server.said] == [
        ("s", True),
        ("2000",),
        ("s", "pgoutput", False),
        ("s",),
        None,
    ]


def test_a_logical_slot_that_waits_too_long_says_what_for() -> None:
    cancelled = SqlError("SELECT", "pg2", "canceling statement due to statement timeout", "57014")
    _server, runs = executor(("set_config", []), ("twophase => %s\\)", cancelled))
    with pytest.raises(SqlError, match=r"no consistent point in 2 s.*pg_log_standby_snapshot"):
        runs.create(LOGICAL)


def test_other_errors_say_what_was_attempted() -> None:
    error = SqlError("SELECT", "pg2", 'could not access file "x"', "58P01")
    _server, runs = executor(("set_config", []), ("logical", error))
    with pytest.raises(SqlError, match=r"^create logical slot s on pg2: could not access file"):
        runs.create(LOGICAL)
