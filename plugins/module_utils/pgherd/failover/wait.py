# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Waiting for what another server is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import PgherdError, Unreachable
from ..ports.sql import Server
from .links import Links, session


def until(holds: Callable[[], bool], seconds: float, late: str, cure: str = "", pause: float = 0.05) -> None:
    """Look again and again until *holds*, with *pause* seconds between two looks. Raises Unreachable with *late* and *cure*
    when it does not after *seconds*."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Unreachable(f"{late} after {seconds:g} s.", cure)
        time.sleep(pause)


def streams(server: Server) -> bool:
    """Whether the server's WAL receiver streams."""
    return bool(server.rows("SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'"))


def says(links: Links, name: str, what: Callable[[Server], bool]) -> bool:
    """Whether *what* holds on the node called *name*; no where that does not answer: it may be starting."""
    with suppress(PgherdError), session(links, name) as server:
        return what(server)
    return False
