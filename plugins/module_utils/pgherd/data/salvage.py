# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Keeping the WAL that only this node has, before a rewind or a clone throws it away.

The timelines' histories say where it begins: what a node wrote after its history left the primary's is nowhere else.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time

from ..errors import PgherdError
from ..model import Node, int_to_lsn, lsn_to_int
from ..ports.directories import as_owner
from ..ports.here import Here
from ..ports.links import session
from ..ports.sql import connect
from ..programs.postgres import control_data
from ..programs.sessions import parameters
from . import datadir
from .datadir import Local
from .histories import OPEN, Fork, Path, earlier, fork, parse_history, path, read_history
from .wal import segment

# Where it goes, with what it says in words, in one directory per occasion.
KEPT = "/var/lib/postgresql/pgherd-kept"


class Salvage:
    """Keeps what only this node has, whose server is stopped."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def run(self, source: Node, local: Local, stray: bool = False, since: int | None = None) -> bool:
        """Copy the WAL that *source* does not have, with what it says in words; whether both have begun the same timeline.
        *stray*: the last timeline here was begun here, whatever number it has. *since*: what is here from these bytes on is
        not its WAL, though the timelines are the same. Raises PgherdError: nothing goes before it is kept."""
        timeline = local.timeline
        with session(self._here.links, source.name) as theirs:
            walfile = theirs.rows("SELECT pg_walfile_name(pg_current_wal_lsn()) AS name")[0]["name"]
        wal = os.path.join(self._here.layout.data, "pg_wal")
        mine = path(timeline, self._own_history(wal, timeline))
        now = int(walfile[:8], 16)
        split = fork(mine, path(now, self._history(source, now)))
        # A standby may be on its primary's timeline; what was a primary itself has begun its own.
        twins = now == timeline and not local.standby
        if twins or stray:
            split = earlier(split, Fork(timeline, _begins(mine)[-1][1]))
        if since is not None:
            split = earlier(split, Fork(timeline, since))
        if split is not None:
            self._copy(wal, mine, split)
        return twins

    def _copy(self, wal: str, mine: Path, split: Fork) -> None:
        """Copy what *mine*, this node's history, has after *split*; nothing where there are no records."""
        size = int(control_data(self._here.layout, self._here.runner)["Bytes per WAL segment"])
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
        with as_owner(os.path.dirname(KEPT)):
            try:
                _make_room()
                os.makedirs(kept, mode=0o700, exist_ok=True)
                for name in wanted:
                    shutil.copy2(os.path.join(wal, name), kept)
            except OSError as error:
                # It is tried again, and half of it would take the room of the whole.
                shutil.rmtree(kept, ignore_errors=True)
                raise PgherdError(
                    f"keep WAL of {self._here.me} in {kept}: {error.strerror}.", "Make room there."
                ) from error
            datadir.write(os.path.join(kept, "listing.txt"), listing)
        self._here.say(
            f"rejoin: {self._here.me} had WAL of its own after {int_to_lsn(split.lsn)} on timeline {split.timeline}: "
            f"{len(wanted)} segments and a listing are kept in {kept}"
        )

    def _own_history(self, wal: str, timeline: int) -> dict[int, int]:
        if timeline == 1:
            return {}
        path = os.path.join(wal, f"{timeline:08X}.history")
        try:
            with as_owner(self._here.layout.data), open(path, encoding="utf-8") as stream:
                return parse_history(stream.read())
        except OSError as error:
            raise PgherdError(
                f"read the history of timeline {timeline} on {self._here.me}: {error.strerror}."
            ) from error

    def _history(self, source: Node, timeline: int) -> dict[int, int]:
        if timeline == 1:
            return {}
        wanted = {**parameters(self._here.cluster, source), "replication": "true"}
        del wanted["options"]
        with connect(source.name, wanted) as server:
            return read_history(server, timeline)

    def _dump(self, wal: str, timeline: int, lsn: int) -> str:
        """pg_waldump's listing from *lsn* on. Its complaint about the end of the WAL is how it always ends."""
        program = f"{self._here.layout.programs}/pg_waldump"
        argv = [program, f"--path={wal}", f"--timeline={timeline}", f"--start={int_to_lsn(lsn)}"]
        return self._here.runner.run(argv, user="postgres", timeout=600).out


def _make_room() -> None:
    """Have KEPT be a directory of this user's. What a playbook made as root stays beside it."""
    try:
        found = os.lstat(KEPT)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_uid != os.geteuid():
        os.rename(KEPT, f"{KEPT}-before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


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
