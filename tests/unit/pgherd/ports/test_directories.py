# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Files in a directory that another user may change: nothing is followed out of it, and nothing is done there as root."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import PgherdError
from pgherd.ports import directories, identity
from pgherd.ports.directories import around, as_owner, directory
from pgherd.ports.hostfiles import Disk, File, observe, plan
from users import MINE, OTHER, ROOT, Users

as_root = pytest.mark.skipif(not ROOT, reason="only root can give a directory to somebody else")


@pytest.fixture
def users(common_path: Path) -> Users:
    return Users(common_path)


@pytest.mark.parametrize("how", ["a file", "a link", "a pipe"])
def test_a_file_is_replaced_and_what_a_link_points_at_is_not(users: Users, how: str) -> None:
    target = users.planted(how, "f")
    Disk().write(users.file("f", content="new"))
    assert target.read_text() == "root's"
    assert (users.theirs / "f").read_text() == "new"
    assert stat.S_ISREG(os.lstat(users.theirs / "f").st_mode)
    assert (users.theirs / "f").stat().st_uid == OTHER
    assert users.untouched()


@pytest.mark.parametrize("how", ["a link", "a pipe"])
def test_looking_neither_follows_nor_hangs(users: Users, how: str) -> None:
    users.planted(how, "f")
    found = observe(str(users.theirs / "f"))
    assert (found["kind"], "data" in found) == ({"a link": "link", "a pipe": "other"}[how], False)
    assert plan([users.file("f", content="new")], {str(users.theirs / "f"): found}).changed


def test_what_a_link_points_at_is_not_read_even_where_all_may(users: Users) -> None:
    (users.theirs / "everybodys").write_text("x")
    (users.theirs / "f").symlink_to("everybodys")
    with around(str(users.theirs / "f")) as (here, name), pytest.raises(OSError, match="symbolic links"):
        here.read(name)


@as_root
@pytest.mark.parametrize("path", ["d", "d/below"])
def test_a_link_in_the_place_of_a_directory_is_refused(users: Users, path: str) -> None:
    (users.theirs / "d").symlink_to(users.roots)
    with pytest.raises(
        PgherdError, match=f"it is a link to {users.roots}, and not only root may change {users.theirs}"
    ):
        Disk().write(users.file(path, kind="directory", mode="0700"))
    assert users.untouched()
    with pytest.raises(PgherdError, match="it is a link to"):
        Disk().write(users.file("d/f", content="x"))
    with pytest.raises(PgherdError, match="it is a link to"):
        observe(str(users.theirs / "d/secret"))
    assert users.untouched()


