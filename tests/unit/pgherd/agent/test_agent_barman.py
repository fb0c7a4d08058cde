# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a Barman host: when it asks Barman, what it tells, and what it says where it cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pgherd.agent import barman_files
from pgherd.agent.barman_part import AGAIN, AWAIT, BAD, BEHIND, CALM, FAILED, GOOD, BarmanPart
from pgherd.errors import Unreachable
from pgherd.ports.sql import Server
from pgherd.programs.barman import Client
from pgherd.programs.barman_view import parse_view
from scripted import ScriptedRunner
from test_left_behind import server

BACKUP = {"backup_id": "1", "status": "DONE", "end_time_timestamp": "100", "size_bytes": 6}
CHECK, LIST, SHOW = "check demo$", "list-backups demo$", "show-backup demo 1$"


def check(**failed: str) -> tuple[int, str, str]:
    said = {name: {"status": "FAILED", "hint": hint} for name, hint in failed.items()}
    return (1 if failed else 0, json.dumps({"demo": said or {"x": {"status": "OK", "hint": ""}}}), "")


def shown() -> str:
    base = {"begin_time_timestamp": "90", "end_time_timestamp": "100", "backup_size_with_wals_bytes": 6, "timeline": 1}
    return json.dumps({"demo": {**BACKUP, "base_backup_information": base}})


class Host:
    """A Barman host's files, and the part that looks at them."""

    def __init__(self, root: Path, expected: list[tuple[str, Any]]) -> None:
        self.root = root
        self.file = root / "demo.conf"
        self.file.write_text("")
        for name in ("wals", "streaming", "base", "meta"):
            (root / name).mkdir(exist_ok=True)
        configuration = {
            "wals_directory": f"{root}/wals",
            "streaming_wals_directory": f"{root}/streaming",
            "basebackups_directory": f"{root}/base",
            "backup_directory": str(root),
            "barman_lock_directory": str(root),
        }
        first = [("show-servers demo$", json.dumps({"demo": configuration})), ("--version", "3.13.3 Barman by X")]
        self.runner = ScriptedRunner([*first, *expected])
        self.now = 0.0
        self.part = BarmanPart("backup1", Client(self.runner, "demo"), [str(self.file)], lambda: 1000.0 + self.now)
        self.said: list[str] = []

    def ticks(self, *times: float) -> None:
        for now in times:
            self.now = now
            self.said += [decision.text for decision in self.part.tick(now)]

    def backup(self) -> None:
        (self.root / "meta" / "1-backup.info").write_text("x")

    def segment(self, name: str, at: float) -> None:
        directory = self.root / "wals" / name[:16]
        directory.mkdir(exist_ok=True)
        (directory / name).write_text("x")
        os.utime(directory / name, (at, at))


def test_one_command_per_tick_until_all_is_known(tmp_path: Path) -> None:
    host = Host(tmp_path, [(LIST, json.dumps({"demo": [BACKUP]})), (SHOW, shown()), (CHECK, check())])
    host.backup()
    host.segment("000000010000000000000009", 900.0)
    host.segment("00000002000000010000000A", 950.0)
    host.segment("00000002000000010000000A.00000028.backup", 990.0)
    (tmp_path / "wals" / "00000002.history").write_text("x")
    (tmp_path / "streaming" / "00000002000000010000000B.partial").write_text("x")
    host.ticks(0, 5, 10)
    view = parse_view(json.dumps(host.part.view().to_dict()))
    assert view.unread == {}
    assert (view.host, view.server, view.version, view.collected_at) == ("backup1", "demo", "3.13.3", 1010.0)
    assert (view.last_wal, view.last_wal_at, view.wal_timeline) == ("00000002000000010000000A", 950.0, 2)
    assert (view.receiving_wal, view.receiving) == ("00000002000000010000000B", False)
    assert view.last_backup is not None
    assert (view.last_backup.begin, view.last_backup.end, view.last_backup.size) == (90.0, 100.0, 6)
    assert view.first_recoverable == 100.0
    assert (view.failed_checks, view.checked_at) == ((), 1010.0)
    assert host.said == ["WAL is not received", "the last finished backup is 1", "all checks are good"]


