# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Barman's output, as recorded from 3.4 and 3.13, and what is asked of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import CommandError, ProtocolError, Unreachable
from pgherd.programs.barman import CHECK_ARCHIVE, Client, grants, receives, roles, running
from pgherd.programs.barman_view import DONE, FAILED, WAITING, Backup, BarmanView, Check, parse_view
from scripted import ScriptedRunner

RECORDED = Path(__file__).parents[1] / "recorded" / "barman"
VERSIONS = ("3.4", "3.13")


def recorded(version: str, state: str) -> dict[str, tuple[int, str, str]]:
    """What each command answered, by command line."""
    lines = (RECORDED / version / f"{state}.jsonl").read_text().splitlines()
    return {row["command"]: (row["rc"], row["out"], row["err"]) for row in map(json.loads, lines)}


def client(version: str, state: str, *commands: str) -> Client:
    """Barman of *version*, of which *commands* will be asked, in this order."""
    said = recorded(version, state)
    return Client(ScriptedRunner([(f"/usr/bin/{command}".split(), said[command]) for command in commands]), "demo")


def failed(checks: tuple[Check, ...]) -> set[str]:
    return {check.name for check in checks if not check.ok}


NO_BACKUP = "minimum_redundancy_requirements"
INCOMPATIBLE = {"pg_basebackup_compatible", "pg_receivexlog_compatible"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("state", "bad"),
    [
        ("healthy", set()),
        (
            "empty",
            {"no_access_to_backup_functions", "replication_slot", "receive_wal_running", CHECK_ARCHIVE, NO_BACKUP},
        ),
        ("waiting", {CHECK_ARCHIVE, NO_BACKUP}),
        ("running", {NO_BACKUP}),
        ("failed", {"failed_backups"}),
        ("silent", {"failed_backups", "replication_slot", "receive_wal_running"}),
        ("unreachable", {"failed_backups", "postgresql", "receive_wal_running", *INCOMPATIBLE}),
    ],
)
def test_checks(version: str, state: str, bad: set[str]) -> None:
    checks = client(version, state, "barman -f json check demo").checks()
    assert failed(checks) >= bad
    # The host with 3.13 had lost its only backup when the last three were recorded, and with it its slot's use.
    assert failed(checks) - bad <= {CHECK_ARCHIVE, NO_BACKUP, "replication_slot"}
    assert len(checks) > 15


def test_a_check_has_its_hint() -> None:
    checks = client("3.13", "silent", "barman -f json check demo").checks()
    slot = next(check for check in checks if check.name == "replication_slot")
    assert str(slot) == "replication slot: slot 'barman' not active: is 'receive-wal' running?"


def test_unknown_checks_are_data() -> None:
    answer = {"demo": {"phase_of_the_moon": {"status": "FAILED", "hint": "full"}, "other": {"status": "OK"}}}
    runner = ScriptedRunner([("check demo$", (1, json.dumps(answer), ""))])
    assert Client(runner, "demo").checks() == (Check("other", True), Check("phase_of_the_moon", False, "full"))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_backups(version: str) -> None:
    assert client(version, "waiting", "barman -f json list-backups demo").backups() == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_running_backup_has_no_more_than_its_status(version: str) -> None:
    (backup,) = client(version, "running", "barman -f json list-backups demo").backups()
    kind = {"3.4": "", "3.13": "full"}[version]
    assert backup == Backup(backup.id, "STARTED", kind)
    assert not backup.finished


@pytest.mark.parametrize("version", VERSIONS)
def test_a_finished_backup(version: str) -> None:
    (listed,) = client(version, "healthy", "barman -f json list-backups demo").backups()
    assert (listed.status, listed.finished, listed.begin) == (DONE, True, None)
    assert listed.size is not None
    assert listed.size > 400_000_000
    command = f"barman -f json show-backup demo {listed.id}"
    shown = client(version, "healthy", command).backup(listed.id)
    assert (shown.end, shown.size) == (listed.end, listed.size)
    assert shown.begin is not None
    assert shown.end is not None
    assert 1 <= shown.end - shown.begin <= 60
    assert shown.timeline == 1
    assert shown.begin_wal[:8] == "00000001" <= shown.end_wal[:8]


