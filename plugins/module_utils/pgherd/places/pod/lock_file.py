# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The lock of a volume as a file there. What lock.py decides is done by steps that a shared file system takes whole.

A lock begins as a file that was not there yet, and is taken by renaming a file of one's own over another's. It beats in place,
and only in a file that was read as one's own just before. So a holder that stood still between the two, and goes on, writes into
its own file, whose name another's has by then: it cannot take the lock back without knowing. Each look opens the file anew: then,
and not else, a network file system asks its server what is there.

Beside that a holder has its file locked for this machine (flock(2)), and so has whatever it starts, which inherits the handle.
Who gets that lock on the same machine and file system knows that all of these have ended, and need not wait.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from .lock import LENGTH, Lock, parse

NAME = "pgherd-lock"
BOOT = "/proc/sys/kernel/random/boot_id"


def machine(directory: str) -> str:
    """This start of this machine, and the file system of the *directory* as it has that mounted. Raises OSError."""
    with open(BOOT, encoding="utf-8") as stream:
        return f"{stream.read().strip()} {os.stat(directory).st_dev}"


class LockFile:
    """The lock in *directory*, as *mine* holds it."""

    def __init__(self, directory: str, mine: Lock) -> None:
        self.path = os.path.join(directory, NAME)
        # When it was last seen to be one's own, by the monotonic clock.
        self.seen = float("-inf")
        self._directory, self._mine = directory, mine
        # Open for as long as this process lives.
        self._handle = -1

    def read(self) -> bytes | None:
        """What the lock says, None where there is none. Raises OSError."""
        try:
            with _opened(self.path, os.O_RDONLY) as handle:
                return _read(handle)
        except FileNotFoundError:
            return None

    def dead(self, seen: bytes) -> bool:
        """Whether who has *seen* in the lock certainly has ended, with all that it started. Raises OSError."""
        if parse(seen).machine != machine(self._directory):
            return False
        with suppress(FileNotFoundError), _opened(self.path, os.O_RDWR) as handle:
            return _read(handle) == seen and _locked(handle)
        return False

    def make(self) -> bool:
        """Make the lock where there is none; whether that was so. Raises OSError."""
        try:
            self._write(self.path, os.O_EXCL)
        except FileExistsError:
            return False
        return True

    def inherit(self, seen: bytes) -> bool:
        """Put one's own in the place of that of who has *seen* there, which is dead(); not where another has done so meanwhile.
        Raises OSError."""
        with suppress(FileNotFoundError), _opened(self.path, os.O_RDWR) as handle:
            same = _locked(handle) and _read(handle) == seen
            if same and os.fstat(handle).st_ino == os.stat(self.path).st_ino:
                self.take()
                return True
        return False

    def take(self) -> None:
        """Put one's own in the place of another's. Raises OSError."""
        new = f"{self.path}.{self._mine.life}"
        self._write(new, os.O_TRUNC)
        os.rename(new, self.path)
        self._lasting()

    def mine(self) -> bool:
        """Whether the lock is one's own now. Raises OSError where that cannot be told."""
        found = self.read()
        mine = found is not None and parse(found).life == self._mine.life
        if mine:
            self.seen = time.monotonic()
        return mine

    def beat(self) -> bool:
        """Beat, where the lock is one's own; whether it is. Nothing is written where it is not. Raises OSError where that cannot
        be told, or a beat cannot be written."""
        try:
            with _opened(self.path, os.O_RDWR) as handle:
                found = parse(_read(handle))
                if found.life != self._mine.life:
                    return False
                self.seen = time.monotonic()
                os.pwrite(handle, replace(found, beat=found.beat + 1).text(), 0)
                os.fdatasync(handle)
        except FileNotFoundError:
            return False
        return True

    def end(self) -> None:
        """Take one's own away. Raises OSError."""
        if self.mine():
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            self._lasting()

    def _write(self, path: str, how: int) -> None:
        mine = replace(self._mine, machine=machine(self._directory))
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | how, 0o644)
        try:
            with suppress(OSError):
                # Without that, others wait as for another machine's.
                _locked(handle)
            os.pwrite(handle, mine.text(), 0)
            os.fsync(handle)
        except OSError:
            os.close(handle)
            raise
        os.set_inheritable(handle, True)
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self.seen = handle, time.monotonic()
        self._lasting()

    def _lasting(self) -> None:
        """Have the names in the directory outlive a power cut, where the file system can be asked for that."""
        with suppress(OSError), _opened(self._directory, os.O_RDONLY | os.O_DIRECTORY) as handle:
            os.fsync(handle)


@contextmanager
def _opened(path: str, how: int) -> Iterator[int]:
    handle = os.open(path, how | os.O_NOFOLLOW)
    try:
        yield handle
    finally:
        os.close(handle)


def _read(handle: int) -> bytes:
    # What this machine remembers of the file is not what another has written since.
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(handle, LENGTH, 0)


def _locked(handle: int) -> bool:
    """Lock it for this machine; not where another has. Raises OSError where the file system knows no such locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