def test_a_link_that_only_root_can_have_made_is_followed(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """/var/lib/barman may be one, to a larger disk."""
    (users.base / "home").symlink_to("theirs")
    users.trust(monkeypatch)
    Disk().write(File(str(users.base / "home/f"), "x", owner=users.owner, group=users.group))
    assert (users.theirs / "f").read_text() == "x"


def test_links_in_a_circle_end(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    users.trust(monkeypatch)
    (users.base / "a").symlink_to("b")
    (users.base / "b").symlink_to("a")
    with pytest.raises(PgherdError, match="circle"):
        observe(str(users.base / "a/f"))


@as_root
def test_what_is_missing_is_made_as_who_can_write_it_later(users: Users) -> None:
    Disk().write(users.file("a/b/f", content="x"))
    assert {(users.theirs / name).stat().st_uid for name in ("a", "a/b", "a/b/f")} == {OTHER}


@as_root
@pytest.mark.parametrize("content", [(), ("lost+found",), ("precious",)], ids=["empty", "a disk", "not empty"])
def test_roots_own_directory_is_given_away_only_when_it_is_empty(users: Users, content: tuple[str, ...]) -> None:
    """Who owns the directory above may have renamed it."""
    made = users.theirs / "d"
    made.mkdir()
    for name in content:
        (made / name).mkdir()
    if "precious" in content:
        with pytest.raises(PgherdError, match="not empty"):
            Disk().write(users.file("d", kind="directory", mode="0700"))
    else:
        Disk().write(users.file("d", kind="directory", mode="0700"))
    assert made.stat().st_uid == (0 if "precious" in content else OTHER)


@as_root
def test_a_directory_that_only_root_can_have_put_there_is_given_to_whom_it_should_be(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.trust(monkeypatch)
    Disk().write(File(str(users.roots), kind="directory", mode="0710", owner=users.owner, group=users.group))
    assert (users.roots.stat().st_uid, users.roots.stat().st_mode & 0o777) == (OTHER, 0o710)
    Disk().write(File(str(users.theirs), kind="directory", mode="0755"))
    assert users.theirs.stat().st_uid == 0


@as_root
def test_what_its_owner_may_not_read_is_not_read_for_him(users: Users) -> None:
    (users.theirs / "f").write_text("root's")
    (users.theirs / "f").chmod(0o600)
    assert observe(str(users.theirs / "f"))["data"] == b""


@as_root
def test_removing_takes_what_stands_there(users: Users) -> None:
    target = users.planted("a link", "f")
    Disk().remove(str(users.theirs / "f"))
    assert (target.read_text(), (users.theirs / "f").exists()) == ("root's", False)
    (users.theirs / "d").symlink_to(users.roots)
    with pytest.raises(PgherdError, match="it is a link to"):
        Disk().remove(str(users.theirs / "d/secret"))
    assert users.untouched()


def who() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


@as_root
def test_work_by_paths_is_its_owners(users: Users) -> None:
    """Also in a directory of root's within, which may not be the one that it was a moment ago."""
    (users.theirs / "roots").mkdir()
    (users.theirs / "link").symlink_to(users.roots)
    before = who(), os.getgroups()
    for name in (".", "roots", "missing/far", "link", "link/below"):
        with as_owner(str(users.theirs / name)):
            assert (who()[0], os.getgroups()) == (OTHER, [who()[1]]), name
            with pytest.raises(PermissionError):
                (users.roots / "secret").read_text()
            with as_owner(str(users.roots)):
                assert who()[0] == OTHER
        assert (who(), os.getgroups()) == before
    with as_owner(str(users.roots)):
        assert who() == before[0]
    (users.base / "open").mkdir()
    (users.base / "open").chmod(0o1777)
    (users.base / "open" / "link").symlink_to(users.theirs)
    with pytest.raises(PgherdError, match="it is a link"), as_owner(str(users.base / "open/link")):
        pass


@as_root
def test_an_error_gives_the_rights_back(users: Users) -> None:
    with pytest.raises(ValueError, match="in between"), as_owner(str(users.theirs)):
        raise ValueError("in between")
    assert who() == (0, 0)


def test_nobody_else_is_anybody_else(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent is its user already."""
    monkeypatch.setattr(os, "getresuid", lambda: (MINE, MINE, MINE) if MINE else (OTHER, OTHER, OTHER))
    before = who()
    with as_owner(str(users.theirs)):
        assert who() == before


def test_a_file_appears_whole_or_not_at_all(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (users.theirs / "f").write_text("old")
    with around(str(users.theirs / "f")) as (here, name):
        monkeypatch.setattr(directories.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            here.replace(name, b"new", 0o600)
    assert [(one.name, one.read_text()) for one in users.theirs.iterdir()] == [("f", "old")]


def test_no_handle_stays_open(users: Users) -> None:
    (users.theirs / "link").symlink_to(users.roots)
    before = len(os.listdir("/proc/self/fd"))
    tries: list[Callable[[], Any]] = [
        lambda: observe(str(users.theirs / "f")),
        lambda: observe(str(users.theirs / "link/f")),
        lambda: Disk().write(users.file("a/b", kind="directory", mode="0700")),
        lambda: Disk().write(users.file("c/f", content="x")),
    ]
    for attempt in tries:
        with suppress(PgherdError):
            attempt()
    with directory("/"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


BECOME = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pgherd.ports.identity import become
become(sys.argv[2])
become("root")
print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ["HOME"])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "CapPrm", "CapEff"))])
"""


@as_root
def test_who_has_become_another_has_no_way_back() -> None:
    core = str(Path(identity.__file__).parents[2])
    argv = [sys.executable, "-c", BECOME, core, "nobody"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    one = identity.of_user("nobody")
    ids, status = done.stdout.splitlines()
    uids, gids = f"({one.uid}, {one.uid}, {one.uid})", f"({one.gid}, {one.gid}, {one.gid})"
    assert ids == f"{uids} {gids} {list(one.groups)} {one.home}"
    assert status == "['0000000000000000', '0000000000000000', '1']"
