# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""repmgr's output as recorded from the real programs, and the commands that are given to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pgherd.errors import CommandError, ProtocolError
from pgherd.model import Cluster, Node
from pgherd.ports.sql import conninfo, parse_conninfo
from pgherd.programs.repmgr import Repmgr, records, wanted_record
from pgherd.programs.repmgr_output import parse_cluster_show, parse_node_check, parse_service_status
from scripted import ScriptedRunner, ScriptedServer

RECORDED = Path(__file__).parent / "recorded" / "repmgr"
# In 5.3's recordings the nodes are b1, b2, bw; in 5.5's pg1, pg2, w1.
NAMES = {"5.3": ("b1", "b2", "bw"), "5.5": ("pg1", "pg2", "w1")}
VERSIONS = pytest.mark.parametrize("version", sorted(NAMES))


def recorded(version: str, name: str) -> str:
    """What the program said; the first line of the file says which command it was."""
    command, _newline, said = (RECORDED / version / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    assert command.startswith("# repmgr ")
    return said


@VERSIONS
@pytest.mark.parametrize("form", ["cluster_show", "cluster_show_compact"])
def test_cluster_show(version: str, form: str) -> None:
    primary, standby, witness = parse_cluster_show(recorded(version, f"{form}.healthy"))
    names = NAMES[version]
    assert (primary.node_id, primary.name, primary.role, primary.status) == (1, names[0], "primary", "* running")
    assert (primary.upstream, primary.location, primary.priority, primary.timeline) == ("", "default", 100, 1)
    assert (standby.name, standby.role, standby.status, standby.upstream) == (names[1], "standby", "running", names[0])
    assert (witness.node_id, witness.role, witness.priority, witness.timeline) == (9, "witness", 0, None)


@VERSIONS
@pytest.mark.parametrize("form", ["cluster_show", "cluster_show_compact"])
def test_cluster_show_with_a_standby_down(version: str, form: str) -> None:
    rows = {row.node_id: row for row in parse_cluster_show(recorded(version, f"{form}.standby-down"))}
    assert (rows[2].status, rows[2].upstream, rows[2].timeline) == ("- failed", f"? {NAMES[version][0]}", None)
    assert rows[1].status == "* running"


@VERSIONS
@pytest.mark.parametrize(("situation", "paused"), [("healthy", False), ("paused", True)])
def test_service_status(version: str, situation: str, paused: bool) -> None:
    primary, standby, witness = parse_service_status(recorded(version, f"service_status.{situation}"))
    assert [row.type for row in (primary, standby, witness)] == ["primary", "standby", "witness"]
    assert [row.paused for row in (primary, standby, witness)] == [paused] * 3
    assert all(row.repmgrd_running and row.postgres_running and row.pid for row in (primary, standby, witness))
    assert (primary.upstream_seen, standby.upstream_seen) == (None, 0)
    assert (standby.priority, standby.location, witness.priority) == (100, "default", 0)


@VERSIONS
def test_service_status_of_a_node_that_is_down(version: str) -> None:
    down = parse_service_status(recorded(version, "service_status.standby-down"))[1]
    assert (down.postgres_running, down.repmgrd_running, down.paused, down.pid) == (False, None, None, None)


@VERSIONS
def test_node_check(version: str) -> None:
    well = parse_node_check(recorded(version, "node_check.healthy"))
    assert {verdict for verdict, _details in well.values()} == {"OK"}
    # The inner quotes are repmgr's.
    assert well["Configured data directory"][1].startswith('configured "data_directory" is "/var/lib/postgresql/')
    down = parse_node_check(recorded(version, "node_check.standby-down"))
    standby = NAMES[version][1]
    assert down["Downstream servers"] == (
        "CRITICAL",
        f"1 of 1 downstream nodes not attached; missing: {standby} (ID: 2)",
    )
    assert down["Replication slots"][0] == "CRITICAL"


@pytest.mark.parametrize("parse", [parse_cluster_show, parse_node_check])
@pytest.mark.parametrize("said", ["", "ERROR: connection to database failed"])
def test_no_table(parse: object, said: str) -> None:
    with pytest.raises(ProtocolError):
        parse(said)  # type: ignore[operator]


@pytest.mark.parametrize("said", ["ERROR: connection to database failed", "1,pg1,primary,yes,1,1,1,1,1,default"])
def test_no_status(said: str) -> None:
    with pytest.raises(ProtocolError):
        parse_service_status(said)


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
    repmgr = Repmgr(runner, 17)
    repmgr.clone("host=pg1", 1)
    repmgr.register_primary()
    repmgr.register_standby(1)
    repmgr.register_witness("host=pg1")
    repmgr.follow(1)
    assert {call.user for call in runner.calls} == {"postgres"}


def test_what_repmgr_said_is_in_the_error() -> None:
    runner = ScriptedRunner([("standby follow", (23, "", "ERROR: no free slot"))])
    with pytest.raises(CommandError, match=r"follow node 1: .* exited 23: ERROR: no free slot") as raised:
        Repmgr(runner, 17).follow(1)
    assert raised.value.rc == 23


def test_records() -> None:
    cluster = Cluster("c", (Node("pg1", 1, "postgres", "pg1"), Node("pg2", 2, "postgres", "pg2", "pg1", priority=7)))
    wanted = wanted_record(cluster, cluster.node("pg2"), "standby", 1, 17)
    assert (wanted.priority, wanted.slot_name, wanted.upstream_id) == (7, "repmgr_slot_2", 1)
    server = ScriptedServer("pg1", [("FROM repmgr.nodes", [dict(vars(wanted))])])
    assert records(server) == (wanted,)
