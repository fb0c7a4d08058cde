# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The commands that are given to repmgr, and what stands in its tables."""

from __future__ import annotations

import pytest
from pgherd.errors import CommandError
from pgherd.layout import debian
from pgherd.model import Cluster, Node
from pgherd.ports.sql import conninfo, parse_conninfo
from pgherd.programs.repmgr import Repmgr, recorded, records, wanted_record
from scripted import ScriptedRunner, ScriptedServer


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", {}),
        ("host=pg1 port=5432", {"host": "pg1", "port": "5432"}),
        ("user=repmgr passfile='/a b/c' sslmode=''", {"user": "repmgr", "passfile": "/a b/c", "sslmode": ""}),
        (r"application_name='it\'s' x='a\\b' y=1", {"application_name": "it's", "x": r"a\b", "y": "1"}),
    ],
)
def test_conninfo(text: str, parameters: dict[str, str]) -> None:
    assert parse_conninfo(text) == parameters
    assert parse_conninfo(conninfo(parameters)) == {key: value for key, value in parameters.items() if value}


PROGRAM = ["/usr/lib/postgresql/17/bin/repmgr", "-f", "/etc/repmgr/17/repmgr.conf"]


def test_commands() -> None:
    runner = ScriptedRunner(
        [
            ([*PROGRAM, "-d", "host=pg1", "standby", "clone", "--upstream-node-id=1", "--fast-checkpoint"], ""),
            ([*PROGRAM, "primary", "register", "--force"], ""),
            ([*PROGRAM, "standby", "register", "--force", "--upstream-node-id=1", "--wait-sync=30"], ""),
            ([*PROGRAM, "-d", "host=pg1", "witness", "register", "--force"], ""),
            ([*PROGRAM, "standby", "follow", "--upstream-node-id=1"], ""),
        ]
    )
    repmgr = Repmgr(runner, debian(17))
    repmgr.clone("host=pg1", 1)
    repmgr.register_primary()
    repmgr.register_standby(1)
    repmgr.register_witness("host=pg1")
    repmgr.follow(1)
    assert {call.user for call in runner.calls} == {"postgres"}


def test_what_repmgr_said_is_in_the_error() -> None:
    runner = ScriptedRunner([("standby follow", (23, "", "ERROR: no free slot"))])
    with pytest.raises(CommandError, match=r"follow node 1: .* exited 23: ERROR: no free slot") as raised:
        Repmgr(runner, debian(17)).follow(1)
    assert raised.value.rc == 23


def test_records() -> None:
    cluster = Cluster("c", (Node("pg1", 1, "postgres", "pg1"), Node("pg2", 2, "postgres", "pg2", "pg1", priority=7)))
    wanted = wanted_record(cluster, cluster.node("pg2"), "standby", 1, debian(17))
    assert (wanted.priority, wanted.slot_name, wanted.upstream_id) == (7, "repmgr_slot_2", 1)
    server = ScriptedServer("pg1", [("FROM repmgr.nodes", [dict(vars(wanted))])])
    assert records(server) == (wanted,)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], None),
        ([{"type": "primary", "active": True, "upstream": None}], ("primary", True, None)),
        ([{"type": "standby", "active": False, "upstream": 1}], ("standby", False, 1)),
    ],
)
def test_one_record(rows: list[dict[str, object]], found: object) -> None:
    server = ScriptedServer("pg1", [("FROM repmgr.nodes WHERE node_id", rows)])
    assert recorded(server, 2) == found
    assert server.said[0][1] == (2,)
