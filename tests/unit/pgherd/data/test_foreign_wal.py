# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a standby's data end with WAL that its primary never wrote, on the primary's own timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pgherd.data.datadir import Local
from pgherd.data.foreign_wal import RECORD, foreign
from pgherd.layout import debian
from scripted import ScriptedRunner, ScriptedServer

SIZE = 16 * 1024 * 1024
CHECKPOINT, END = 3 * SIZE + 0x60, 0x60 + RECORD
HERE = "rmgr: XLOG len (rec/tot): 114/ 114, tx: 0, lsn: 0/03000060, prev 0/03000028, desc: CHECKPOINT_ONLINE redo 0/3000028"
NAME = "000000010000000000000003"


def local(**more: Any) -> Local:
    given = {"checkpoint": CHECKPOINT, "checkpoint_timeline": 1, **more}
    return Local(True, "7", 1, state="in archive recovery", **given)


def primary(
    content: bytes | None = None, lsn: str = "0/3000200", standby: bool = False, timeline: int = 1, unasked: int = 0
) -> ScriptedServer:
    """The primary, with *content* where this node's WAL ends; None: it no longer has that. *unasked*: of its last answers."""
    name = f"{timeline:08X}{NAME[8:]}"
    history = b"1\t0/3000150\tno recovery target specified\n"
    asked: list[tuple[str, Any]] = [
        ("wal_segment_size", [{"setting": str(SIZE)}]),
        ("pg_ls_waldir", [{"name": name}]),
    ]
    if timeline > 1:
        asked.append(("pg_read_binary_file", [{"content": history}]))
    asked.append(("pg_current_wal_flush_lsn", [{"lsn": lsn, "standby": standby}]))
    asked.append(("pg_read_binary_file", [{"content": content}]))
    return ScriptedServer("pg1", asked[: len(asked) - unasked])


def wal(tmp_path: Path, content: bytes, name: str = NAME) -> str:
    (tmp_path / "pg_wal").mkdir()
    (tmp_path / "pg_wal" / name).write_bytes(content + b"what comes behind is made ready, and may be anything")
    return str(tmp_path)


def dump(said: str, rc: int = 0) -> ScriptedRunner:
    return ScriptedRunner([("pg_waldump .*--timeline 1 --start 0/3000060", (rc, said, "" if not rc else said))])


MINE = bytes(range(END))


def test_the_same_wal(tmp_path: Path) -> None:
    server = primary(MINE)
    assert foreign(debian(17, wal(tmp_path, MINE)), local(), server, dump(HERE)) == ""
    assert server.said[-1][1] == (f"pg_wal/{NAME}", 0, END)


@pytest.mark.parametrize("at", [0x20, 0x60, END - 1])
def test_a_checkpoint_of_its_own(tmp_path: Path, at: int) -> None:
    """B00, as pg_rewind's own recovery left it."""
    theirs = bytearray(MINE)
    theirs[at] ^= 1
    found = foreign(debian(17, wal(tmp_path, MINE)), local(), primary(bytes(theirs)), dump(HERE))
    assert found == "the WAL up to its last checkpoint, at 0/3000060, is not what pg1 has written there"


@pytest.mark.parametrize(
    ("said", "rc"),
    [
        ("pg_waldump: error: could not find a valid record after 0/3000060", 1),
        (HERE.replace("0/03000060", "0/03000080"), 0),
        (HERE.replace("CHECKPOINT_ONLINE", "NEXTOID"), 0),
    ],
)
def test_a_checkpoint_that_a_stream_has_overwritten(tmp_path: Path, said: str, rc: int) -> None:
    """B00, when it has streamed since: its file is the primary's by now, its control file is not."""
    found = foreign(debian(17, wal(tmp_path, MINE)), local(), ScriptedServer("pg1", []), dump(said, rc))
    assert "checkpoint at 0/3000060" in found


def test_what_is_not_there_tells_nothing(tmp_path: Path) -> None:
    gone = 'pg_waldump: error: could not find file "000000010000000000000003": No such file or directory'
    assert foreign(debian(17, wal(tmp_path, MINE)), local(), primary(), dump(gone, 1)) == ""


def test_further_than_its_primary(tmp_path: Path) -> None:
    server = primary(lsn="0/3000070", unasked=1)
    found = foreign(debian(17, wal(tmp_path, MINE)), local(), server, dump(HERE))
    assert found == "its last checkpoint is at 0/3000060, and pg1 has come to 0/3000070 only"


def test_further_than_another_standby(tmp_path: Path) -> None:
    server = primary(lsn="0/3000070", standby=True, unasked=1)
    assert foreign(debian(17, wal(tmp_path, MINE)), local(), server, dump(HERE)) == ""


def test_before_the_fork_the_newer_timelines_file_has_the_same(tmp_path: Path) -> None:
    assert foreign(debian(17, wal(tmp_path, MINE)), local(), primary(MINE, timeline=2), dump(HERE)) == ""


def test_behind_the_fork_it_is_pg_rewinds(tmp_path: Path) -> None:
    server, at = primary(timeline=2, unasked=2), HERE.replace("03000060", "03000150")
    runner = ScriptedRunner([("--start 0/3000150", at)])
    assert foreign(debian(17, wal(tmp_path, MINE)), local(checkpoint=3 * SIZE + 0x150), server, runner) == ""


def test_a_backup_need_not_have_its_checkpoint_yet(tmp_path: Path) -> None:
    (tmp_path / "backup_label").touch()
    assert foreign(debian(17, wal(tmp_path, MINE)), local(), ScriptedServer("pg1", []), ScriptedRunner([])) == ""
