# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Making a new cluster, whatever the data directory is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import CommandError
from pgherd.model import Cluster, Node
from pgherd.nodes.clone import STAGE, unfinished
from pgherd.nodes.instance_apply import Executor
from pgherd.ports.run import Result


class Initdb:
    """A runner that makes directories, and what initdb makes, or *fails* when that is half done."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.user = ""

    def run(self, argv: list[str], **options: Any) -> Result:
        if argv[0] == "install":
            os.makedirs(argv[-1], exist_ok=True)
            return Result(tuple(argv), 0)
        self.user = options["user"]
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
        return Result(tuple(argv), 0)


def initialize(tmp_path: Path, runner: Initdb) -> None:
    options = {"data_directory": str(tmp_path / "data"), "wal_directory": str(tmp_path / "wal"), "data_checksums": True}
    cluster = Cluster("demo", (Node("pg1", 1, "postgres", "pg1"),), options=options)
    Executor(cluster, "pg1", 17, runner, None).initialize()  # type: ignore[arg-type]


def test_a_mount_point_is_filled_and_not_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "lost+found").mkdir(parents=True)
    mounted, runner = data.stat().st_ino, Initdb()
    initialize(tmp_path, runner)
    assert data.stat().st_ino == mounted
    assert sorted(os.listdir(data)) == ["PG_VERSION", "base", "lost+found", "pg_wal"]
    assert os.listdir(data / "pg_wal") == ["000000010000000000000001"]
    assert runner.user == "postgres"


def test_half_a_cluster_is_none_and_is_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(CommandError, match="make a new cluster on pg1"):
        initialize(tmp_path, Initdb(fails=True))
    assert os.listdir(data) == [STAGE]
    assert unfinished(os.listdir(data))
    initialize(tmp_path, Initdb())
    assert sorted(os.listdir(data)) == ["PG_VERSION", "base", "pg_wal"]
