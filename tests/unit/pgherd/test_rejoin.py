# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What goes between two states of a data directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pgherd.failover import datadir
from pgherd.nodes import mark
from scripted import ScriptedRunner


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