def test_barman_is_not_asked_again_while_nothing_happens(tmp_path: Path) -> None:
    host = Host(tmp_path, [(LIST, '{"demo": []}'), (CHECK, check())])
    host.ticks(*range(0, int(GOOD), 5))
    assert len(host.runner.calls) == 4


def test_bad_checks_are_made_again_sooner(tmp_path: Path) -> None:
    host = Host(tmp_path, [(LIST, '{"demo": []}'), (CHECK, check(slot="no")), (CHECK, check())])
    host.ticks(0, 5, 10, 5 + BAD - 1, 5 + BAD, 6 + BAD)
    assert host.said == ["WAL is not received", "checks failed: slot: no", "all checks are good"]


def test_a_new_backup_is_seen_at_once(tmp_path: Path) -> None:
    catalogue = json.dumps({"demo": [BACKUP]})
    host = Host(
        tmp_path, [(LIST, '{"demo": []}'), (CHECK, check()), (LIST, catalogue), (SHOW, shown()), (CHECK, check())]
    )
    host.ticks(0, 5, 10)
    host.backup()
    host.ticks(15, 20, 25)
    assert host.said[-1] == "the last finished backup is 1"


def test_changed_configuration_is_read_again(tmp_path: Path) -> None:
    host = Host(tmp_path, [(LIST, '{"demo": []}'), (CHECK, check())])
    again = Host(tmp_path, [])
    host.ticks(0, 5)
    assert host.runner.calls[0].argv == ("/usr/bin/barman", "-f", "json", "show-servers", "demo")
    os.utime(host.file, (5, 5))
    host.runner._expected += [*again.runner._expected, (LIST, '{"demo": []}')]
    again.runner._expected.clear()
    host.ticks(10)
    assert len(host.runner.calls) == 7


@pytest.fixture
def broken(tmp_path: Path) -> Host:
    slow = Unreachable("run barman: no end after 25 s.")
    return Host(tmp_path, [(LIST, slow), (CHECK, slow), (LIST, '{"demo": []}'), (CHECK, check())])


def test_what_cannot_be_read_says_why_and_comes_back(broken: Host) -> None:
    broken.ticks(0, 5, 10)
    view = broken.part.view()
    assert (view.checks, view.backups) == (None, None)
    assert set(view.unread) == {"check", "catalogue"}
    assert "no end after 25 s" in view.unread["check"]
    # The rest is known all the same.
    assert view.receiving is False
    broken.ticks(FAILED, FAILED + 5)
    view = broken.part.view()
    assert (view.unread, view.backups, len(view.checks or ())) == ({}, (), 1)


