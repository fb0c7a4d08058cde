# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where two histories part, and what goes between two states of a data directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pgherd.failover import datadir
from pgherd.failover.rejoin import OPEN, Fork, _begins, _beyond, fork, parse_history, path
from pgherd.nodes import mark
from scripted import ScriptedRunner

HISTORY = "1\t0/5000000\tno recovery target specified\n\n2\t1/A0000000\tno recovery target specified\n"
MB16 = 16 * 1024 * 1024


def test_a_history_file() -> None:
    assert parse_history(HISTORY) == {1: 0x5000000, 2: 0x1A0000000}
    assert parse_history("# nothing here\n") == {}
    assert path(3, parse_history(HISTORY)) == ((1, 0x5000000), (2, 0x1A0000000), (3, OPEN))
    assert path(1, {}) == ((1, OPEN),)


@pytest.mark.parametrize(
    ("what", "mine", "theirs", "expected"),
    [
        ("the same timeline", ((1, OPEN),), ((1, OPEN),), None),
        ("F23: its successor was promoted", ((1, OPEN),), ((1, 100), (2, OPEN)), Fork(1, 100)),
        ("it was promoted in vain", ((1, 100), (2, OPEN)), ((1, OPEN),), Fork(1, 100)),
        ("both were, it first", ((1, 100), (2, OPEN)), ((1, 120), (2, OPEN)), Fork(1, 100)),
        ("both were, it last", ((1, 120), (2, OPEN)), ((1, 100), (2, OPEN)), Fork(1, 100)),
        ("numbers differ too", ((1, 120), (2, OPEN)), ((1, 100), (3, OPEN)), Fork(1, 100)),
        ("two promotions later", ((1, 100), (2, OPEN)), ((1, 100), (2, 150), (3, OPEN)), Fork(2, 150)),
        ("from the same point on", ((1, 100), (2, OPEN)), ((1, 100), (3, OPEN)), Fork(2, 0)),
        ("one number from one point: not to be seen here", ((1, 9), (2, OPEN)), ((1, 9), (2, OPEN)), None),
    ],
)
def test_where_histories_part(what: str, mine: Any, theirs: Any, expected: Fork | None) -> None:
    assert fork(mine, theirs) == expected, what


def test_where_timelines_begin() -> None:
    assert _begins(((1, 100), (2, 150), (3, OPEN))) == [(1, 0), (2, 100), (3, 150)]


@pytest.mark.parametrize(
    ("name", "beyond"),
    [
        ("000000020000000000000005", True),
        ("000000020000000000000004", False),
        ("000000020000000100000000", True),
        ("000000010000000000000009", False),
        ("00000002.history", False),
        ("000000020000000000000005.partial", False),
        ("archive_status", False),
    ],
)
def test_which_segments_are_kept(name: str, beyond: bool) -> None:
    assert _beyond(name, {2}, 5, MB16) is beyond


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
