# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is known of Pgpool-II, against what the real programs of both versions answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import CommandError, ConfigError, ProtocolError, Unreachable
from pgherd.programs.pgpool import Pcp, from_row, parse_node_info, parse_status_file, pcp_passfile
from pgherd.programs.pgpool_settings import needs_restart, parse_configuration, setting
from scripted import ScriptedRunner

RECORDED = Path(__file__).parents[1] / "recorded" / "pgpool"
VERSIONS = ("4.3", "4.6")
PCP = "-h /var/run/postgresql -p 9898 -U pgherd -w"


def recorded(version: str, scenario: str, command: str) -> dict[str, Any]:
    """The recorded answer to the command that begins so."""
    lines = (RECORDED / version / f"{scenario}.jsonl").read_text(encoding="utf-8").splitlines()
    return next(item for item in map(json.loads, lines) if item["command"].startswith(command))


def nodes(version: str, scenario: str) -> dict[int, Any]:
    return parse_node_info(recorded(version, scenario, f"pcp_node_info {PCP} --all --verbose")["out"])


@pytest.mark.parametrize("version", VERSIONS)
class TestTable:
    def test_numbers_survive_the_gap(self, version: str) -> None:
        found = nodes(version, "healthy")
        assert {number: node.host for number, node in found.items()} == {0: "pool-pg1", 1: "pool-pg2", 3: "pool-pg3"}

    def test_waiting_is_healthy(self, version: str) -> None:
        found = nodes(version, "healthy")
        assert {node.status for node in found.values()} == {"waiting"}
        assert all(node.attached for node in found.values())
        assert [number for number, node in found.items() if node.role == "primary"] == [1]

    def test_detached(self, version: str) -> None:
        found = nodes(version, "detached")
        assert found[3].status == "down"
        assert not found[3].attached

    def test_a_gap_that_pgpool_calls_down_is_still_a_gap(self, version: str) -> None:
        rows = recorded(version, "promoted", "SHOW POOL_NODES")["rows"]
        assert (rows[2]["hostname"], rows[2]["status"]) == ("", "down")
        assert {number: node.attached for number, node in nodes(version, "promoted").items()} == {
            0: False,
            1: False,
            3: True,
        }

    def test_both_sources_say_the_same(self, version: str) -> None:
        for scenario in ("healthy", "detached", "delayed"):
            rows = [from_row(row) for row in recorded(version, scenario, "SHOW POOL_NODES")["rows"]]
            by_sql = {row.number: row for row in rows if row.host}
            by_pcp = nodes(version, scenario)
            for number, node in by_pcp.items():
                assert by_sql[number].host == node.host
                assert by_sql[number].attached == node.attached
                assert by_sql[number].role == node.role
                assert by_sql[number].replication_state == node.replication_state

    def test_status_file(self, version: str) -> None:
        used = parse_status_file(recorded(version, "detached", "cat ")["out"])
        assert used == {0: False, 1: True, 3: False}

    def test_what_is_no_table_is_refused_with_its_text(self, version: str) -> None:
        with pytest.raises(ProtocolError, match="Successful"):
            parse_node_info(recorded(version, "errors", "pcp_reload_config")["out"])


def test_delay_is_bytes_or_seconds() -> None:
    assert (nodes("4.3", "delayed")[3].delay_bytes, nodes("4.3", "delayed")[3].delay_seconds) == (312, None)
    assert nodes("4.6", "delayed")[3].delay_bytes is None
    assert nodes("4.6", "delayed")[3].delay_seconds == pytest.approx(5.757866)
    assert nodes("4.6", "delayed")[3].sync_state == "quorum"


def test_a_row_is_read_by_name() -> None:
    row = {"role": "primary", "status": "up", "port": "5432", "hostname": "a", "node_id": "7", "new_column": "x"}
    assert from_row(row).number == 7
    with pytest.raises(ProtocolError, match="hostname"):
        from_row({"node_id": "1", "port": "1", "status": "up", "role": "primary"})


