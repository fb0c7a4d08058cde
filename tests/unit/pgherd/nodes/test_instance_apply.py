# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Making a new cluster, whatever the data directory is."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.data import clone
from pgherd.data.clone import STAGE, unfinished
from pgherd.errors import CommandError, PgherdError
from pgherd.model import Cluster, Node
from pgherd.nodes import instance_apply
from pgherd.nodes.instance_apply import InstanceExecutor
from pgherd.options import Options
from pgherd.ports.run import Result
from scripted import ScriptedServer

CONTROL = """Database system identifier:           7
Database cluster state:               shut down
Latest checkpoint location:           0/3000060
"""


class Initdb:
    """A runner that makes directories, and what initdb makes, or *fails* when that is half done."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.user = ""

    def run(self, argv: list[str], **options: Any) -> Result:
        self.user = options["user"]
        if "pg_controldata" in argv[0]:
            return Result(tuple(argv), 0, CONTROL)
        (data,) = (Path(word.partition("=")[2]) for word in argv if word.startswith("--pgdata="))
        (wal,) = (Path(word.partition("=")[2]) for word in argv if word.startswith("--waldir="))
        assert os.listdir(wal) == [], "initdb refuses what is not empty"
        data.mkdir()
        (wal / "000000010000000000000001").write_text("")
        (data / "PG_VERSION").write_text("17")
        if self.fails:
            return Result(tuple(argv), 1, "", "initdb: killed")
        (data / "pg_wal").symlink_to(wal)
        (data / "base").mkdir()
        (data / "global").mkdir()
        (data / "global/pg_control").write_bytes(bytes(8192))
        return Result(tuple(argv), 0)


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)


def initialize(tmp_path: Path, runner: Initdb) -> None:
    options = {"data_directory": str(tmp_path / "data"), "wal_directory": str(tmp_path / "wal"), "data_checksums": True}
    cluster = Cluster("demo", (Node("pg1", 1, "postgres", "pg1"),), options=Options.of(options))
    InstanceExecutor(here_of(cluster, "pg1", runner=runner)).initialize()


def test_a_mount_point_is_filled_and_not_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "lost+found").mkdir(parents=True)
    mounted, runner = data.stat().st_ino, Initdb()
    initialize(tmp_path, runner)
    assert data.stat().st_ino == mounted
    assert sorted(os.listdir(data)) == ["PG_VERSION", "base", "global", "lost+found", "pg_wal"]
    assert os.listdir(data / "pg_wal") == ["000000010000000000000001"]
    assert runner.user == "postgres"


def test_half_a_cluster_is_none_and_is_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(CommandError, match="make a new cluster on pg1"):
        initialize(tmp_path, Initdb(fails=True))
    assert os.listdir(data) == [STAGE]
    assert unfinished(os.listdir(data))
    initialize(tmp_path, Initdb())
    assert sorted(os.listdir(data)) == ["PG_VERSION", "base", "global", "pg_wal"]


class Systemd:
    """A unit that does not come up with the new file."""

    def __init__(self, conf: Path, starts: bool) -> None:
        self.conf = conf
        self.starts = starts
        self.did: list[str] = []

    def restart(self, unit: str, timeout: float) -> None:
        self.did.append(f"restart with {self.conf.read_text()}")
        if not self.starts:
            raise CommandError(f"restart {unit}", ["systemctl"], 1, "", "Job failed")

    def start(self, unit: str, timeout: float) -> None:
        self.did.append(f"start with {self.conf.read_text()}")


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    conf = tmp_path / "postgresql.conf"
    conf.write_text("new")
    (tmp_path / "pg_hba.conf").write_text("new")
    monkeypatch.setattr(instance_apply, "wrong_files", lambda *given: [])
    monkeypatch.setattr(InstanceExecutor, "_streams", lambda self, within: True)
    return conf


def previous(conf: Path) -> dict[str, Any]:
    me = pwd.getpwuid(os.geteuid()).pw_name
    old = {"kind": "file", "content": "old", "owner": me, "group": grp.getgrgid(os.getegid()).gr_name, "mode": "0640"}
    return {str(conf): old, str(conf.with_name("pg_hba.conf")): old}


def restarting(conf: Path, systemd: Systemd, previous: dict[str, Any], waits: list[bool]) -> None:
    cluster = Cluster("demo", (Node("pg1", 1, "postgres", "pg1"),), options=Options.of({}))
    executor = InstanceExecutor(here_of(cluster, "pg1", services=systemd, configuration=str(conf.parent)), previous)
    executor._wait = lambda streaming, timeout=0.0: waits.append(streaming)  # type: ignore[method-assign]
    executor.restart()


def test_a_restart(conf: Path) -> None:
    systemd, waits = Systemd(conf, starts=True), []
    restarting(conf, systemd, previous(conf), waits)
    assert (systemd.did, waits) == (["restart with new"], [False, True])


def test_one_that_does_not_start_runs_again_with_what_it_had(conf: Path) -> None:
    systemd, waits = Systemd(conf, starts=False), []
    with pytest.raises(PgherdError, match=r"pg1 did not start with .*Job failed.* It runs with those before"):
        restarting(conf, systemd, previous(conf), waits)
    assert (systemd.did, waits) == (["restart with new", "start with old"], [True])
    # Who may connect is no matter of a start.
    assert conf.with_name("pg_hba.conf").read_text() == "new"


def test_one_that_does_not_start_for_what_no_file_of_this_run_says(conf: Path) -> None:
    systemd = Systemd(conf, starts=False)
    with pytest.raises(CommandError, match="Job failed"):
        restarting(conf, systemd, {}, [])
    assert systemd.did == ["restart with new"]


def test_a_file_that_cannot_be_stops_nobody(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_apply, "wrong_files", lambda *given: ["no such library"])
    systemd = Systemd(conf, starts=True)
    with pytest.raises(PgherdError, match="pg1 cannot take its configuration: no such library"):
        restarting(conf, systemd, previous(conf), [])
    assert (systemd.did, conf.read_text()) == ([], "old")


def test_what_is_taken_back_waits_no_more(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL needs to read each value in force once before its line is gone."""
    read: list[str] = []
    rows = [{"name": "max_locks_per_transaction", "value": "64"}, {"name": "shared_buffers", "value": "128MB"}]
    monkeypatch.setattr(
        instance_apply, "connect", lambda *given: nullcontext(ScriptedServer("pg1", [("pending_restart", rows)]))
    )
    monkeypatch.setattr(InstanceExecutor, "_reread", lambda self, server: read.append(conf.read_text()))
    cluster = Cluster("demo", (Node("pg1", 1, "postgres", "pg1"),), options=Options.of({}))
    before = {**previous(conf), str(conf): {**previous(conf)[str(conf)], "content": "old = 1\n"}}
    InstanceExecutor(here_of(cluster, "pg1", configuration=str(conf.parent)), before).put_back()
    assert read == ["old = 1\nmax_locks_per_transaction = '64'\nshared_buffers = '128MB'\n", "old = 1\n"]
    assert conf.with_name("pg_hba.conf").read_text() == "new"
