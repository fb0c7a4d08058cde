# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Signals to a postmaster: quicker than a service manager, and possible where that hangs."""

from __future__ import annotations

import os
import signal
import time


def kill_postmaster(directory: str) -> None:
    """SIGKILL to the postmaster of *directory*; its children end by themselves."""
    signal_postmaster(directory, signal.SIGKILL)


def stop_postmaster(directory: str, timeout: float) -> bool:
    """A fast shutdown without a service manager's detours; whether it ended within *timeout* seconds."""
    pid = signal_postmaster(directory, signal.SIGINT)
    deadline = time.monotonic() + timeout
    while pid and os.path.exists(f"/proc/{pid}"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def signal_postmaster(directory: str, number: signal.Signals) -> int:
    """Signal the postmaster of *directory*; its process ID, 0 where none runs (postmaster.pid's first line)."""
    try:
        with open(os.path.join(directory, "postmaster.pid"), encoding="ascii") as stream:
            pid = int(stream.readline())
        os.kill(pid, number)
    except (OSError, ValueError):
        return 0
    return pid
