# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module pg_replication_slot on a primary and a standby."""

from __future__ import annotations

from typing import Any

import pytest
from driving import Host, Task, check, contract, psql, rows, sql

pytestmark = pytest.mark.more

SLOT = "SELECT slot_type, plugin, database, restart_lsn IS NOT NULL AS reserved FROM pg_replication_slots WHERE slot_name = '{}'"
RESERVED = {"slot_type": "physical", "plugin": None, "database": None, "reserved": True}
UNRESERVED = {**RESERVED, "reserved": False}
LOGICAL = {"slot_type": "logical", "plugin": "pgoutput", "database": "postgres", "reserved": True}


def slot(name: str, **options: Any) -> Task:
    return {"pgherd.cluster.pg_replication_slot": {"name": name, **options}}


@pytest.fixture(params=["primary", "standby"])
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.getfixturevalue(request.param)
    return found


def test_physical(host: Host) -> None:
    effect = SLOT.format("test_physical")
    made = contract(host, slot("test_physical"), effect, [], [UNRESERVED])
    assert made["before"] == {}
    assert (made["after"]["active"], made["after"]["wal_status"], made["after"]["restart_lsn"]) == (False, None, None)
    changed = contract(host, slot("test_physical", reserve=True), effect, [UNRESERVED], [RESERVED])
    assert changed["after"]["wal_status"] == "reserved"
    removed = contract(host, slot("test_physical", state="absent"), effect, [RESERVED], [])
    assert removed["before"]["restart_lsn"] == changed["after"]["restart_lsn"]
    assert removed["after"] == {}


def test_logical(primary: Host) -> None:
    effect = SLOT.format("test_logical")
    contract(primary, slot("test_logical", type="logical"), effect, [], [LOGICAL])
    expected = {
        "wanted two_phase True, found two_phase False": slot("test_logical", type="logical", two_phase=True),
        "wanted plugin test_decoding, found plugin pgoutput": slot(
            "test_logical", type="logical", plugin="test_decoding"
        ),
        "wanted database template1, found database postgres": slot(
            "test_logical", type="logical", login_db="template1"
        ),
        "wanted type physical, found type logical": slot("test_logical"),
        "wanted physical, found logical": slot("test_logical", type="physical", state="absent"),
        "use up to 63 lower case letters": slot("Test-Slot"),
        "create logical slot test_plugin on ": slot("test_plugin", type="logical", plugin="test_nowhere"),
    }
    for says, message in zip(expected, primary.refusals(*expected.values())):
        assert says in message
    contract(primary, slot("test_logical", state="absent"), effect, [LOGICAL], [])


def test_two_phase(primary: Host) -> None:
    task = slot("test_two_phase", type="logical", two_phase=True)
    effect = psql("SELECT two_phase FROM pg_replication_slots WHERE slot_name = 'test_two_phase'")
    made, found, again, _removed = primary.play(task, effect, task, slot("test_two_phase", state="absent"))
    assert (made["changed"], rows(found), again["changed"]) == (True, [{"two_phase": True}], False)


def test_failover(primary: Host) -> None:
    wanted = {"type": "logical", "failover": True}
    if primary.version < 17:
        assert "needs PostgreSQL 17 or later, this is 15" in primary.refusals(slot("test_failover", **wanted))[0]
        return
    effect = "SELECT failover FROM pg_replication_slots WHERE slot_name = 'test_failover'"
    on, off = [{"failover": True}], [{"failover": False}]
    contract(primary, slot("test_failover", **wanted), effect, [], on)
    contract(primary, slot("test_failover", type="logical"), effect, on, off)
    contract(primary, slot("test_failover", state="absent"), effect, off, [])


def test_logical_on_a_standby(primary: Host, standby: Host) -> None:
    wanted = slot("test_logical", type="logical", timeout=1)
    if standby.version < 16:
        assert "on a standby needs PostgreSQL 16 or later, this is 15" in standby.refusals(wanted)[0]
        return
    # The slot waits for the primary's news of running transactions, which comes by the hand of the other session.
    snapshots = sql(
        "DO $$ BEGIN FOR i IN 1..50 LOOP PERFORM pg_log_standby_snapshot(), pg_sleep(0.2); END LOOP; END $$"
    )
    task = slot("test_logical", type="logical", timeout=30)
    primary.play({**snapshots, "async": 60, "poll": 0})
    effect = SLOT.format("test_logical")
    contract(standby, task, effect, [], [LOGICAL])
    contract(standby, slot("test_logical", state="absent"), effect, [LOGICAL], [])
    assert "State it on the primary" in standby.refusals(slot("test_failover", type="logical", failover=True))[0]


def test_a_slot_in_use_is_not_dropped(primary: Host) -> None:
    (user,) = primary.read(
        "SELECT slot_name, active_pid, application_name FROM pg_replication_slots JOIN pg_stat_replication"
        " ON pid = active_pid WHERE slot_type = 'physical' ORDER BY 1 LIMIT 1"
    )
    (says,) = primary.refusals(slot(user["slot_name"], state="absent"))
    assert f"in use by process {user['active_pid']} ({user['application_name']})" in says
    assert primary.read(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{user['slot_name']}'") == [
        {"active": True}
    ]


def test_check_mode_where_no_server_is_yet(primary: Host) -> None:
    nowhere = {"name": "test_nowhere", "login_port": 1}
    task: Task = {"pgherd.cluster.pg_replication_slot": nowhere}
    foretold, refused = primary.play(check(task), task)
    assert (foretold["changed"], refused["failed"]) == (True, True)
    assert "connect to" in refused["msg"]
