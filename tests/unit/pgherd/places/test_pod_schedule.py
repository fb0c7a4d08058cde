# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When Barman's pod takes a base backup."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import PgherdError
from pgherd.options import Options
from pgherd.places.pod import schedule
from pgherd.places.pod.schedule import LOOK, STAMP, begun, due
from pgherd.ports.services import BACKUP, FAILED, RUNNING, STOPPED
from pgherd.programs.barman_view import Backup
from states import cluster


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        ("2026-07-14 02:00:00", "2026-07-15 01:00:00", (False, LOOK)),
        ("2026-07-14 02:00:01", "2026-07-15 01:59:50", (False, 10.0)),
        ("2026-07-14 02:00:01", "2026-07-15 02:00:00", (True, 0.5)),
        # Two were missed while no pod ran: one is taken.
        ("2026-07-12 02:00:01", "2026-07-15 01:00:00", (True, 0.5)),
        ("2026-07-15 02:00:00", "2026-07-15 02:00:00", (False, LOOK)),
    ],
)
def test_a_backup_is_due(last: str, now: str, expected: tuple[bool, float]) -> None:
    assert due("*-*-* 02:00:00", at(last), at(now)) == expected


def test_the_first_look_only_begins_to_count() -> None:
    assert due("minutely", None, at("2026-07-15 02:00:00")) == (False, LOOK)


def test_what_never_comes_again_is_never_due() -> None:
    assert due("2020-01-01", at("2026-07-15 02:00:00"), at("2027-07-15 02:00:00")) == (False, LOOK)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), False),
        (("FAILED",), False),
        # A pod that was killed meanwhile leaves it so for ever.
        (("STARTED",), False),
        (("WAITING_FOR_WALS",), True),
        (("FAILED", "DONE"), True),
    ],
)
def test_a_first_backup_has_been_taken(found: tuple[str, ...], expected: bool) -> None:
    assert begun(Backup(str(n), status) for n, status in enumerate(found)) is expected


class Barman:
    """What Barman's catalogue has at each look, and the state of its backup service then; looks end with the last."""

    def __init__(self, *looks: tuple[str, str]) -> None:
        self.looks, self.started, self.now = list(looks), 0, STOPPED
        self.deleted: list[str] = []

    def backups(self) -> tuple[Backup, ...]:
        catalogue, self.now = self.looks.pop(0)
        if not self.looks:
            signal.raise_signal(signal.SIGTERM)
        if catalogue == "refused":
            raise PgherdError("list the backups: refused")
        return tuple(Backup(str(number), status) for number, status in enumerate(catalogue.split()))

    def delete(self, backup_id: str) -> None:
        self.deleted.append(backup_id)

    def state(self, name: str) -> str:
        assert name == BACKUP
        return self.now

    def start(self, name: str, wait: bool = True) -> None:
        assert (name, wait) == (BACKUP, False)
        self.started += 1


@pytest.fixture
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(
    ("looks", "started", "noted", "deleted"),
    [
        ([("", STOPPED)], 1, False, []),
        ([("", STOPPED), ("", FAILED)], 2, False, []),
        ([("", STOPPED), ("STARTED", RUNNING)], 1, False, []),
        ([("refused", STOPPED), ("", STOPPED), ("STARTED", RUNNING), ("DONE", STOPPED)], 1, True, []),
        # One failed while the primary was fenced, of one the pod was killed; they go.
        ([("", STOPPED), ("FAILED STARTED", FAILED), ("DONE FAILED", STOPPED)], 2, True, ["0", "1", "1"]),
        ([("FAILED STARTED", RUNNING)], 0, False, ["0"]),
    ],
)
def test_the_first_backup_is_tried_until_it_is_there(
    looks: list[tuple[str, str]],
    started: int,
    noted: bool,
    deleted: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, said = Barman(*looks), []  # type: tuple[Barman, list[str]]
    described: Any = type("Described", (), {"cluster": cluster(3, options=Options(barman_directory=str(tmp_path)))})
    monkeypatch.setattr(schedule, "read", lambda path: described)
    monkeypatch.setattr(schedule, "Client", lambda runner, server, user: there)
    monkeypatch.setattr(schedule, "SOONEST", 0.01)
    assert schedule.main(there, said.append) == 0  # type: ignore[arg-type]
    assert (there.started, (tmp_path / STAMP).exists(), there.deleted) == (started, noted, deleted)
    assert len([line for line in said if line.startswith("no base backup")]) == started
