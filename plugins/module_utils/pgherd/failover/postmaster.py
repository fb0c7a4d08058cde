# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Signals to a postmaster: quicker than a service manager, and possible where that hangs."""

from __future__ import annotations

import os
import signal
import time

# Seconds in which a postmaster has heard the signal, or never will: what hangs lets its clients' sessions go on meanwhile.
HEAR = 3.0


def kill_postmaster(directory: str) -> None:
    """SIGKILL to the postmaster of *directory*; its children end by themselves."""
    _signal(directory, signal.SIGKILL)


def stop_postmaster(directory: str, timeout: float) -> bool:
    """A fast shutdown without a service manager's detours; whether it ended within *timeout* seconds. One that has not
    heard of it after HEAR seconds is not waited for."""
    pid = _signal(directory, signal.SIGINT)
    began = time.monotonic()
    while pid and os.path.exists(f"/proc/{pid}"):
        lasting = time.monotonic() - began
        if lasting > timeout or (lasting > HEAR and not _stopping(directory)):
            return False
        time.sleep(0.01)
    return True


def _signal(directory: str, number: signal.Signals) -> int:
    """Signal the postmaster of *directory*; its process ID, 0 where none runs. After a crash postmaster.pid names a process
    that is gone, or another one: a postmaster's current directory is its data directory."""
    try:
        pid = int(_lines(directory)[0])
        if os.readlink(f"/proc/{pid}/cwd") != os.path.realpath(directory):
            return 0
        os.kill(pid, number)
    except (OSError, ValueError, IndexError):
        return 0
    return pid


def _stopping(directory: str) -> bool:
    """Whether the postmaster has written that it stops, which it does as soon as it handles the signal (miscinit.h:
    LOCK_FILE_LINE_PM_STATUS)."""
    try:
        return _lines(directory)[7].strip() == "stopping"
    except (OSError, IndexError):
        return False


def _lines(directory: str) -> list[str]:
    with open(os.path.join(directory, "postmaster.pid"), encoding="ascii") as stream:
        return stream.read().splitlines()
