# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Sessions on any node of the cluster, and stopping the server on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ..errors import PgherdError
from .peers import Peers
from .sql import Server

# Seconds for sessions and statements on others; and at most, where nodes that live were too late for that.
LIMIT, PATIENT = 2.0, 10.0


@dataclass(frozen=True)
class Links:
    """How the nodes are reached: *open_* gives a session on the node called so; *stop* stops PostgreSQL on this host. *least*
    says, by a session on this host, how high the limits of a standby have to be here by its pg_control. *limit*: seconds for a
    session, and for an answer; *within* gives *open_* for another such limit. *peers*: other nodes' agents, where they may be
    asked from here."""

    open_: Callable[[str], Server]
    stop: Callable[[], None]
    least: Callable[[Server], Mapping[str, int]] = lambda _mine: {}
    limit: float = LIMIT
    within: Callable[[float], Callable[[str], Server]] | None = None
    peers: Peers | None = None

    def patient(self) -> Links:
        """The same with twice the limit, up to PATIENT."""
        limit = min(2 * self.limit, PATIENT)
        return replace(self, limit=limit, open_=self.within(limit) if self.within else self.open_)


@contextmanager
def session(links: Links, name: str) -> Iterator[Server]:
    """A session on the node called *name* that ends with the block. Raises Unreachable."""
    server = links.open_(name)
    try:
        yield server
    finally:
        server.close()


def says(links: Links, name: str, what: Callable[[Server], bool]) -> bool:
    """Whether *what* holds on the node called *name*; no where that does not answer: it may be starting."""
    with suppress(PgherdError), session(links, name) as server:
        return what(server)
    return False
