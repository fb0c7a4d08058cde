# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What goes between two states of a data directory, and the way from one to the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import PgherdError
from pgherd.failover import datadir, rejoin
from pgherd.failover.links import Links
from pgherd.failover.rejoin import Rejoin
from pgherd.nodes import mark
from scripted import ScriptedRunner, ScriptedServer
from voices import cluster


def test_settings_are_put_in_place(tmp_path: Path) -> None:
    auto = tmp_path / "postgresql.auto.conf"
    auto.write_text("# by hand\nprimary_conninfo = 'host=pg1'\nwork_mem = '8MB'\n  primary_slot_name='x'\n")
    datadir.write_settings(str(tmp_path), {"primary_conninfo": "host=pg2 user='a b'", "primary_slot_name": None})
    assert auto.read_text() == "# by hand\nwork_mem = '8MB'\nprimary_conninfo = 'host=pg2 user=''a b'''\n"
    assert auto.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["postgresql.auto.conf"]


def test_settings_where_there_are_none(tmp_path: Path) -> None:
    datadir.write_settings(str(tmp_path), {"a.b": "c"})
    assert (tmp_path / "postgresql.auto.conf").read_text() == "a.b = 'c'\n"


def test_a_standby_of_somebody_and_of_nobody(tmp_path: Path) -> None:
    """A fence that was left behind goes too."""
    auto = tmp_path / "postgresql.auto.conf"
    auto.write_text("default_transaction_read_only = 'on'\n")
    datadir.make_standby(str(tmp_path), "host=pg1", "s")
    assert (tmp_path / "standby.signal").exists()
    assert auto.read_text() == "primary_conninfo = 'host=pg1'\nprimary_slot_name = 's'\n"
    datadir.make_standby(str(tmp_path), "", "")
    assert auto.read_text() == "primary_conninfo = ''\nprimary_slot_name = ''\n"


CONTROL = """pg_control version number:            1300
Database system identifier:           7000000000000000001
Latest checkpoint's TimeLineID:       1
Latest checkpoint's REDO location:    0/3000028
Min recovery ending loc's timeline:   {timeline}
Bytes per WAL segment:                16777216
"""


@pytest.mark.parametrize(("timeline", "newest"), [(0, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("signal", ["", "standby.signal", "recovery.signal"])
def test_who_a_data_directory_is(tmp_path: Path, timeline: int, newest: int, signal: str) -> None:
    """A crash soon after a promotion leaves the newer timeline in one of the two places only."""
    if signal:
        (tmp_path / signal).touch()
    runner = ScriptedRunner([("pg_controldata", CONTROL.format(timeline=timeline))])
    found = datadir.local(str(tmp_path), 15, runner)
    assert (found.standby, found.system_id, found.timeline) == (bool(signal), "7000000000000000001", newest)


def test_the_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark, "MARK", str(tmp_path / "note"))
    assert mark.marked() == ""
    mark.mark("clone from pg1")
    assert mark.marked() == "clone from pg1"
    (tmp_path / "note").write_text("")
    assert mark.marked() == "unfinished"
    mark.unmark()
    mark.unmark()
    assert mark.marked() == ""


class Host:
    """A host with a stopped server; what is done there is written down in order."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str, kept: PgherdError | None) -> None:
        self.done: list[str] = []
        self._note, directory = tmp_path / "note", tmp_path / "main"
        (directory / "pg_wal").mkdir(parents=True)
        (directory / "PG_VERSION").write_text("15")
        if note:
            self._note.write_text(note)
        monkeypatch.setattr(mark, "MARK", str(self._note))
        monkeypatch.setattr(rejoin, "MARK", str(self._note))
        monkeypatch.setattr(rejoin, "data_directory", lambda cluster, version: str(directory))
        monkeypatch.setattr(rejoin, "Executor", lambda *args: self)
        control = CONTROL.format(timeline=2) + "Latest checkpoint's REDO location:    0/3000028\n"
        runner = ScriptedRunner([])
        runner._answer = lambda said, matches: self._run(said, control)  # type: ignore[method-assign]
        links = Links(self._server, lambda: None)
        self.rejoin = Rejoin(cluster(3), "pg2", 15, runner, self, links, self._say)  # type: ignore[arg-type]
        monkeypatch.setattr(self.rejoin._keeper, "run", lambda *args, **how: self._keep(kept, **how))

    def _run(self, said: str, control: str) -> str:
        if "pg_rewind" in said:
            self.done.append("rewind")
        return control

    def _say(self, line: str) -> None:
        pass

    def _keep(self, fails: PgherdError | None, stray: bool = False) -> bool:
        self.done.append("keep all of its own" if stray else "keep")
        if fails:
            raise fails
        return False

    def _server(self, name: str) -> Any:
        server = ScriptedServer(name, [])
        rows = [{"id": "7000000000000000001", "name": "000000010000000000000003", "setting": "16777216"}]
        server._answer = lambda said, matches: rows  # type: ignore[method-assign]
        return server

    def stop(self, unit: str, timeout: float) -> None:
        """Of the service."""

    def start(self, unit: str, wait: bool) -> None:
        """Of the service."""
        self.done.append("start")

    def clone(self, target: str, wipe: bool) -> None:
        """Of the node's executor."""
        self.done.append(f"clone from {target}")


@pytest.mark.parametrize(
    ("what", "note", "steps"),
    [
        ("nothing noted", "", ["keep", "rewind", "start"]),
        ("stopped for it", f"{mark.STOPPED} to come back below pg1", ["keep", "rewind", "start"]),
        ("promoted without its locks", mark.STRAY, ["keep all of its own", "clone from pg1", "start"]),
        ("half-rewound", "rewind to pg1", ["clone from pg1", "start"]),
        ("half-cloned", "clone from pg1", ["clone from pg1", "start"]),
    ],
)
def test_the_way_back(what: str, note: str, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch, note, None)
    host.rejoin.run("pg1")
    assert host.done == steps, what
    assert mark.marked() == ""


@pytest.mark.parametrize("note", ["", mark.STRAY])
def test_nothing_goes_that_could_not_be_kept(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch, note, PgherdError("keep WAL: No space left on device."))
    with pytest.raises(PgherdError, match="No space left"):
        host.rejoin.run("pg1")
    assert [step for step in host.done if not step.startswith("keep")] == []
    assert mark.marked().startswith(note or mark.STOPPED)
