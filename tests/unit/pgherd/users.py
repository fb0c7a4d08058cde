# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A directory of another user's beside one of root's. Where the tests are not root's, both are the same user's: then it is
links and pipes alone that nobody may fall for."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from pgherd.ports import directories
from pgherd.ports.hostfiles import File

MINE = os.geteuid()
ROOT = MINE == 0
OTHER = 65534 if ROOT else MINE
_GROUP = pwd.getpwuid(OTHER).pw_gid if ROOT else os.getegid()


class Users:
    """Below *base*: *theirs* belongs to the user with the number OTHER, *roots* to who runs the tests, with a file in it."""

    def __init__(self, base: Path) -> None:
        self.base, self.theirs, self.roots = base, base / "theirs", base / "roots"
        self.owner, self.group = pwd.getpwuid(OTHER).pw_name, grp.getgrgid(_GROUP).gr_name
        self.theirs.mkdir()
        os.chown(self.theirs, OTHER, _GROUP)
        self.roots.mkdir(mode=0o750)
        (self.roots / "secret").write_text("root's")
        (self.roots / "secret").chmod(0o640)

    def planted(self, how: str, name: str) -> Path:
        """Plant ``a link``, ``a pipe`` or ``a file`` in *theirs*; gives the file that a link points at."""
        path = self.theirs / name
        if how == "a link":
            path.symlink_to(self.roots / "secret")
        elif how == "a pipe":
            os.mkfifo(path)
        else:
            path.write_text("old")
        os.chown(path, OTHER, _GROUP, follow_symlinks=False)
        return self.roots / "secret"

    def untouched(self) -> bool:
        """Whether what is root's is as it was."""
        states = [os.stat(self.roots), os.stat(self.roots / "secret")]
        return (
            [(one.st_uid, one.st_mode & 0o777) for one in states] == [(MINE, 0o750), (MINE, 0o640)]
            and os.listdir(self.roots) == ["secret"]
            and (self.roots / "secret").read_text() == "root's"
        )

    def file(self, name: str, **options: Any) -> File:
        """A file of theirs."""
        return File(str(self.theirs / name), owner=self.owner, group=self.group, **options)

    def trust(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take *base* for a directory that only root may change: in truth everybody may in one above it, /tmp."""
        began = directories._opened

        def trusting(handle: int, path: str, above: directories.Directory | None) -> directories.Directory:
            return began(handle, path, None if path == str(self.base) else above)

        monkeypatch.setattr(directories, "_opened", trusting)
