# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What root does in the database's user's directories: nothing of root's comes to harm by what that user has planted there,
and nothing is left behind that the user's agent could not write."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pgherd.agent.work import Work
from pgherd.data import clone, datadir, last_words, postmaster, rejoin_marker, salvage
from pgherd.data.clone import STAGE, Staging
from pgherd.layout import debian
from pgherd.nodes.node_apply import written_settings
from test_salvage import BEGUN, OWN, RECORDS, Disk
from users import OTHER, ROOT, Users

as_root = pytest.mark.skipif(not ROOT, reason="only root can do something as somebody else")
CONFIG = "node_id = 2\ndata_directory = '/real'\n"


@pytest.fixture
def users(common_path: Path, monkeypatch: pytest.MonkeyPatch) -> Users:
    users = Users(common_path)
    monkeypatch.setattr(clone, "OWNER", users.owner)
    monkeypatch.setattr(rejoin_marker, "MARK", str(users.theirs / "note"))
    monkeypatch.setattr(salvage, "KEPT", str(users.theirs / "kept"))
    return users


def owners(top: Path) -> set[int]:
    """Whose everything below *top* is."""
    return {one.lstat().st_uid for one in (top, *top.rglob("*"))}


@pytest.mark.parametrize("name", ["postgresql.auto.conf", "postgresql.auto.conf.new", "standby.signal.new"])
def test_a_start_as_a_standby_writes_through_no_link(users: Users, name: str) -> None:
    target = users.planted("a link", name)
    if name == "postgresql.auto.conf":
        # Its lines would be taken over, and given to who could not read them.
        with pytest.raises(datadir.PgherdError, match=r"postgresql\.auto\.conf"):
            datadir.make_standby(str(users.theirs), "host=pg1", "slot")
        return
    datadir.make_standby(str(users.theirs), "host=pg1", "slot")
    assert target.read_text() == "root's"
    assert users.untouched()
    for written in ("postgresql.auto.conf", "standby.signal"):
        found = (users.theirs / written).lstat()
        assert (found.st_uid, found.st_mode & 0o777) == (OTHER, 0o600)


@as_root
def test_a_data_directory_behind_a_link_of_an_administrators_is_written(users: Users) -> None:
    """In a directory of the user's, who could have made it as well: so it is that user who goes there."""
    (users.base / "disk").mkdir()
    shutil.chown(users.base / "disk", users.owner)
    (users.theirs / "main").symlink_to(users.base / "disk")
    datadir.make_standby(str(users.theirs / "main"), "host=pg1", "slot")
    assert owners(users.base / "disk") == {OTHER}
    assert written_settings(str(users.theirs / "main")) == ("host=pg1", "slot")
    work = Staging(debian(17, str(users.theirs / "main")))
    work.prepare(CONFIG, wipe=True)
    assert owners(users.base / "disk") == {OTHER}
    shutil.chown(users.base / "disk", 0)
    with pytest.raises(datadir.PgherdError, match="Permission denied"):
        datadir.make_standby(str(users.theirs / "main"), "host=pg1", "slot")


def test_settings_are_read_from_a_file_alone(users: Users) -> None:
    users.planted("a pipe", "postgresql.auto.conf")
    with pytest.raises(datadir.PgherdError, match="no file"):
        written_settings(str(users.theirs))


@pytest.mark.parametrize("how", ["a file", "a link", "a pipe"])
def test_a_note_that_was_planted(users: Users, how: str) -> None:
    """Whatever it is, the data are not started; what a link points at is shown to nobody."""
    target = users.planted(how, "note")
    said = rejoin_marker.marked()
    assert said == "old" if how == "a file" else said.startswith("unfinished; ")
    assert "root's" not in said
    rejoin_marker.mark("clone from pg1")
    assert (rejoin_marker.marked(), target.read_text()) == ("clone from pg1", "root's")
    assert (users.theirs / "note").lstat().st_uid == OTHER
    rejoin_marker.unmark()
    assert rejoin_marker.marked() == ""
    assert users.untouched()


def test_a_note_is_shown_in_one_line_of_text(users: Users) -> None:
    (users.theirs / "note").write_bytes(b"x\x1b[2J\ny" + b"z" * 100000)
    said = rejoin_marker.marked()
    assert said.startswith("x?[2J?yzzz")
    assert len(said) <= rejoin_marker.LONGEST


def test_a_note_of_roots_is_the_users_to_replace(users: Users) -> None:
    (users.theirs / "note").write_text("rewind to pg1\n")
    with clone.acting_as(clone.of_user(users.owner)):
        rejoin_marker.mark("clone from pg1")
        assert rejoin_marker.marked() == "clone from pg1"
        rejoin_marker.unmark()
    assert rejoin_marker.marked() == ""


