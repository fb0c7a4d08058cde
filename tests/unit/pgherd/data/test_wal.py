# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which WAL segment a recovery is at and will ask for, and from which on a server has them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pgherd.data.wal import AvailableWal, available_wal, needed, recovering, segment

SIZE = 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("name", "size", "number"),
    [
        ("000000010000000000000019", SIZE, 0x19),
        ("000000110000000200000000", SIZE, 0x200),
        ("000000010000000100000003", 1024**3, 7),
    ],
)
def test_numbers_do_not_depend_on_the_timeline(name: str, size: int, number: int) -> None:
    assert segment(name, size) == number


# Timeline 0x11 ended within segment 0x18, 0x12 at its very end, and 0x13 within 0x19.
HISTORY = {0x10: 0x10 * SIZE, 0x11: 0x18 * SIZE + 4096, 0x12: 0x19 * SIZE, 0x13: 0x19 * SIZE + 8192}


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        pytest.param([], 0x17, id="nothing is here"),
        pytest.param(["000000120000000000000018"], 0x17, id="not the first one"),
        pytest.param(["000000110000000000000017"], 0x17, id="the first one, which may be half full"),
        pytest.param(["000000110000000000000017", "000000120000000000000018"], 0x18, id="the last one"),
        pytest.param(["000000110000000000000017", "000000110000000000000018"], 0x17, id="its timeline broke off in it"),
        pytest.param(
            ["000000110000000000000017", "000000120000000000000018", "000000140000000000000019"],
            0x19,
            id="each of the timeline on which it ends",
        ),
        pytest.param(
            ["000000110000000000000017", "000000120000000000000018", "00000013000000000000001A", "00000012.history"],
            0x18,
            id="up to the first gap",
        ),
    ],
)
def test_needed(tmp_path: Path, names: list[str], asked: int) -> None:
    (tmp_path / "pg_wal").mkdir()
    for name in names:
        (tmp_path / "pg_wal" / name).touch()
    assert needed(str(tmp_path), 0x17 * SIZE + 40, AvailableWal(0, SIZE, 0x14), HISTORY) == asked


class Source:
    """A server that has these segments."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def rows(self, query: str, *_values: object) -> list[dict[str, Any]]:
        return [{"setting": str(SIZE)}] if "pg_settings" in query else [{"name": name} for name in self.names]


def test_what_a_server_has() -> None:
    found = available_wal(Source("000000140000000000000021", "00000013000000000000001F"))  # type: ignore[arg-type]
    assert found == AvailableWal(0x1F, SIZE, 0x14)


@contextmanager
def titled(directory: Path, title: str) -> Iterator[None]:
    """A "postmaster" whose child has this title."""
    run = subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 60 & wait', title])
    (directory / "postmaster.pid").write_text(f"{run.pid}\n", encoding="ascii")
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    try:
        while not (found := children.read_text().split()) or title.encode() not in _title(found[0]):
            time.sleep(0.01)
        yield
    finally:
        for child in children.read_text().split():
            os.kill(int(child), 9)
        run.wait(10)


def _title(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("postgres: pg1: startup waiting for 000000110000000000000019", ("000000110000000000000019", True)),
        ("postgres: pg1: startup recovering 000000110000000000000019", ("000000110000000000000019", False)),
        ("postgres: pg1: checkpointer ", ("", False)),
    ],
)
def test_where_a_recovery_is(tmp_path: Path, title: str, found: tuple[str, bool]) -> None:
    with titled(tmp_path, title):
        assert recovering(str(tmp_path)) == found


def test_a_server_that_does_not_run_recovers_nothing(tmp_path: Path) -> None:
    assert recovering(str(tmp_path)) == ("", False)
