# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Files by handles: a path is gone along directory by directory, and what another user could have put there is not followed.

For root a link counts where only root could have made it. Below a directory of another user none does, and what root does in
such a directory it does as that directory's owner: it cannot be led to where the owner may not go.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

from ..errors import PgherdError
from .identity import acting_as, of_owner

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# So many links in one path are a circle, as for the kernel (path_resolution(7)).
_LINKS = 40
# Bytes of a file that nobody has reason to make larger.
LARGEST = 16 << 20


@dataclass(frozen=True)
class Directory:
    """An open directory. *safe*: nobody but root, or whose process this is, can change the path to it or what is in it.
    *owner*, and *last*: its owner, or where that is root, the last one before it on the path who is not; root where there is
    none. Both as numbers of user and group."""

    handle: int
    path: str
    safe: bool
    owner: tuple[int, int]
    last: tuple[int, int]

    def acting(self) -> AbstractContextManager[None]:
        """Act as the directory's owner for a while, where this process is root's."""
        # Who is in which groups may be asked of a server far away: only where it matters.
        matters = self.owner[0] != 0 and 0 in os.getresuid()
        return acting_as(of_owner(*self.owner)) if matters else nullcontext()

    def status(self, name: str) -> os.stat_result:
        """What stands in it as *name*, itself and not what a link leads to. Raises OSError."""
        return os.stat(name, dir_fd=self.handle, follow_symlinks=False)

    def read(self, name: str, largest: int = LARGEST) -> bytes:
        """The bytes of the file *name*, at most *largest*, as the directory's owner may read them. Raises OSError, also for
        what is no file."""
        with self.acting():
            handle = os.open(name, _READ, dir_fd=self.handle)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            return stream.read(largest)

    def replace(self, name: str, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        """Have the file *name* hold *data*, with *mode* and *owner* (user and group, by number; default: the directory's
        owner), whole or not at all, and on the disk. Raises OSError."""
        temporary = _temporary()
        with self.acting():
            handle = os.open(temporary, _NEW, 0o600, dir_fd=self.handle)
        try:
            with os.fdopen(handle, "wb") as stream:
                found = os.fstat(handle)
                if owner is not None and owner != (found.st_uid, found.st_gid):
                    os.fchown(handle, *owner)
                os.fchmod(handle, mode)
                stream.write(data)
                stream.flush()
                os.fsync(handle)
            self._put(temporary, name)
        finally:
            self._drop(temporary)

    def link(self, name: str, target: str) -> None:
        """Have *name* be a link to *target*. Raises OSError."""
        temporary = _temporary()
        try:
            with self.acting():
                os.symlink(target, temporary, dir_fd=self.handle)
            self._put(temporary, name)
        finally:
            self._drop(temporary)

    def remove(self, name: str) -> None:
        """Remove the file, link or empty directory *name*. Raises OSError."""
        directory = stat.S_ISDIR(self.status(name).st_mode)
        with self.acting():
            (os.rmdir if directory else os.unlink)(name, dir_fd=self.handle)

    def own(self, above: Directory, uid: int, gid: int, mode: int) -> None:
        """Give this directory, found in *above*, to *uid* and *gid*, with *mode*. Raises OSError, and PgherdError where that
        would be root's gift of what another user may have put there: a directory that holds something."""
        with self.opened() as handle:
            found = os.fstat(handle)
            if (found.st_uid, found.st_gid) != (uid, gid):
                strange = found.st_uid not in (uid, above.owner[0])
                if strange and not above.safe and set(os.listdir(handle)) - {"lost+found"}:
                    raise PgherdError(
                        f"give {self.path} to user {uid}: it is user {found.st_uid}'s, not empty, and in a directory that "
                        f"user {above.last[0]} may change.",
                        "See what it is, and give it to whom it should belong (chown), or move it away.",
                    )
                os.fchown(handle, uid, gid)
            os.fchmod(handle, mode)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The directory itself, for what cannot be done with a mere place in the tree."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.handle)
        try:
            yield handle
        finally:
            os.close(handle)

    def _put(self, temporary: str, name: str) -> None:
        with self.acting():
            os.rename(temporary, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
            with self.opened() as handle:
                os.fsync(handle)

    def _drop(self, temporary: str) -> None:
        with self.acting(), suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self.handle)


@contextmanager
def directory(path: str, make: int | None = None) -> Iterator[tuple[Directory, Directory]]:
    """The directory at *path*, and the one that it is in (of ``/``: itself). With *make*, a mode, it is made where it is
    missing, with all above it (0755), each as the owner of the directory that it is in. Raises OSError, and PgherdError for a
    link that is not to be followed."""
    words = deque(os.path.abspath(path).split("/")[1:])
    here = above = _root()
    links = 0
    try:
        while words:
            name = words.popleft()
            if name in ("", "."):
                continue
            target = _target(here, name)
            if target is not None:
                links += 1
                _refuse(here, name, target, links)
                words.extendleft(reversed(target.split("/")))
                if target.startswith("/"):
                    _close(here, above)
                    here = above = _root()
                continue
            mode = None if make is None else 0o755 if any(words) else make
            following = _enter(here, name, mode)
            if above is not here:
                os.close(above.handle)
            here, above = following, here
        yield here, above
    finally:
        _close(here, above)


@contextmanager
def around(path: str, make: bool = False) -> Iterator[tuple[Directory, str]]:
    """The directory that *path* is in, and its name there. See directory()."""
    parent, name = os.path.split(os.path.abspath(path))
    with directory(parent, 0o755 if make else None) as (place, _above):
        yield place, name


@contextmanager
def as_owner(path: str) -> Iterator[None]:
    """For work by paths in the directory *path*: act as its owner, where that is root as who owns a directory above it and
    could have put another in its place. Where it is missing, or behind a link that is not to be followed, the last directory
    before it says who that is. Raises OSError, and PgherdError for such a link in a directory of root's."""
    with acting_as(of_owner(*_who(path))):
        yield


def _who(path: str) -> tuple[int, int]:
    found, path = None, os.path.abspath(path)
    while found is None:
        found, path = _last(path), os.path.dirname(path)
    return found


def _last(path: str) -> tuple[int, int] | None:
    """Directory.last of the directory *path*; None where there is none."""
    try:
        with directory(path) as (place, _above):
            return place.last
    except FileNotFoundError:
        return None
    except _Link as error:
        if error.last[0] == 0:
            raise
        return error.last


class _Link(PgherdError):
    """A link that is not to be followed. *last*: see Directory."""

    def __init__(self, message: str, cure: str, last: tuple[int, int]) -> None:
        self.last = last
        super().__init__(message, cure)


def _root() -> Directory:
    return _opened(os.open("/", _DIRECTORY), "/", None)


def _opened(handle: int, path: str, above: Directory | None) -> Directory:
    found = os.fstat(handle)
    shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()))
    safe = found.st_uid in (0, os.geteuid()) and not shared and (above is None or above.safe)
    owner = found.st_uid, found.st_gid
    return Directory(handle, path, safe, owner, owner if owner[0] or above is None else above.last)


