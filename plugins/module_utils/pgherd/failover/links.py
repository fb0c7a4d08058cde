# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sessions of a promotion: all nodes at once, and none of them waited for longer than it is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import PgherdError
from ..model import Cluster
from ..observe.ask import reason
from ..observe.gather import gather
from ..ports.sql import PsycopgServer, Server, open_connection
from .seal import ask
from .voice import Round, Voice, local_parameters, parameters

T = TypeVar("T")
# Seconds for sessions and statements on others.
LIMIT = 2.0


@dataclass(frozen=True)
class Links:
    """How the nodes are reached: *open_* gives a session on the node called so; *stop* stops PostgreSQL on this host."""

    open_: Callable[[str], Server]
    stop: Callable[[], None]


@contextmanager
def session(links: Links, name: str) -> Iterator[Server]:
    """A session on the node called *name* that ends with the block. Raises Unreachable."""
    server = links.open_(name)
    try:
        yield server
    finally:
        server.close()


def each(
    servers: Mapping[str, Server], names: Iterable[str], do: Callable[[str, Server], T], limit: float = LIMIT
) -> tuple[dict[str, T], dict[str, str]]:
    """*do* on all *names* at once, each with its session of *servers*, for *limit* seconds: what it returned, and why it
    failed."""
    asked = {name: partial(do, name, servers[name]) for name in names}
    done, failed = gather(asked, limit)
    late = {name: "no answer in time" for name in asked if name not in done and name not in failed}
    return done, {**late, **failed}


def counted(names: Sequence[str], failed: Mapping[str, str]) -> str:
    """*names* and their number, and why it *failed* on others, in words."""
    tail = "".join(f"; {name}: {why}" for name, why in failed.items())
    return f"{len(names)} ({', '.join(names)}){tail}" if names else f"none{tail}"


class Meeting:
    """Opens a session on each of *names*, and asks. What comes later than it is waited for is seen by a later round()."""

    def __init__(self, names: Iterable[str], links: Links) -> None:
        self.servers: dict[str, Server] = {}
        self._voices: dict[str, Voice] = {}
        self._silent: dict[str, str] = {}
        self._threads = {name: threading.Thread(target=self._meet, args=(name, links), daemon=True) for name in names}
        self._began = time.monotonic()
        self._closed = False
        for thread in self._threads.values():
            thread.start()

    def _meet(self, name: str, links: Links) -> None:
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
            self._voices[name] = found
            if self._closed:
                server.close()

    def wait(self, names: Iterable[str], limit: float) -> None:
        """Wait for *names* until *limit* seconds after the beginning."""
        for name in names:
            self._threads[name].join(max(0.0, self._began + limit - time.monotonic()))

    def again(self, limit: float) -> None:
        """Ask all that have a session anew, for *limit* seconds at most."""
        asked = {name: partial(ask, name, server) for name, server in self.servers.items()}
        self._voices, failed = gather(asked, limit)
        self._silent = {**self._silent, **failed}

    def over(self) -> bool:
        """Whether nobody is waited for any more."""
        return not any(thread.is_alive() for thread in self._threads.values())

    def close(self) -> None:
        """End all sessions, late ones too."""
        self._closed = True
        for server in list(self.servers.values()):
            server.close()

    def round(self) -> Round:
        """What has been said by now."""
        voices = dict(self._voices)
        late = {name: "no answer in time" for name in self._threads if name not in voices}
        return Round(voices, {**late, **{name: why for name, why in dict(self._silent).items() if name not in voices}})


def real(cluster: Cluster, me: str, stop: Callable[[], None], limit: float = LIMIT) -> Links:
    """Links through psycopg, as repmgr's role; to this host through its socket. *limit*: seconds for each statement."""

    def open_(name: str) -> Server:
        node = cluster.node(name)
        given = local_parameters(cluster, node) if name == me else parameters(cluster, node)
        return PsycopgServer(name, open_connection(name, given, limit))

    return Links(open_, stop)