def test_a_host_without_barman_says_so(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.conf")
    part = BarmanPart("backup1", Client(ScriptedRunner([]), "demo"), [missing], lambda: 1.0)
    part.tick(0)
    assert part.view().unread == {"config": f"{missing}: No such file or directory"}


class Seen(ScriptedRunner):
    """Barman, whose every check takes notice of what the agent shows meanwhile."""

    def __init__(self, expected: list[tuple[str, Any]], part: BarmanPart) -> None:
        super().__init__(expected)
        self._part = part
        self.shown: list[tuple[bool | None, int]] = []

    def run(self, argv: Any, **rest: Any) -> Any:
        if "check" in argv:
            self.shown.append((self._part.view().receiving, self._part.view().receiver))
        return super().run(argv, **rest)


def test_what_is_seen_of_the_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is restarted: Barman's process holds its lock before and after it receives."""
    looks = [(7, True), (7, True), (7, True), (7, False), (0, False), (8, False), (8, True), (8, True)]
    monkeypatch.setattr(barman_files, "process", lambda *place: looks[0][0])
    monkeypatch.setattr(barman_files, "receives", lambda number: looks.pop(0)[1])
    host = Host(tmp_path, [])
    seen = Seen([*host.runner._expected, (LIST, '{"demo": []}'), *[(CHECK, check())] * 3], host.part)
    host.runner._expected.clear()
    host.part._client = Client(seen, "demo")
    found, intervals = [], []
    for now in (0, 1, 5, 10, 11, 12, 13, 18):
        host.ticks(now)
        view = host.part.view()
        found.append((view.receiver, view.receiving, view.not_receiving_since))
        intervals.append(host.part.interval)
    since = 1010.0
    assert found == [
        *[(7, True, None)] * 3,
        (7, False, since),
        (0, False, since),
        (8, False, since),
        *[(8, True, None)] * 2,
    ]
    # It looks again soon until WAL is received.
    assert intervals == [BEHIND, CALM, CALM, AWAIT, AWAIT, AWAIT, CALM, CALM]
    # A check takes a second or more, and so long what has been seen just now is shown, not what was seen before.
    assert seen.shown == [(True, 7), (False, 7), (True, 8)]
    assert host.said == ["WAL is received", "all checks are good", "WAL is not received", "WAL is received"]


def test_since_when_is_not_known_of_a_receiver_that_was_never_seen(tmp_path: Path) -> None:
    host = Host(tmp_path, [(LIST, '{"demo": []}'), (CHECK, check())])
    (tmp_path / "streaming" / "00000002000000010000000B.partial").write_text("x")
    host.ticks(0, 1, 2)
    assert (host.part.view().receiving, host.part.view().not_receiving_since) == (False, None)


LOST, COMMON = "0000000B000000000000000D.partial", "0000000A000000000000000C"


class Receiver:
    """A Barman host with a receiver, and a primary on timeline 10, which may be *gone*."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, number: Callable[[float], int]) -> None:
        self.host = Host(root, [(LIST, '{"demo": []}'), *[(CHECK, check())] * 9])
        self.streaming = root / "streaming"
        for name in (LOST, COMMON):
            (self.streaming / name).write_text(name)
        self.asked: list[float] = []
        self.gone = False
        self._now = 0.0
        monkeypatch.setattr(barman_files, "process", lambda *args: number(self._now))
        monkeypatch.setattr(barman_files, "receives", bool)
        self.host.part._primary = self.primary

    @contextmanager
    def primary(self) -> Iterator[Server]:
        """See BarmanPart."""
        self.asked.append(self._now)
        if self.gone:
            raise Unreachable("connect to the primary: connection refused")
        yield server(10, "9\t0/D000000\tno recovery target specified\n")

    def run(self, until: int) -> list[str]:
        """Tick so long; what was said of the receiver's WAL."""
        while self._now < until:
            self.host.ticks(self._now)
            self._now += 5.0
        self.host.runner._expected.clear()
        return [line for line in self.host.said if "history" in line]


def failing(now: float) -> int:
    """One process after the other."""
    return 100 + int(now)


@pytest.mark.parametrize("number", [failing, lambda now: 0], ids=["one after the other", "none"])
def test_d8_wal_of_a_timeline_that_lost_is_moved_aside(
    number: Callable[[float], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Receiver(tmp_path, monkeypatch, number)
    said = world.run(90)
    assert [path.name for path in world.streaming.iterdir()] == [COMMON]
    aside = list((tmp_path / "left-behind").glob("*/*"))
    assert [path.name for path in aside] == [LOST]
    assert aside[0].read_text() == LOST
    assert said == [
        f"WAL that the primary's history does not have was moved to {aside[0].parent}, so that it is received again: "
        f"{LOST}; the primary is on timeline 10"
    ]
    assert all(later - sooner >= AGAIN for sooner, later in zip(world.asked, world.asked[1:]))


@pytest.mark.parametrize(
    ("what", "number", "gone"),
    [
        ("the receiver stays", lambda now: 100, False),
        ("it is restarted now and then", lambda now: 100 + int(now) // 20, False),
        ("there is no primary", failing, True),
    ],
)
def test_nothing_is_moved(
    what: str, number: Callable[[float], int], gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Receiver(tmp_path, monkeypatch, number)
    world.gone = gone
    assert world.run(90) == []
    assert sorted(path.name for path in world.streaming.iterdir()) == sorted([LOST, COMMON]), what
    assert bool(world.asked) is gone