def _target(here: Directory, name: str) -> str | None:
    """Where the link *name* leads; None for what is no link, or missing."""
    try:
        return os.readlink(name, dir_fd=here.handle) if stat.S_ISLNK(here.status(name).st_mode) else None
    except FileNotFoundError:
        return None


def _refuse(here: Directory, name: str, target: str, links: int) -> None:
    path = os.path.join(here.path, name)
    if links > _LINKS:
        raise PgherdError(f"go to {path}: its links lead in a circle.", "Remove one of them.")
    # Who is not root can be led to nothing but what is his to do.
    if not here.safe and os.geteuid() == 0:
        raise _Link(
            f"go to {path}: it is a link to {target}, and not only root may change {here.path}.",
            "Put a directory in its place, or name the directory that is meant.",
            here.last,
        )


def _enter(here: Directory, name: str, make: int | None) -> Directory:
    path = os.path.join(here.path, name)
    try:
        return _opened(os.open(name, _DIRECTORY, dir_fd=here.handle), path, here)
    except FileNotFoundError:
        if make is None:
            raise
    with here.acting():
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=here.handle)
        found = _opened(os.open(name, _DIRECTORY, dir_fd=here.handle), path, here)
        with found.opened() as handle:
            os.fchmod(handle, make)
    return found


def _close(*places: Directory) -> None:
    for handle in {place.handle for place in places}:
        os.close(handle)


def _temporary() -> str:
    return f".pgherd-{os.urandom(8).hex()}"
