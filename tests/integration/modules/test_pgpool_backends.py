# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module pgpool_backends on a host with a running Pgpool-II; every effect is read with PCP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from driving import Host, Task, check, play

pytestmark = pytest.mark.more

MODULE = "pgherd.cluster.pgpool_backends"
CONFIG = "/etc/pgpool2/pgpool.conf"
# A number that no node has.
SPARE = 99
PCP = ["pcp_node_info", "-h", "/var/run/postgresql", "-p", "9898", "-U", "pgherd", "-w", "--all"]
TABLE: Task = {
    "ansible.builtin.command": {"argv": PCP},
    "environment": {"PCPPASSFILE": "/etc/pgherd/pcp.pass"},
    "changed_when": False,
}


def unit(name: str, state: str) -> Task:
    return {"ansible.builtin.systemd_service": {"name": name, "state": state}}


def backends(**options: Any) -> Task:
    return {MODULE: {"timeout": 60, **options}}


def table(result: dict[str, Any]) -> dict[int, tuple[str, str, str]]:
    """Host, status and role by number, from what TABLE read."""
    lines = [line.split(" ") for line in result["stdout"].splitlines() if line.strip()]
    return {number: (line[0], line[4], line[6]) for number, line in enumerate(lines) if line[0]}


@pytest.fixture(scope="module")
def pool() -> Iterator[Host]:
    """A pgpool host whose agent rests while the tests say what should be attached."""
    facts, _output = play("pgpool", [TABLE])
    host = Host(min(facts))
    host.play(
        {"ansible.builtin.copy": {"src": CONFIG, "dest": "/root/pgpool.conf.test", "remote_src": True, "mode": "0600"}}
    )
    host.play(unit("pgherd-agent.service", "stopped"), backends())
    yield host
    back = {"src": "/root/pgpool.conf.test", "dest": CONFIG, "remote_src": True, "mode": "0640", "group": "postgres"}
    results = host.play(
        {"ansible.builtin.copy": back},
        {"ansible.builtin.file": {"path": "/root/pgpool.conf.test", "state": "absent"}},
        unit("pgpool2.service", "restarted"),
        unit("pgherd-agent.service", "started"),
        backends(minimum=2),
    )
    assert not results[-1].get("failed"), results[-1]


@pytest.fixture(scope="module")
def member(pool: Host) -> tuple[int, str]:
    """Number and host of an attached standby."""
    found = table(pool.play(TABLE)[0])
    return next(
        (number, host) for number, (host, status, role) in found.items() if role == "standby" and status != "down"
    )


def contract(pool: Host, task: Task) -> tuple[dict[int, Any], dict[int, Any], dict[str, Any]]:
    """As driving.contract, with the effect read by PCP: the tables before and after, and the real run's result."""
    results = pool.play(check(task), TABLE, task, check(task), task, TABLE)
    failed = [result for result in results if result.get("failed")]
    assert not failed, failed[0]["msg"]
    foretold, untouched, real, again_foretold, again, made = results
    assert [result["changed"] for result in (foretold, real, again_foretold, again)] == [True, True, False, False]
    assert foretold["steps"] == real["steps"]
    assert foretold["diff"]["before"] != foretold["diff"]["after"]
    assert again_foretold["diff"]["before"] == again_foretold["diff"]["after"]
    return table(untouched), table(made), real


def test_detach_and_attach(pool: Host, member: tuple[int, str]) -> None:
    number, host = member
    one = [{"number": number, "host": host}]
    before, after, _result = contract(pool, backends(backends=one, state="detached"))
    assert before[number][1] != "down"
    assert after[number][1] == "down"
    assert {at: node for at, node in after.items() if at != number} == {
        at: node for at, node in before.items() if at != number
    }
    before, after, result = contract(pool, backends(backends=f"{number}:{host}::::", state="attached"))
    assert before[number][1] == "down"
    assert after[number][1] in ("waiting", "up")
    assert result["has_write_node"] is True
    assert "streams from" in result["steps"][0]


def test_observed_mends_whatever_was_done_by_hand(pool: Host, member: tuple[int, str]) -> None:
    number, host = member
    pool.play(backends(backends=[{"number": number, "host": host}], state="detached"))
    _before, after, _result = contract(pool, backends())
    assert after[number][1] in ("waiting", "up")


def test_a_new_backend_needs_no_restart(pool: Host, member: tuple[int, str]) -> None:
    """A second number for the same server, so that it streams; pgpool forgets it in the fixture's restart."""
    main_pid = {"ansible.builtin.command": {"argv": ["systemctl", "show", "-p", "MainPID", "pgpool2"]}}
    (pid,) = pool.play(main_pid)
    text = f"{SPARE}:{member[1]}::0.5::"
    before, after, _result = contract(pool, backends(backends=text, config=CONFIG, state="attached"))
    assert SPARE not in before
    assert after[SPARE][0] == member[1]
    assert after[SPARE][1] in ("waiting", "up")
    assert pool.play(main_pid)[0]["stdout"] == pid["stdout"]


def test_another_server_under_a_number_in_use_is_a_conflict(pool: Host, member: tuple[int, str]) -> None:
    (message,) = pool.refusals(backends(backends=f"{member[0]}:elsewhere", config=CONFIG))
    assert f"backend {member[0]} of pgpool is another server: wanted elsewhere:5432, found {member[1]}:5432" in message


def test_what_does_not_serve_is_not_attached(pool: Host) -> None:
    (message,) = pool.refusals(backends(backends=f"{SPARE - 1}:localhost:1", config=CONFIG, state="attached"))
    assert f"attach backend {SPARE - 1} (localhost:1)" in message
    assert SPARE - 1 not in table(pool.play(TABLE)[0])


def test_mistakes_are_refused_in_a_sentence(pool: Host, member: tuple[int, str]) -> None:
    wrong, unknown = pool.refusals(
        backends(backends="1:b:1:1:d:NEVER,x:y"),
        backends(backends=f"{SPARE - 2}:{member[1]}"),
    )
    assert "its flag is one of" in wrong
    assert "its number must be 0 to 127, not 'x'" in wrong
    assert "name its file in config" in unknown


def test_the_password_is_shown_nowhere(pool: Host) -> None:
    word = "7kq2leaks"
    results, output = play(pool.name, [{**backends(pcp_password=word), "ignore_errors": True}], verbosity=3)
    assert results[pool.name][0]["failed"]
    assert "authentication failed" in results[pool.name][0]["msg"]
    assert word not in output
