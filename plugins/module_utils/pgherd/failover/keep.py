# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Keeping the WAL that only this node has, before a rewind or a clone throws it away.

The timelines' histories say where it begins: what a node wrote after its history left the primary's is nowhere else.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import PgherdError
from ..model import Cluster, Node, int_to_lsn, lsn_to_int
from ..ports.run import Runner
from ..ports.sql import Server, connect
from ..programs.postgres import control_data
from ..programs.repmgr import binary_directory
from . import datadir
from .guard import Local
from .links import Links, session
from .voice import parameters
from .wal import segment

# Where it goes, with what it says in words, in one directory per occasion.
KEPT = "/var/lib/postgresql/pgherd-kept"
# A timeline that has not ended.
OPEN = 1 << 64
Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Fork:
    """Where this node's history left the primary's: *lsn* in bytes on *timeline*, the last one that both have."""

    timeline: int
    lsn: int


def parse_history(text: str) -> dict[int, int]:
    """By timeline where its successor begins, in bytes, from a timeline history file (manual, 26.3.5)."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", line)
        if match:
            found[int(match.group(1))] = lsn_to_int(match.group(2))
    return found


def read_history(server: Server, timeline: int) -> dict[int, int]:
    """parse_history() of the server's own *timeline*, by a replication session. The first one has none."""
    if timeline == 1:
        return {}
    return parse_history(as_text(server.rows(f"TIMELINE_HISTORY {timeline}")[0]["content"]))


def as_text(value: object) -> str:
    """A value that a replication session gave: it has no types, so psycopg hands over bytes."""
    return bytes(value).decode() if isinstance(value, (bytes, memoryview)) else str(value)


def fork(mine: Path, theirs: Path) -> Fork | None:
    """Where the history *mine* leaves *theirs*; None when it does not: theirs goes on where mine ends or later."""
    for (timeline, end), (other, their_end) in zip(mine, theirs):
        if timeline != other:
            return Fork(timeline, 0)
        if end != their_end:
            return Fork(timeline, min(end, their_end)) if their_end < end or len(mine) > 1 else None
    return None


def earlier(one: Fork | None, other: Fork) -> Fork:
    """The one of two forks of one history that comes first."""
    return other if one is None or (other.timeline, other.lsn) < (one.timeline, one.lsn) else one


def path(timeline: int, history: dict[int, int]) -> Path:
    """The timelines that lead to *timeline*, each with its end in bytes; the last one's is open."""
    return (*((one, history[one]) for one in sorted(history)), (timeline, OPEN))


