# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Signals to a postmaster, quicker than a service manager and possible where that hangs; and the file that names it."""

from __future__ import annotations

import glob
import os
import signal
import time
from collections.abc import Iterator

from ..errors import PgherdError
from ..layout import SOCKETS
from ..ports.directories import around, as_owner

# Seconds in which a postmaster has heard the signal, or never will: what hangs lets its clients' sessions go on meanwhile. One
# that is stopped for a switchover is fenced, and was well a moment ago: it may only be slow.
HEAR, HEAR_ASKED = 3.0, 9.0


def kill_postmaster(directory: str) -> None:
    """SIGKILL to the postmaster of *directory*; its children end by themselves."""
    _signal(directory, signal.SIGKILL)


def stop_postmaster(directory: str, timeout: float, hear: float = HEAR) -> bool:
    """A fast shutdown without a service manager's detours; whether it ended within *timeout* seconds. One that has not
    heard of it after *hear* seconds is not waited for."""
    pid = _signal(directory, signal.SIGINT)
    began = time.monotonic()
    while pid and os.path.exists(f"/proc/{pid}"):
        lasting = time.monotonic() - began
        if lasting > timeout or (lasting > hear and not _stopping(directory)):
            return False
        time.sleep(0.01)
    return True


def is_up(directory: str, pid: int) -> bool:
    """Whether the postmaster of *directory* with the number *pid* has written that it takes sessions, or that it is up as a
    standby that takes none (pidfile.h, as pg_ctl waits for it)."""
    try:
        lines = _lines(directory)
        return int(lines[0]) == pid and lines[7].strip() in ("ready", "standby")
    except (OSError, ValueError, IndexError):
        return False


def may_run(directory: str) -> bool:
    """Whether a server of *directory* runs here; True where that cannot be told."""
    try:
        with as_owner(directory):
            # A single-user server writes its number with a minus before it.
            return _serves(abs(int(_lines(directory)[0])), directory)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except (OSError, PgherdError, ValueError, IndexError):
        return True


def _signal(directory: str, number: signal.Signals) -> int:
    """Signal the postmaster of *directory*; its process ID, 0 where none runs. After a crash postmaster.pid names a process
    that is gone, or another one: a postmaster's current directory is its data directory. Where root asks for the signal, whose
    data these are can have written any number there: it is for a process of that user alone."""
    try:
        with as_owner(directory):
            pid = int(_lines(directory)[0])
            if not _serves(pid, directory):
                return 0
            os.kill(pid, number)
    except (OSError, ValueError, IndexError):
        return 0
    return pid


def forget_gone(directory: str, sockets: str = SOCKETS) -> str:
    """Remove what names the server of *directory*, its postmaster.pid and the lock beside its socket in *sockets*, where the
    process that is named is another one by now; says which, '' where nothing is removed. To be called with the rights of the
    data's owner, before a start.

    After a power cut, and where a container starts again, the numbers of processes begin anew, and the same programs get about
    the same ones. PostgreSQL does not start where one of the same user has the number (CreateLockFile() in miscinit.c), and
    Debian's pg_ctlcluster takes whatever has the word postgres in its command line for it (check_pidfile_running() in
    PgCommon.pm): an agent, say. That a server which has lost its postmaster still has children is seen by the memory that they
    share, with or without the file (PGSharedMemoryCreate() in sysv_shmem.c).
    """
    said = []
    for path, found in _gone(directory, sockets):
        try:
            with around(path) as (place, file):
                place.remove(file)
        except OSError:
            continue
        said.append(f"{found}, which {os.path.basename(path)} names, is no server of {directory}: the file is removed")
    return "; ".join(said)


def another(directory: str, sockets: str = SOCKETS) -> str:
    """The process that a file of the server of *directory* names, in words, where that is no server of it; '' where it is one,
    and where it cannot be told. See forget_gone()."""
    return next((found for _path, found in _gone(directory, sockets)), "")


def _gone(directory: str, sockets: str) -> Iterator[tuple[str, str]]:
    """The files that name a process that is no server of *directory*, each with it in words."""
    own = os.path.join(directory, "postmaster.pid")
    for path in (own, *sorted(glob.glob(os.path.join(glob.escape(sockets), ".s.PGSQL.*.lock")))):
        try:
            lines = _lines(directory, path)
            # A single-user server writes its number with a minus before it.
            pid = abs(int(lines[0]))
            ours = path == own or os.path.realpath(lines[1]) == os.path.realpath(directory)
            if not pid or not ours or _serves(pid, directory):
                continue
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                yield path, f"process {pid} ({stream.read().strip()})"
        except (OSError, ValueError, IndexError):
            # There is no such file or process, or what stands there is no number: who starts the server sees to that.
            continue


def _serves(pid: int, directory: str) -> bool:
    """Whether *pid* is a process of this user whose current directory is *directory*, as every server's is. Raises OSError
    where that cannot be told."""
    if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
        return False
    return os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(directory)


def _stopping(directory: str) -> bool:
    """Whether the postmaster has written that it stops, which it does as soon as it handles the signal (miscinit.h:
    LOCK_FILE_LINE_PM_STATUS)."""
    try:
        return _lines(directory)[7].strip() == "stopping"
    except (OSError, IndexError):
        return False


def _lines(directory: str, path: str = "") -> list[str]:
    """What its owner reads in postmaster.pid of *directory*, or in the lock at *path*. Raises OSError, PgherdError."""
    with as_owner(directory), around(path or os.path.join(directory, "postmaster.pid")) as (place, name):
        return place.read(name, 4096).decode(errors="replace").splitlines()
