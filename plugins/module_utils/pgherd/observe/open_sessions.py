# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sessions of a promotion: all nodes at once, and none of them waited for longer than it is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from ..errors import PgherdError
from ..ports.links import LIMIT, Links
from ..ports.sql import Server
from .ask import LATE, reason
from .gather import gather
from .node_state import NodeState, Survey, ask

T = TypeVar("T")


def each(
    servers: Mapping[str, Server], names: Iterable[str], do: Callable[[str, Server], T], limit: float = LIMIT
) -> tuple[dict[str, T], dict[str, str]]:
    """*do* on all *names* at once, each with its session of *servers*, for *limit* seconds: what it returned, and why it
    failed."""
    asked = {name: partial(do, name, servers[name]) for name in names}
    done, failed = gather(asked, limit)
    late = {name: LATE for name in asked if name not in done and name not in failed}
    return done, {**late, **failed}


def counted(names: Sequence[str], failed: Mapping[str, str]) -> str:
    """*names* and their number, and why it *failed* on others, in words."""
    tail = "".join(f"; {name}: {why}" for name, why in failed.items())
    return f"{len(names)} ({', '.join(names)}){tail}" if names else f"none{tail}"


class OpenSessions:
    """Opens a session on each of *names*, and asks. What comes later than it is waited for is seen by a later survey()."""

    def __init__(self, names: Iterable[str], links: Links) -> None:
        self.servers: dict[str, Server] = {}
        self._states: dict[str, NodeState] = {}
        self._silent: dict[str, str] = {}
        self._threads = {name: threading.Thread(target=self._open, args=(name, links), daemon=True) for name in names}
        self._began = time.monotonic()
        self._closed = False
        for thread in self._threads.values():
            thread.start()

    def _open(self, name: str, links: Links) -> None:
        try:
            server = links.open_(name)
            try:
                found = ask(name, server)
            except PgherdError:
                server.close()
                raise
        except PgherdError as error:
            self._silent[name] = reason(error)
        else:
            self.servers[name] = server
            self._states[name] = found
            if self._closed:
                server.close()

    def wait(self, names: Iterable[str], limit: float) -> None:
        """Wait for *names* until *limit* seconds after the beginning."""
        for name in names:
            self._threads[name].join(max(0.0, self._began + limit - time.monotonic()))

    def again(self, limit: float) -> None:
        """Ask all that have a session anew, for *limit* seconds at most."""
        asked = {name: partial(ask, name, server) for name, server in self.servers.items()}
        self._states, failed = gather(asked, limit)
        self._silent = {**self._silent, **failed}

    def over(self) -> bool:
        """Whether nobody is waited for any more."""
        return not any(thread.is_alive() for thread in self._threads.values())

    def close(self) -> None:
        """End all sessions, late ones too."""
        self._closed = True
        for server in list(self.servers.values()):
            server.close()

    def survey(self) -> Survey:
        """What has been said by now."""
        states = dict(self._states)
        late = {name: LATE for name in self._threads if name not in states}
        return Survey(states, {**late, **{name: why for name, why in dict(self._silent).items() if name not in states}})