@pytest.mark.parametrize("entries", [("old", STAGE), ("PG_VERSION",)], ids=["again", "wipe"])
@pytest.mark.parametrize("planted", [STAGE, "base"])
def test_a_clone_into_a_directory_with_links(users: Users, planted: str, entries: tuple[str, ...]) -> None:
    for name in entries:
        if name != planted:
            (users.theirs / name).mkdir()
            os.chown(users.theirs / name, OTHER, -1)
    (users.theirs / planted).symlink_to(users.roots)
    work = Staging(debian(17, str(users.theirs)))
    work.prepare(CONFIG, wipe=True)
    assert users.untouched()
    assert os.listdir(users.theirs) == [STAGE]
    assert owners(users.theirs) == {OTHER}
    os.makedirs(work.data)
    for name in ("PG_VERSION", "standby.signal"):
        Path(work.data, name).touch()
    Path(work.data, "base").symlink_to(users.roots)
    if ROOT:
        shutil.chown(work.data, users.owner)
    work.adopt()
    assert sorted(os.listdir(users.theirs)) == ["PG_VERSION", "base", "standby.signal"]
    assert users.untouched()


@as_root
def test_a_data_directory_that_is_missing_is_made_by_root_for_its_user(users: Users) -> None:
    (users.base / "srv").mkdir(mode=0o700)
    (users.base / "srv").chmod(0o711)
    wal = users.base / "srv/wal"
    wal.mkdir(mode=0o700)
    Staging(debian(17, str(users.base / "srv/pg/data")), str(wal)).prepare(CONFIG, wipe=False)
    assert [(users.base / name).stat().st_uid for name in ("srv", "srv/pg")] == [0, 0]
    assert owners(users.base / "srv/pg/data") == owners(wal) == {OTHER}
    assert (users.base / "srv/pg/data").stat().st_mode & 0o777 == 0o700


@as_root
def test_what_is_roots_in_there_is_named_and_stays(users: Users) -> None:
    (users.theirs / "admins").mkdir()
    (users.theirs / "admins/precious").write_text("x")
    with pytest.raises(clone.PgherdError, match=r"precious: Permission denied.*Remove by hand"):
        Staging(debian(17, str(users.theirs))).prepare(CONFIG, wipe=True)
    assert (users.theirs / "admins/precious").read_text() == "x"


@as_root
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "root has kept something before"])
def test_what_is_kept_is_the_users(users: Users, monkeypatch: pytest.MonkeyPatch, earlier: bool) -> None:
    """A link among the WAL is not followed to where only root may read, and copies are not root's."""
    disk = Disk(users.base, monkeypatch, BEGUN, OWN)
    monkeypatch.setattr(salvage, "KEPT", str(users.theirs / "kept"))
    if earlier:
        (users.theirs / "kept").mkdir(mode=0o700)
        (users.theirs / "kept/of-root").write_text("x")
    programs = (("pg_controldata", "Bytes per WAL segment: 16777216\n"), ("pg_waldump", RECORDS))
    disk.run(*programs, stray=True)
    assert owners(users.theirs / "kept") == {OTHER}
    assert len(list((users.theirs / "kept").glob("*/*"))) == len(OWN) + 1
    assert [path.read_text() for path in users.theirs.glob("kept-before-*/of-root")] == (["x"] if earlier else [])
    (disk.wal / OWN[0]).unlink()
    (disk.wal / OWN[0]).symlink_to(users.roots / "secret")
    with pytest.raises(salvage.PgherdError, match="Permission denied"):
        disk.run(*programs, stray=True)


@as_root
@pytest.mark.parametrize("whose", ["root's", "the user's"])
def test_a_signal_is_for_a_process_of_the_users_alone(users: Users, whose: str) -> None:
    """Root asks for it, and the user has written the number."""
    mine = None if whose == "root's" else OTHER
    group = None if mine is None else users.group
    groups = None if mine is None else []
    argv = ["/bin/sleep", "60"]
    with subprocess.Popen(argv, cwd=users.theirs, user=mine, group=group, extra_groups=groups) as process:
        try:
            (users.theirs / "postmaster.pid").write_text(f"{process.pid}\n")
            postmaster.kill_postmaster(str(users.theirs))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2 if mine is None else 5)
            assert process.returncode == (None if mine is None else -signal.SIGKILL)
        finally:
            process.kill()


@as_root
def test_nobody_is_told_what_only_root_may_read(users: Users) -> None:
    """The server's own word for its log may name any file."""
    words = "FATAL:  could not open it"
    for place, expected in ((users.theirs, words), (users.roots, "")):
        (place / "log").write_text(f"2026-11-29 00:00:00 UTC [1] {words}\n")
        (place / "log").chmod(0o644 if place == users.theirs else 0o600)
        (users.theirs / "current_logfiles").write_text(f"stderr {place}/log\n")
        assert last_words.said(debian(99, str(users.theirs))) == " ".join(expected.split())


def test_why_work_failed_is_said_whatever_it_was() -> None:
    said: list[str] = []
    for error in (PermissionError(13, "Permission denied", "/x"), RuntimeError("an unforeseen one")):
        work = Work(said.append)

        def job(error: Exception = error) -> None:
            raise error

        work.begin("rejoin", job)
        deadline = time.monotonic() + 5
        while work.name and time.monotonic() < deadline:
            time.sleep(0.001)
        assert "rejoin" in work.ended
    assert said == [
        "rejoin: failed: [Errno 13] Permission denied: '/x'",
        "rejoin: failed: unforeseen: RuntimeError: an unforeseen one",
    ]
