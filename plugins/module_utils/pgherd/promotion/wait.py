# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waiting for what another server is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import PgherdError, Unreachable
from ..ports.links import Links, session
from ..ports.sql import Server


def until(holds: Callable[[], bool], seconds: float, late: str, cure: str = "", pause: float = 0.05) -> None:
    """Look again and again until *holds*, with *pause* seconds between two looks. Raises Unreachable with *late* and *cure*
    when it does not after *seconds*."""
    _until_clear(lambda: "" if holds() else late, seconds, cure, pause)


def wait_for(
    condition: Callable[[], str],
    seconds: float,
    attempted: str,
    cure: str = "Run again when that is mended.",
    pause: float = 0.1,
) -> None:
    """Wait until *condition* gives no reason against what is *attempted*, with *pause* seconds between two looks. Raises
    Unreachable with the last one and *cure* after *seconds*."""

    def against() -> str:
        reason = condition()
        return reason and f"{attempted}: {reason}"

    _until_clear(against, seconds, cure, pause)


def _until_clear(against: Callable[[], str], seconds: float, cure: str, pause: float) -> None:
    deadline = time.monotonic() + seconds
    while reason := against():
        if time.monotonic() > deadline:
            raise Unreachable(f"{reason} after {seconds:g} s.", cure)
        time.sleep(pause)


def streams(server: Server) -> bool:
    """Whether the server's WAL receiver streams."""
    return bool(server.rows("SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'"))


def says(links: Links, name: str, what: Callable[[Server], bool]) -> bool:
    """Whether *what* holds on the node called *name*; no where that does not answer: it may be starting."""
    with suppress(PgherdError), session(links, name) as server:
        return what(server)
    return False
