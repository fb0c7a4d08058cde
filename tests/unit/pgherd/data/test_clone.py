# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A clone appears whole or not at all, wherever it is interrupted, and replaces nothing that it may not."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pgherd.data import clone
from pgherd.data.clone import MARK, STAGE, Staging, unfinished
from pgherd.data.datadir import OWN
from pgherd.errors import Conflict, PgherdError
from pgherd.layout import debian

CONFIG = "node_id = 2\ndata_directory = '/real'\nuse_replication_slots = on\n"
COPY = (MARK, "base", "global", "postgresql.auto.conf", "standby.signal")


class PowerCut(Exception):
    """The end of the process at this very moment."""


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "main"


def staging(place: Path, **options: Any) -> Staging:
    return Staging(debian(17, str(place)), **options)


def copy(work: Staging, names: tuple[str, ...] = COPY) -> None:
    """What pg_basebackup and repmgr do."""
    os.makedirs(work.data)
    for name in names:
        Path(work.data, name).write_text(name, encoding="utf-8")


def startable(place: Path) -> bool:
    """Whether PostgreSQL would take it for a cluster: it wants PG_VERSION first of all."""
    return (place / MARK).exists()


def clone_into(place: Path, wipe: bool = False, **options: Any) -> None:
    work = staging(place, **options)
    work.prepare(CONFIG, wipe)
    copy(work)
    work.adopt()


def test_into_nothing(place: Path) -> None:
    clone_into(place)
    assert sorted(os.listdir(place)) == sorted(COPY)


def test_a_backups_file_is_not_taken_along(place: Path) -> None:
    """Once the copy was promoted, its next start would be refused as a restored backup's."""
    work = staging(place)
    work.prepare(CONFIG, False)
    copy(work, (*COPY, "recovery.signal"))
    work.adopt()
    assert sorted(os.listdir(place)) == sorted(COPY)


def test_what_the_source_says_of_itself_is_not_taken_along(place: Path) -> None:
    """It may be fenced, just because it has no standby but the one that is made here."""
    work = staging(place)
    work.prepare(CONFIG, False)
    copy(work)
    said = "primary_slot_name = 'of_another'\nwork_mem = '8MB'\ndefault_transaction_read_only = 'on'\n"
    Path(work.data, OWN).write_text(said, encoding="utf-8")
    work.sign({"primary_slot_name": "mine"})
    work.adopt()
    assert (place / OWN).read_text(encoding="utf-8") == "work_mem = '8MB'\nprimary_slot_name = 'mine'\n"


def test_into_the_root_of_a_file_system(place: Path) -> None:
    (place / "lost+found").mkdir(parents=True)
    clone_into(place)
    assert sorted(os.listdir(place)) == sorted([*COPY, "lost+found"])


def test_repmgr_is_told_the_other_directory(place: Path) -> None:
    work = staging(place)
    work.prepare(CONFIG, False)
    lines = Path(work.config).read_text(encoding="utf-8").splitlines()
    assert lines == ["node_id = 2", "use_replication_slots = on", f"data_directory = '{work.data}'"]
    assert Path(work.data).parents[1] == place / STAGE
    assert unfinished(os.listdir(place))


@pytest.mark.parametrize("names", [(MARK, "base"), ("notes.txt",), (MARK, STAGE)])
def test_nothing_is_replaced_without_the_word(place: Path, names: tuple[str, ...]) -> None:
    place.mkdir()
    for name in names:
        (place / name).write_text("precious", encoding="utf-8")
    with pytest.raises(Conflict, match="cluster_wipe"):
        staging(place).prepare(CONFIG, False)
    assert sorted(os.listdir(place)) == sorted(names)