def test_a_copied_backup_that_lacks_wal_is_not_finished() -> None:
    (backup,) = client("3.13", "unchecked", "barman -f json list-backups demo").backups()
    assert (backup.status, backup.finished) == (WAITING, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failed_backup_says_why(version: str) -> None:
    newest = client(version, "failed", "barman -f json list-backups demo").backups()[0]
    assert (newest.status, newest.end, newest.size) == (FAILED, None, None)
    shown = client(version, "failed", f"barman -f json show-backup demo {newest.id}").backup(newest.id)
    assert shown.error.startswith("failure copying files")


@pytest.mark.parametrize("version", VERSIONS)
def test_configuration_and_version(version: str) -> None:
    found = client(version, "unreachable", "barman -f json show-servers demo").configuration()
    assert found["wals_directory"] == "/var/lib/barman/demo/wals"
    assert client(version, "healthy", "barman --version").version().startswith(version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("state", "command", "sentence"),
    [
        ("waiting", "receive-wal --create-slot demo", "Replication slot 'barman' already exists"),
        ("unreachable", "receive-wal --create-slot demo", "Cannot connect to server 'demo'"),
    ],
)
def test_an_error_is_what_barman_says(version: str, state: str, command: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        client(version, state, f"barman -f json {command}").create_slot()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_switch_that_fails(version: str) -> None:
    with pytest.raises(CommandError, match="Unable to perform pg_switch_wal for server 'demo'"):
        client(version, "unreachable", "barman -f json switch-wal --archive --archive-timeout 5 demo").switch_wal(5)
    with pytest.raises(CommandError, match="has not been received in 3 seconds"):
        client(version, "healthy", "barman -f json switch-wal --archive --archive-timeout 3 demo").switch_wal(3)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_server(version: str) -> None:
    answer = recorded(version, "healthy")["barman -f json check nosuch"]
    with pytest.raises(CommandError, match="Unknown server 'nosuch'"):
        Client(ScriptedRunner([("check nosuch$", answer)]), "nosuch").checks()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((2, "", "usage: barman"), CommandError, "usage: barman"),
        ((0, "not JSON", ""), ProtocolError, "not JSON"),
        ((0, "[]", ""), ProtocolError, "no JSON object"),
        (Unreachable("run barman: the program is not installed here."), Unreachable, "not installed"),
    ],
)
def test_no_answer(answer: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Client(ScriptedRunner([("list-backups", answer)]), "demo").backups()


def test_it_runs_as_barman() -> None:
    runner = ScriptedRunner([("list-backups demo$", '{"demo": []}')])
    Client(runner, "demo").backups()
    assert runner.calls[0].user == "barman"


def test_what_the_roles_may() -> None:
    by_name = {role.name: role for role in roles(17)}
    assert not any(role.superuser for role in roles(17))
    assert (by_name["streaming_barman"].replication, by_name["streaming_barman"].memberships) == (True, ())
    assert by_name["barman"].memberships == ("pg_read_all_settings", "pg_read_all_stats", "pg_checkpoint")
    functions = {grant.object for grant in grants(17)}
    assert {"pg_backup_start(text,boolean)", "pg_backup_stop(boolean)", "pg_switch_wal()"} <= functions
    assert {grant.role for grant in grants(15)} == {"barman"}


def test_a_view_survives_its_journey() -> None:
    view = BarmanView(
        "backup1",
        "demo",
        1000.0,
        checks=(Check("a", True), Check("b", False, "why")),
        backups=(Backup("3", "STARTED"), Backup("2", DONE, end=900.0, size=5), Backup("1", DONE, end=500.0)),
        receiving=True,
        receiving_wal="00000002000000000000000A",
        last_wal="000000020000000000000009",
        last_wal_at=990.0,
        unread={"check": "too slow"},
    )
    assert parse_view(json.dumps(view.to_dict())) == view
    assert (view.last_backup, view.first_recoverable, view.wal_timeline) == (view.backups[1], 500.0, 2)
    assert [check.name for check in view.failed_checks] == ["b"]


def test_a_view_of_which_nothing_is_known() -> None:
    view = parse_view(json.dumps(BarmanView("h", "s", 1.0, unread={"check": "?"}).to_dict()))
    assert (view.checks, view.backups, view.last_backup, view.first_recoverable, view.wal_timeline) == (None,) * 5


def test_a_newer_agent_may_say_more() -> None:
    data = {**BarmanView("h", "s", 1.0, checks=(Check("a", True),)).to_dict(), "more": 1}
    data["checks"][0]["more"] = 2
    assert parse_view(json.dumps(data)).checks == (Check("a", True),)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', "<html>"])
def test_what_is_no_view(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_view(text)


def test_running_looks_at_the_process_and_not_only_at_its_file(tmp_path: Path) -> None:
    lock = tmp_path / ".demo-backup.lock"
    assert not running(str(tmp_path), "demo", "backup")
    lock.write_text(str(os.getpid()))
    assert not running(str(tmp_path), "demo", "backup"), "this test is not barman"
    program = tmp_path / "barman"
    program.write_text("import sys; print('up', flush=True); sys.stdin.read()")
    argv = [sys.executable, str(program), "backup", "demo"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        lock.write_text(str(process.pid))
        assert running(str(tmp_path), "demo", "backup")
        assert not running(str(tmp_path), "demo", "receive-wal")
    assert not running(str(tmp_path), "demo", "backup")


SLEEPER = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.mark.parametrize(
    ("what", "words", "expected"),
    [
        # As Barman 3.4 and 3.13 start it (PgReceiveXlog in command_wrappers.py).
        ("it receives", ["/usr/lib/postgresql/15/bin/pg_receivewal", "--verbose", "--no-loop", "--directory=/x"], True),
        ("it is asked for its version", ["/usr/lib/postgresql/15/bin/pg_receivewal", "--version"], False),
        ("it is another program", ["/usr/bin/rsync", "--directory=/x"], False),
    ],
)
def test_wal_is_received_by_a_child(what: str, words: list[str], expected: bool) -> None:
    """Real processes, which only call themselves so."""
    assert not receives(0)
    assert not receives(os.getpid())
    name, *rest = words
    argv = [name, "-c", SLEEPER, *rest]
    with subprocess.Popen(argv, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert receives(os.getpid()) is expected, what
        assert not receives(os.getppid()), "a child's child is another's"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not receives(os.getpid()), "it has ended, and nobody has waited for it"
    assert not receives(os.getpid())
