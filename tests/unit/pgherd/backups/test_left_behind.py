# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""WAL of a timeline that lost: when it is in the receiver's way, and that it goes nowhere but aside.

recorded/barman/left_behind.jsonl: pg_receivewal of PostgreSQL 15.18 as Barman runs it (``--no-loop --no-password --verbose
--slot barman``), on a primary with *timeline* and *history*, and *files* in its directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pgherd.backups import left_behind
from pgherd.backups.left_behind import Truth, ask, move_aside, unusable
from pgherd.data.histories import OPEN, parse_history, path
from pgherd.errors import PgherdError
from scripted import ScriptedServer

MB16 = 16 << 20
RECORDED = Path(__file__).parents[1] / "recorded/barman/left_behind.jsonl"
RECORDS = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
# Timeline 2 began within the fifth segment.
FORKED = Truth(((1, 0x5800000), (2, OPEN)), MB16)


def server(timeline: int = 2, history: str = "", size: bytes = b"16MB") -> ScriptedServer:
    """As a replication session answers: in bytes."""
    return ScriptedServer(
        "the primary",
        [
            ("IDENTIFY_SYSTEM", [{"systemid": b"7", "timeline": timeline, "xlogpos": b"0/3000140", "dbname": None}]),
            ("SHOW wal_segment_size", [{"wal_segment_size": size}]),
            *([("TIMELINE_HISTORY", [{"content": history.encode()}])] if timeline > 1 else []),
        ],
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["what"])
def test_what_pg_receivewal_stumbles_over_is_astray(record: dict[str, Any]) -> None:
    truth = Truth(path(record["timeline"], parse_history(record["history"])), MB16)
    stumbles = "error: disconnected" in record["said"]
    assert stumbles is (record["exit"] == 1)
    assert unusable(record["files"], truth) == (
        [name for name in record["files"] if "history" not in name] if stumbles else []
    )


@pytest.mark.parametrize(
    ("what", "name", "lost"),
    [
        ("being received, on the primary's timeline", "000000020000000000000009.partial", False),
        ("full, on the primary's timeline", "000000020000000000000009", False),
        ("full, before the fork", "000000010000000000000004", False),
        ("full, with the fork in it", "000000010000000000000005", True),
        ("being received, with the fork in it: the usual failover", "000000010000000000000005.partial", False),
        ("being received, behind the fork", "000000010000000000000006.partial", True),
        ("full, behind the fork", "000000010000000000000006", True),
        ("of a newer timeline than the primary's", "000000030000000000000005.partial", True),
        ("of one that the primary passed over", "000000000000000000000005.partial", True),
        ("compressed", "000000010000000000000006.gz.partial", True),
        ("a history", "00000003.history", False),
        ("something else", "000000010000000000000006.tmp", False),
    ],
)
def test_what_is_astray(what: str, name: str, lost: bool) -> None:
    assert unusable([name], FORKED) == ([name] if lost else []), what


@pytest.mark.parametrize(("end", "lost"), [(0x5000000, []), (0x4FFFFFF, ["000000010000000000000004"])])
def test_a_file_that_is_full_to_the_very_end_is_left_for_the_archive(end: int, lost: list[str]) -> None:
    assert unusable(["000000010000000000000004"], Truth(((1, end), (2, OPEN)), MB16)) == lost


@pytest.mark.parametrize(("size", "expected"), [(b"16MB", MB16), (b"1GB", 1 << 30), (b"64MB", 64 << 20)])
def test_the_truth(size: bytes, expected: int) -> None:
    found = ask(server(3, "1\t0/5000000\tx\n2\t0/7000000\ty\n", size))
    assert found == Truth(((1, 0x5000000), (2, 0x7000000), (3, OPEN)), expected)
    assert found.timeline == 3
    assert ask(server(1)).timelines == ((1, OPEN),)


def test_it_is_moved_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice in one second, the same name."""
    monkeypatch.setattr(left_behind.time, "strftime", lambda *args: "now")
    streaming, name = tmp_path / "streaming", "000000010000000000000006.partial"
    streaming.mkdir()
    (streaming / "000000020000000000000006.partial").write_text("stays")
    places = []
    for content in ("first", "second"):
        (streaming / name).write_text(content)
        places.append(move_aside(str(streaming), [name]))
    assert [Path(place, name).read_text() for place in places] == ["first", "second"]
    assert places == [str(tmp_path / "left-behind" / "now"), str(tmp_path / "left-behind" / "now-1")]
    assert [path.name for path in streaming.iterdir()] == ["000000020000000000000006.partial"]


def test_what_cannot_be_moved_is_said(tmp_path: Path) -> None:
    (tmp_path / "left-behind").write_text("a file")
    with pytest.raises(PgherdError, match=r"move WAL that was left behind to .*left-behind/"):
        move_aside(str(tmp_path / "streaming"), ["x"])