def test_replaces_what_it_may(place: Path) -> None:
    place.mkdir()
    (place / MARK).write_text("old", encoding="utf-8")
    (place / "pg_wal").symlink_to(place.parent)
    (place / "old").mkdir()
    clone_into(place, wipe=True)
    assert sorted(os.listdir(place)) == sorted(COPY)


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int, backwards: bool, run: Callable[[], None]) -> bool:
    """Run until the *at*-th change of a directory, and cut the power there; False when it came to its end."""
    left = [at]

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def once(*args: Any, **options: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            change(*args, **options)

        return once

    with monkeypatch.context() as patch:
        patch.setattr(clone.os, "rename", counted(os.rename))
        patch.setattr(clone.os, "unlink", counted(os.unlink))
        patch.setattr(clone.shutil, "rmtree", counted(clone.shutil.rmtree))
        # The order in which a file system lists is nobody's to rely on.
        listed = os.listdir
        patch.setattr(clone.os, "listdir", lambda path: sorted(listed(path), reverse=backwards))
        try:
            run()
        except PowerCut:
            return True
        return False


@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("old", [(), (MARK, "base", "old"), (STAGE, "base", "global")], ids=["empty", "wipe", "again"])
def test_interrupted_anywhere_it_never_starts_half_and_is_made_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch, at: int, backwards: bool, old: tuple[str, ...]
) -> None:
    for name in old:
        place.mkdir(exist_ok=True)
        if name == STAGE:
            (place / name).mkdir()
        else:
            (place / name).write_text("old", encoding="utf-8")
    was_cut = interrupted(monkeypatch, at, backwards, lambda: clone_into(place, wipe=MARK in old))
    if was_cut and startable(place):
        # Either nothing was done yet, or all.
        first = (place / MARK).read_text(encoding="utf-8")
        expected = {MARK, "base", "old"} if first == "old" else set(COPY)
        assert {name for name in os.listdir(place) if name != STAGE} == expected
    elif was_cut:
        assert unfinished(os.listdir(place))
        clone_into(place)
    if startable(place) and (place / MARK).read_text(encoding="utf-8") != "old":
        staging(place).clean()
        assert sorted(os.listdir(place)) == sorted(COPY)


@pytest.mark.parametrize("names", [(), (MARK, "base"), ("base", "standby.signal")])
def test_an_unfinished_copy_is_not_adopted(place: Path, names: tuple[str, ...]) -> None:
    work = staging(place)
    work.prepare(CONFIG, False)
    copy(work, names)
    with pytest.raises(PgherdError, match="copy"):
        work.adopt()
    assert not startable(place)


def test_wal_and_tablespaces_of_an_interrupted_clone_go_with_it(place: Path, tmp_path: Path) -> None:
    wal, space = tmp_path / "wal", tmp_path / "space"
    options = {"wal_directory": str(wal), "tablespaces": (str(space),)}
    staging(place, **options).prepare(CONFIG, False)
    (wal / "000000010000000000000001").write_text("", encoding="utf-8")
    (space / "PG_17_202406281" / "1").mkdir(parents=True)
    (space / "PG_15_202209061").mkdir()
    staging(place, **options).prepare(CONFIG, False)
    assert os.listdir(wal) == []
    assert os.listdir(space) == ["PG_15_202209061"]


def test_a_copied_place_of_the_upstreams_own_clone_stays_behind(place: Path) -> None:
    work = staging(place)
    work.prepare(CONFIG, False)
    copy(work)
    Path(work.data, STAGE).mkdir()
    work.adopt()
    assert sorted(os.listdir(place)) == sorted(COPY)


@pytest.mark.parametrize("again", [False, True], ids=["after another end", "after a cut while clearing"])
def test_wal_that_nobody_can_place_is_not_removed(place: Path, tmp_path: Path, again: bool) -> None:
    """Unless an attempt has left it: then its directory is there still."""
    wal = tmp_path / "wal"
    wal.mkdir()
    (wal / "000000010000000000000001").write_text("precious", encoding="utf-8")
    if again:
        (place / STAGE).mkdir(parents=True)
        staging(place, wal_directory=str(wal)).prepare(CONFIG, False)
        assert os.listdir(wal) == []
        return
    with pytest.raises(Conflict, match="move it away"):
        staging(place, wal_directory=str(wal)).prepare(CONFIG, False)
    assert len(os.listdir(wal)) == 1
    staging(place, wal_directory=str(wal)).prepare(CONFIG, True)
    assert os.listdir(wal) == []