@pytest.mark.parametrize("version", VERSIONS)
class TestErrors:
    """The programs exit 0 after most errors, so the exit code alone says nothing."""

    def client(self, version: str, command: str) -> tuple[Pcp, ScriptedRunner]:
        answer = recorded(version, "errors", command)
        runner = ScriptedRunner([(answer["command"].split()[0], (answer["rc"], answer["out"], answer["err"]))])
        return Pcp(runner), runner

    def test_unknown_number(self, version: str) -> None:
        assert recorded(version, "errors", "pcp_attach_node")["rc"] == 0
        with pytest.raises(CommandError, match="Invalid node-id"):
            self.client(version, "pcp_attach_node")[0].attach(777)

    def test_detach_of_what_is_not_attached(self, version: str) -> None:
        assert recorded(version, "errors", "pcp_detach_node")["rc"] == 0
        with pytest.raises(CommandError, match="not valid for failover"):
            self.client(version, "pcp_detach_node")[0].detach(2)

    def test_promote_of_the_primary(self, version: str) -> None:
        with pytest.raises(CommandError, match="already primary"):
            self.client(version, "pcp_promote_node")[0].promote(1)

    def test_reload(self, version: str) -> None:
        self.client(version, "pcp_reload_config")[0].reload()

    def test_no_pgpool(self, version: str) -> None:
        with pytest.raises(Unreachable, match="No such file"):
            self.client(version, "pcp_node_info -h /nowhere")[0].nodes()

    def test_wrong_password(self, version: str) -> None:
        lines = map(json.loads, (RECORDED / version / "errors.jsonl").read_text(encoding="utf-8").splitlines())
        answer = next(item for item in lines if "authentication" in item["err"])
        runner = ScriptedRunner([("pcp_node_info", (answer["rc"], answer["out"], answer["err"]))])
        with pytest.raises(CommandError, match="PCP user and the password file"):
            Pcp(runner).nodes()


def test_the_password_is_in_no_argument() -> None:
    runner = ScriptedRunner([("pcp_attach_node", "pcp_attach_node -- Command Successful\n")])
    Pcp(runner, "/var/run/postgresql", passfile="/a/file").attach(3)
    (call,) = runner.calls
    assert call.argv == ("pcp_attach_node", *PCP.split(), "-n", "3")
    assert call.env == {"PCPPASSFILE": "/a/file"}


def test_passfile_escapes_what_would_end_it() -> None:
    assert pcp_passfile("pgherd", "a:b\\c") == "*:*:pgherd:a\\:b\\\\c\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (True, "x = on\n"),
        (False, "x = off\n"),
        (5, "x = 5\n"),
        (0.5, "x = 0.5\n"),
        ("5min", "x = '5min'\n"),
        ('%m, "x": a\\b', "x = '%m, \"x\": a\\b'\n"),
        ("it\\'s", "x = 'it\\'s'\n"),
        ("", "x = ''\n"),
    ],
)
def test_setting_and_back(value: object, line: str) -> None:
    """What pgpool showed of such lines is in docs/pgpool.md: nothing is escaped, nothing is unescaped."""
    assert setting("x", value) == line
    back = parse_configuration(line)["x"]
    assert back == {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else back == str(value)


@pytest.mark.parametrize("value", ["it's", "two\nlines"])
def test_a_value_that_the_file_cannot_hold(value: str) -> None:
    with pytest.raises(ConfigError, match=r"cluster_pgpool_settings: x: .* backslash"):
        setting("x", value)


def test_configuration_is_read_as_pgpool_reads_it() -> None:
    text = "# x = 1\nPort = 9999 # note\nport = 9998\nname= 'a # b'\nempty = ''\nbare = on\n\n"
    assert parse_configuration(text) == {"port": "9998", "name": "a # b", "empty": "", "bare": "on"}


ONE = {"backend_hostname0": "a", "backend_port0": "5432", "backend_weight0": "1"}
TWO = {"backend_hostname1": "b", "backend_port1": "5432", "backend_weight1": "1"}


@pytest.mark.parametrize(
    ("loaded", "standing", "reasons"),
    [
        ({**ONE, "port": "1"}, {**ONE, "port": "1"}, []),
        ({"port": "1"}, {"port": "2"}, ["port changes"]),
        ({"num_init_children": "1"}, {"num_init_children": "2"}, ["num_init_children changes"]),
        ({"log_connections": "on"}, {"log_connections": "off"}, []),
        ({"log_connections": "on"}, {}, ["log_connections goes back to its default"]),
        ({}, {"log_connections": "on"}, []),
        (ONE, {**ONE, **TWO}, []),
        (ONE, {**ONE, "backend_weight0": "2"}, []),
        (ONE, {k: v for k, v in ONE.items() if k != "backend_weight0"}, ["backend_weight0 goes back to its default"]),
        (ONE, {**ONE, "backend_hostname0": "c"}, ["backend_hostname0 of a backend in use changes"]),
        (ONE, {**ONE, "backend_port0": "5433"}, ["backend_port0 of a backend in use changes"]),
    ],
)
def test_what_only_a_restart_takes(loaded: dict[str, str], standing: dict[str, str], reasons: list[str]) -> None:
    assert needs_restart(loaded, standing) == reasons


def test_a_backend_that_is_gone_is_no_reason_to_restart() -> None:
    """It is detached instead; pgpool forgets it at its next restart."""
    assert needs_restart({**ONE, **TWO}, ONE) == []
