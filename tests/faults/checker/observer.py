# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The second observer: asks every node five times a second whether it would take a write, and finds two that would.

It looks twice at each: as a client over the network, and from inside the host through the server's socket, which a cut
network does not reach. What it sees goes into a file as JSON lines; ``two_primaries`` reads them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import psycopg

from faults.checker.workload import PATIENCE, end_with_parent, hang_up

EVERY = 0.2  # seconds
LIMIT = 1.0  # seconds for an answer
ASK = """\
SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only'),
  CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END"""
CLIENT, INSIDE = "client", "inside"


@dataclass(frozen=True)
class Sight:
    """What a node said at a time (monotonic seconds) to one who asked from *view*; writable: it would take a write."""

    at: float
    view: str
    node: str
    writable: bool
    timeline: int = 0
    said: str = ""


@dataclass(frozen=True)
class Overlap:
    """Two nodes were writable at once. Grade B: for a client that reaches both; C: one of them was cut off."""

    grade: str
    nodes: tuple[str, ...]
    began: float
    seconds: float


class Eye:
    """Watches one node from one side on a session that it keeps; makes a new one when that ends."""

    def __init__(self, view: str, node: str, dsn: Callable[[], str], into: TextIO) -> None:
        self._view, self._node, self._dsn, self._into = view, node, dsn, into
        self._session: psycopg.AsyncConnection[Any] | None = None

    async def watch(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            sight = await self._look()
            self._into.write(json.dumps(sight.__dict__) + "\n")
            self._into.flush()
            try:
                await asyncio.wait_for(stop.wait(), max(began + EVERY - loop.time(), 0.01))
            except asyncio.TimeoutError:
                continue
        await self._drop()

    async def _look(self) -> Sight:
        try:
            if self._session is None:
                line = self._dsn()
                self._session = await psycopg.AsyncConnection.connect(line, autocommit=True, prepare_threshold=None)
            killer = asyncio.get_running_loop().call_later(LIMIT, hang_up, self._session)
            try:
                row = await (await self._session.execute(ASK)).fetchone()
            finally:
                killer.cancel()
        except (psycopg.Error, OSError, LookupError) as error:
            await self._drop()
            words = str(error).strip().splitlines() or [type(error).__name__]
            return Sight(time.monotonic(), self._view, self._node, False, said=words[0][:160])
        assert row is not None
        standby, read_only, timeline = row
        writable = not standby and read_only == "off"
        said = "standby" if standby else "writable" if writable else "read-only"
        return Sight(time.monotonic(), self._view, self._node, writable, int(timeline or "0", 16), said)

    async def _drop(self) -> None:
        if self._session is not None:
            hang_up(self._session)
            await self._session.close()
            self._session = None


def read(lines: Iterable[str]) -> list[Sight]:
    """What was seen, in order of time."""
    return sorted((Sight(**json.loads(line)) for line in lines if line.endswith("\n")), key=lambda s: s.at)


def two_primaries(sights: Iterable[Sight], fresh: float = 3 * EVERY) -> list[Overlap]:
    """Intervals in which two nodes were writable; an answer holds for *fresh* seconds unless another one follows.

    A node that refuses or is silent is not writable from that side; from inside it still may be.
    """
    last: dict[tuple[str, str], Sight] = {}
    open_since: dict[tuple[str, tuple[str, ...]], float] = {}
    found: list[Overlap] = []
    now = 0.0
    for sight in sights:
        now = sight.at
        last[(sight.view, sight.node)] = sight
        current = [s for s in last.values() if s.writable and now - s.at <= fresh]
        by_client = tuple(sorted({s.node for s in current if s.view == CLIENT}))
        anywhere = tuple(sorted({s.node for s in current}))
        states = {key for key in (("B", by_client), ("C", anywhere)) if len(key[1]) > 1}
        if ("B", by_client) in states:
            states.discard(("C", anywhere))
        for key in [key for key in open_since if key not in states]:
            began = open_since.pop(key)
            found.append(Overlap(key[0], key[1], began, now - began))
        for key in states:
            open_since.setdefault(key, now)
    found += [Overlap(grade, nodes, began, now - began) for (grade, nodes), began in open_since.items()]
    return found


async def run(clients: dict[str, str], cluster: str, described: dict[str, Any], into: Path) -> None:
    """Observe until told to stop. *clients*: DSN by node of the lab's *cluster*, an inventory as *described*."""
    from faults.cluster import place_of  # the lab is needed for running, not for judging

    place, stop = place_of(cluster, described), asyncio.Event()

    def dial(node: str, line: str) -> str:
        # It may have another address by now.
        return f"{line} hostaddr={place.address(node)} {PATIENCE}"

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with into.open("a", encoding="utf-8") as file:
        eyes = [Eye(CLIENT, node, partial(dial, node, line), file) for node, line in clients.items()]
        eyes += [Eye(INSIDE, node, partial(place.sql, node), file) for node in clients]
        await asyncio.gather(end_with_parent(stop), *(eye.watch(stop) for eye in eyes))


def main() -> int:
    """The command line: a JSON object with "clients", "cluster", "described" and "into" on standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    given = json.load(sys.stdin)
    asyncio.run(run(given["clients"], given["cluster"], given["described"], Path(given["into"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
