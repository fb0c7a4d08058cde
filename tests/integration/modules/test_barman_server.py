# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module barman_server on a Barman host of a cluster that the site playbook has made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from driving import Host, Task, check, play, sql

pytestmark = pytest.mark.more

RECEIVER, CRON = "barman-receive-wal.service", "barman-cron.timer"
READ: Task = {"ansible.builtin.slurp": {"src": "/etc/pgherd/cluster.json"}, "register": "description"}
CLUSTER = "{{ description.content | b64decode | from_json }}"
STATE: Task = {
    "pgherd.cluster.barman_server": {"cluster": CLUSTER, "host": "{{ inventory_hostname }}", "timeout": 60},
}


def command(*argv: str, fails: bool = False) -> Task:
    task: Task = {"ansible.builtin.command": {"argv": list(argv)}}
    return {**task, "failed_when": False} if fails else task


def barman(*arguments: str) -> Task:
    argv = ["runuser", "-u", "barman", "--", "barman", "-f", "json", *arguments, "{{ cluster_name }}"]
    return command(*argv, fails=True)


def bad_checks(result: dict[str, Any]) -> set[str]:
    (checks,) = json.loads(result["stdout"]).values()
    return {name for name, said in checks.items() if said["status"] != "OK"}


def statuses(result: dict[str, Any]) -> list[str]:
    (backups,) = json.loads(result["stdout"]).values()
    return [backup["status"] for backup in backups]


@pytest.fixture(scope="module")
def host() -> Host:
    """A Barman host."""
    (results, _printed) = play("barman", [READ])
    return Host(sorted(results)[0])


def test_a_good_host_is_left_alone(host: Host) -> None:
    _read, foretold, real, checks, backups = host.play(
        READ, check(STATE), STATE, barman("check"), barman("list-backups")
    )
    for result in (foretold, real):
        assert (result["changed"], result["steps"]) == (False, [])
        assert result["before"] == result["after"] == result["diff"]["before"]
    assert bad_checks(checks) == set()
    assert "DONE" in statuses(backups)


def test_what_does_not_run_is_started(host: Host) -> None:
    runs = command("systemctl", "is-active", RECEIVER, CRON, fails=True)
    stop = command("systemctl", "stop", RECEIVER, CRON)
    results = host.play(READ, stop, check(STATE), runs, STATE, runs, barman("check"), STATE)
    _read, _stopped, foretold, before, real, after, checks, again = results
    assert before["stdout_lines"] == ["inactive", "inactive"]
    assert after["stdout_lines"] == ["active", "active"]
    assert [result["changed"] for result in (foretold, real, again)] == [True, True, False]
    assert foretold["steps"] == real["steps"]
    assert real["steps"][:2] == ["start barman-cron", "start barman-receiver"]
    assert bad_checks(checks) == set()


def test_status_is_good_when_the_module_has_ended(host: Host) -> None:
    """Whenever the agent looks while the receiver is restarted."""
    touch = command("touch", "/etc/barman.d/{{ cluster_name }}.conf")
    status = command("pgherd", "status", "--json", fails=True)
    results = host.play(READ, *[touch, STATE, status] * 5)[1:]
    for real, seen in zip(results[1::3], results[2::3]):
        assert real["steps"][0] == "restart barman-receiver, whose files changed"
        document = json.loads(seen["stdout"])
        assert "barman-not-receiving" not in {problem["id"] for problem in document["problems"]}
        (view,) = [item["view"] for item in document["topology"]["barmans"] if item["name"] == host.name]
        assert (view["receiving"], [item for item in view["checks"] if not item["ok"]]) == (True, [])


def test_the_receiver_of_barmans_cron_makes_room(host: Host) -> None:
    """What cron started would be restarted by nobody. The module ends when the unit's own receives."""
    stop = command("systemctl", "stop", RECEIVER, CRON)
    crons = command("systemctl", "start", "barman-cron.service")
    results = host.play(READ, stop, crons, STATE, barman("check"), STATE)
    _read, _stopped, _crons, real, checks, again = results
    assert "start barman-receiver" in real["steps"]
    assert bad_checks(checks) == set()
    assert [result["changed"] for result in (real, again)] == [True, False]


def test_a_missing_slot_is_made(host: Host, primary: Host) -> None:
    slots = "SELECT slot_name, active FROM pg_replication_slots WHERE slot_name LIKE 'barman%'"
    had = primary.read(slots)
    names = {row["slot_name"] for row in had}
    # With cron at work it would be back before anybody looks.
    host.play(READ, command("systemctl", "stop", RECEIVER, CRON), command("systemctl", "stop", "barman-cron.service"))
    host.play(READ, barman("receive-wal", "--stop"))
    primary.play(sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'barman'"))
    assert {row["slot_name"] for row in primary.read(slots)} == names - {"barman"}
    _read, foretold, real, again = host.play(READ, check(STATE), STATE, STATE)
    assert [result["changed"] for result in (foretold, real, again)] == [True, True, False]
    assert real["steps"][0] == "create the slot barman on the primary"
    assert primary.read(slots) == had


def test_what_an_interrupted_backup_left_is_deleted(host: Host) -> None:
    slow = ["barman", "backup", "--bwlimit", "32", "{{ cluster_name }}"]
    interrupted = command("runuser", "-u", "barman", "--", "timeout", "-s", "KILL", "20", *slow, fails=True)
    listed = barman("list-backups")
    results = host.play(READ, interrupted, listed, check(STATE), listed, STATE, listed, STATE)
    _read, _interrupted, before, foretold, untouched, real, after, again = results
    assert statuses(before)[0] == "STARTED"
    assert statuses(untouched) == statuses(before)
    assert statuses(after) == statuses(before)[1:]
    assert [result["changed"] for result in (foretold, real, again)] == [True, True, False]
    assert [step.startswith("delete what backup") for step in real["steps"]] == [True, False]


def test_a_primary_that_does_not_answer(host: Host) -> None:
    """A port where nobody listens stands for a primary that is gone."""
    gone = {
        "cluster": f"{CLUSTER[:-3]} | combine({{'port': 9}}) }}}}",
        "host": "{{ inventory_hostname }}",
        "timeout": 3,
    }
    task: Task = {"pgherd.cluster.barman_server": gone}
    rescued: Task = {"block": [task], "rescue": [{"ansible.builtin.meta": "noop"}]}
    foretold, real = host.play(READ, {**rescued, "check_mode": True}, rescued)[1:]
    for result in (foretold, real):
        assert result["failed"]
        assert "no data node takes writes" in result["msg"]
        assert "pgherd status" in result["msg"]