class Keeper:
    """Keeps what only *me* has, from its stopped server's *directory*."""

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        version: int,
        directory: str,
        runner: Runner,
        links: Links,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._version = version
        self._directory = directory
        self._runner = runner
        self._links = links
        self._say = say

    def run(self, source: Node, local: Local, stray: bool = False) -> bool:
        """Copy the WAL that *source* does not have, with what it says in words; whether both have begun the same timeline.
        *stray*: the last timeline here was begun here, whatever number it has. Raises PgherdError: nothing goes before it is
        kept."""
        timeline = local.timeline
        with session(self._links, source.name) as theirs:
            walfile = theirs.rows("SELECT pg_walfile_name(pg_current_wal_lsn()) AS name")[0]["name"]
        wal = os.path.join(self._directory, "pg_wal")
        mine = path(timeline, self._own_history(wal, timeline))
        now = int(walfile[:8], 16)
        split = fork(mine, path(now, self._history(source, now)))
        # A standby may be on its primary's timeline; what was a primary itself has begun its own.
        twins = now == timeline and not local.standby
        if twins or stray:
            split = earlier(split, Fork(timeline, _begins(mine)[-1][1]))
        if split is not None:
            self._copy(wal, mine, split)
        return twins

    def _copy(self, wal: str, mine: Path, split: Fork) -> None:
        """Copy what *mine*, this node's history, has after *split*; nothing where there are no records."""
        size = int(control_data(self._directory, self._version, self._runner)["Bytes per WAL segment"])
        alone = {one for one, _end in mine if one >= split.timeline}
        names = [name for name in sorted(os.listdir(wal)) if _beyond(name, alone, split.lsn // size, size)]
        listing, wanted = "", []
        for timeline, begin in _begins(mine):
            here = {name: segment(name, size) for name in names if int(name[:8], 16) == timeline}
            if here:
                # Checkpoints recycle the oldest; pg_waldump lists nothing from where there is no file.
                said = self._dump(wal, timeline, max(split.lsn, begin, min(here.values()) * size))
                listing += said
                # What comes behind the last record is made ready for more, and may hold anything.
                wanted += [name for name, number in here.items() if number <= _last(said, size)]
        if not listing.strip():
            return
        kept = os.path.join(KEPT, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-timeline-{mine[-1][0]}")
        try:
            os.makedirs(kept, mode=0o700, exist_ok=True)
            for name in wanted:
                shutil.copy2(os.path.join(wal, name), kept)
        except OSError as error:
            # It is tried again, and half of it would take the room of the whole.
            shutil.rmtree(kept, ignore_errors=True)
            raise PgherdError(f"keep WAL of {self._me} in {kept}: {error.strerror}.", "Make room there.") from error
        datadir.write(os.path.join(kept, "listing.txt"), listing)
        self._say(
            f"rejoin: {self._me} had WAL of its own after {int_to_lsn(split.lsn)} on timeline {split.timeline}: "
            f"{len(wanted)} segments and a listing are kept in {kept}"
        )

    def _own_history(self, wal: str, timeline: int) -> dict[int, int]:
        if timeline == 1:
            return {}
        try:
            with open(os.path.join(wal, f"{timeline:08X}.history"), encoding="utf-8") as stream:
                return parse_history(stream.read())
        except OSError as error:
            raise PgherdError(f"read the history of timeline {timeline} on {self._me}: {error.strerror}.") from error

    def _history(self, source: Node, timeline: int) -> dict[int, int]:
        if timeline == 1:
            return {}
        wanted = {**parameters(self._cluster, source), "replication": "true"}
        del wanted["options"]
        with connect(source.name, wanted) as server:
            return read_history(server, timeline)

    def _dump(self, wal: str, timeline: int, lsn: int) -> str:
        """pg_waldump's listing from *lsn* on. Its complaint about the end of the WAL is how it always ends."""
        program = f"{binary_directory(self._version)}/pg_waldump"
        argv = [program, f"--path={wal}", f"--timeline={timeline}", f"--start={int_to_lsn(lsn)}"]
        return self._runner.run(argv, timeout=600).out


def _last(listing: str, size: int) -> int:
    """The number of the WAL segment in which the last record of pg_waldump's *listing* ends; -1 for no record, and a number
    behind all segments for one whose end is not said."""
    *_before, last = ["", *listing.strip().splitlines()]
    found = re.search(r"len \(rec/tot\): *\d+/ *(\d+),.* lsn: ([0-9A-F]+/[0-9A-F]+)", last)
    if not found:
        return OPEN if last else -1
    return (lsn_to_int(found.group(2)) + int(found.group(1))) // size


def _beyond(name: str, timelines: set[int], first: int, size: int) -> bool:
    """Whether the WAL segment *name* is of *timelines* and holds something from segment number *first* on."""
    if not re.fullmatch(r"[0-9A-F]{24}", name) or int(name[:8], 16) not in timelines:
        return False
    return segment(name, size) >= first


def _begins(timelines: Path) -> list[tuple[int, int]]:
    """Each timeline with where it begins, in bytes."""
    begins = [0, *(end for _timeline, end in timelines)]
    return [(timeline, begin) for (timeline, _end), begin in zip(timelines, begins)]
