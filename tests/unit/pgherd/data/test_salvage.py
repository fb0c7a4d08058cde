# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where two histories part, and which WAL only this node has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.data import salvage
from pgherd.data.datadir import Local
from pgherd.data.histories import OPEN, Fork, earlier, fork, parse_history, path
from pgherd.data.salvage import Salvage, _begins, _beyond
from pgherd.errors import PgherdError
from pgherd.ports.links import Links
from scripted import ScriptedRunner, ScriptedServer
from states import cluster

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


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, Fork(2, 100), Fork(2, 100)),
        (Fork(2, 150), Fork(2, 100), Fork(2, 100)),
        (Fork(1, 900), Fork(2, 100), Fork(1, 900)),
        (Fork(2, 0), Fork(2, 100), Fork(2, 0)),
    ],
)
def test_the_earlier_of_two_forks(one: Fork | None, other: Fork, expected: Fork) -> None:
    assert earlier(one, other) == expected


SEGMENT = "{:08X}00000000{:08X}"
CONTROL = "Bytes per WAL segment:                16777216\n"
# Timeline 2 begins at 0/5000000 here, and elsewhere too.
BEGUN = "1\t0/5000000\tno recovery target specified\n"
THEIRS = BEGUN + "2\t0/7000000\tno recovery target specified\n"


class Disk:
    """A stopped server's data directory with WAL segments, and a primary to compare it with."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str, segments: tuple[str, ...]) -> None:
        self.kept = tmp_path / "kept"
        self.wal = tmp_path / "main" / "pg_wal"
        self.wal.mkdir(parents=True)
        for name in segments:
            (self.wal / name).write_text(name)
        (self.wal / "00000002.history").write_text(BEGUN)
        monkeypatch.setattr(salvage, "KEPT", str(self.kept))
        self.lines: list[str] = []
        self._timeline = 3 if theirs == THEIRS else 2 if theirs else 1
        if theirs:

            @contextmanager
            def connect(name: str, parameters: object) -> Iterator[ScriptedServer]:
                yield ScriptedServer(name, [("TIMELINE_HISTORY", [{"content": theirs}])])

            monkeypatch.setattr(salvage, "connect", connect)

    def run(self, *programs: tuple[str, str], standby: bool = False, stray: bool = False) -> bool:
        """Keep what has to be kept; *programs* are those that are called for it."""
        walfile = SEGMENT.format(self._timeline, 9)
        primary = ScriptedServer("pg1", [("pg_walfile_name", [{"name": walfile}])])
        found, runner = cluster(3), ScriptedRunner(programs)
        links = Links(lambda name: primary, lambda: None)
        keeper = Salvage(
            here_of(found, "pg2", links, runner, say=self.lines.append, version=15, data=str(self.wal.parent))
        )
        return keeper.run(found.node("pg1"), Local(standby, "7", 2), stray)

    def names(self) -> list[str]:
        """What was kept, in one directory."""
        return sorted(path.name for path in self.kept.glob("*/*"))


OWN = tuple(SEGMENT.format(2, number) for number in (5, 6, 7))
RECORDS = "rmgr: Heap len 54\n"


@pytest.mark.parametrize(
    ("what", "theirs", "stray", "start", "kept"),
    [
        ("a stray, and nobody else was promoted", "", True, "0/5000000", OWN),
        ("a stray, and another on the same number", BEGUN, True, "0/5000000", OWN),
        ("a stray, and another on the same number, long ago", THEIRS, True, "0/5000000", OWN),
        ("no stray: timeline 2 is theirs up to where 3 begins", THEIRS, False, "0/7000000", OWN[2:]),
    ],
)
def test_from_where_on_it_is_kept(
    what: str,
    theirs: str,
    stray: bool,
    start: str,
    kept: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk(tmp_path, monkeypatch, theirs, (SEGMENT.format(1, 4), *OWN))
    dump = ("pg_waldump .*--timeline=2 --start=" + start, RECORDS)
    disk.run(("pg_controldata", CONTROL), dump, stray=stray)
    assert disk.names() == [*sorted(kept), "listing.txt"], what
    assert "segments and a listing are kept in" in disk.lines[0]


def test_it_is_listed_from_the_oldest_segment_on_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long life as a stray: its first segments have been recycled."""
    disk = Disk(tmp_path, monkeypatch, BEGUN, OWN[1:])
    assert disk.run(("pg_controldata", CONTROL), ("--timeline=2 --start=0/6000000", RECORDS), stray=True)
    assert disk.names() == [*OWN[1:], "listing.txt"]


# As pg_waldump 17 writes it; the record ends in segment 6.
IN_SIX = (
    "rmgr: Heap        len (rec/tot):     54/    54, tx:        743, lsn: 0/05FFFFA0, prev 0/05FFFF60, desc: INSERT off: 2\n"
    "rmgr: Transaction len (rec/tot):     46/    46, tx:        743, lsn: 0/05FFFFE0, prev 0/05FFFFA0, desc: COMMIT x\n"
)


def test_what_comes_behind_the_last_record_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has files ready for WAL to come, with what they held before."""
    disk = Disk(tmp_path, monkeypatch, BEGUN, OWN)
    disk.run(("pg_controldata", CONTROL), ("pg_waldump", IN_SIX), stray=True)
    assert disk.names() == [*OWN[:2], "listing.txt"]
    assert "2 segments and a listing" in disk.lines[0]


def test_half_of_it_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again every few seconds, each time in another directory."""
    disk = Disk(tmp_path, monkeypatch, BEGUN, OWN)

    def full(source: str, target: str) -> None:
        (Path(target) / Path(source).name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(salvage.shutil, "copy2", full)
    with pytest.raises(PgherdError, match="No space left on device"):
        disk.run(("pg_controldata", CONTROL), ("pg_waldump", RECORDS), stray=True)
    assert list(disk.kept.iterdir()) == []


@pytest.mark.parametrize(("segments", "listing"), [((), None), (OWN, "")])
def test_where_there_is_nothing_nothing_is_kept(
    segments: tuple[str, ...], listing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, monkeypatch, BEGUN, segments)
    dumps = () if listing is None else (("pg_waldump", listing),)
    disk.run(("pg_controldata", CONTROL), *dumps, stray=True)
    assert (disk.names(), disk.lines) == ([], [])


def test_a_standby_on_the_primarys_timeline_has_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, monkeypatch, BEGUN, OWN)
    assert not disk.run(standby=True)
    assert disk.names() == []


def test_what_cannot_be_kept_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch, BEGUN, OWN)
    disk.kept.write_text("no directory")
    with pytest.raises(PgherdError, match=r"keep WAL of pg2 in .*: Not a directory"):
        disk.run(("pg_controldata", CONTROL), ("pg_waldump", RECORDS), stray=True)