def test_a_tablespace_that_nobody_can_place_is_not_removed(place: Path, tmp_path: Path) -> None:
    space = tmp_path / "space"
    (space / "PG_17_202406281" / "1").mkdir(parents=True)
    options = {"tablespaces": (str(space),)}
    with pytest.raises(Conflict, match="PG_17_202406281"):
        staging(place, **options).prepare(CONFIG, False)
    staging(place, **options).prepare(CONFIG, True)
    assert os.listdir(space) == []


def test_interrupted_while_clearing_it_is_made_anew(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = tmp_path / "wal"
    for at in range(4):
        shutil.rmtree(place, ignore_errors=True)
        (place / STAGE).mkdir(parents=True)
        (place / "base").mkdir()
        wal.mkdir(exist_ok=True)
        (wal / "1").write_text("", encoding="utf-8")
        work = staging(place, wal_directory=str(wal))
        interrupted(monkeypatch, at, False, lambda work=work: work.prepare(CONFIG, False))  # type: ignore[misc]
        staging(place, wal_directory=str(wal)).prepare(CONFIG, False)
        assert os.listdir(wal) == []


def test_each_attempt_has_its_own_directory(place: Path) -> None:
    """What an earlier one has left running writes into the void."""
    first, second = staging(place), staging(place)
    first.prepare(CONFIG, False)
    copy(first)
    second.prepare(CONFIG, False)
    assert first.data != second.data
    assert not os.path.exists(first.data)
    copy(second)
    with pytest.raises(FileNotFoundError):
        Path(first.data, "late").write_text("", encoding="utf-8")
    second.adopt()
    assert sorted(os.listdir(place)) == sorted(COPY)


def test_what_an_earlier_attempt_has_left_running_is_ended(place: Path) -> None:
    first = staging(place)
    first.prepare(CONFIG, False)
    argv = ["pg_basebackup", "-c", "sleep 600; true", f"--pgdata={first.data}"]
    with (
        subprocess.Popen(argv, executable="/bin/sh") as left,
        subprocess.Popen(["du", *argv[1:]], executable="/bin/sh") as watcher,
    ):
        try:
            staging(place).prepare(CONFIG, False)
            assert left.wait(5) == -signal.SIGKILL
            assert watcher.poll() is None
        finally:
            left.kill()
            watcher.kill()


@pytest.mark.parametrize("cloning", [False, True], ids=["its repmgr has ended", "its repmgr works"])
def test_a_copy_is_ended_only_when_it_works_for_nobody(place: Path, cloning: bool) -> None:
    first = staging(place)
    first.prepare(CONFIG, False)
    words = ["-c", "sleep 600; true"]
    with (
        subprocess.Popen(["pg_basebackup", *words, f"--pgdata={first.data}"], executable="/bin/sh") as copier,
        subprocess.Popen(["repmgr" if cloning else "less", *words, first.config], executable="/bin/sh") as parent,
    ):
        try:
            # exec(2) closes Popen's pipe before the command line can be read.
            while not all(Path(f"/proc/{one.pid}/cmdline").read_bytes() for one in (copier, parent)):
                time.sleep(0.01)
            staging(place).end_orphans()
            assert parent.poll() is None
            assert copier.poll() == (None if cloning else -signal.SIGKILL)
        finally:
            copier.kill()
            parent.kill()


def test_a_new_cluster_is_no_standby(place: Path) -> None:
    work = staging(place)
    work.prepare("", False)
    assert not os.path.exists(work.config)
    copy(work, (MARK, "base"))
    work.adopt(standby=False)
    assert sorted(os.listdir(place)) == [MARK, "base"]
