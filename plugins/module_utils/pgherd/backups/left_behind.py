# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""WAL that Barman received on a timeline which lost: nothing more is received before it is moved out of the way.

pg_receivewal goes on behind the newest file that it finds in its directory (pg_receivewal.c, FindStreamingStart), and the
server refuses what its own history does not have (walsender.c, StartReplication): "requested starting point 0/B000000 on
timeline 1 is not in this server's history", "starting timeline 3 is not present in the server" (recorded/barman/left_behind).
It says so for ever: the receiver does not look at another file by itself.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ..data.histories import Path, as_text, path, read_history
from ..data.wal import segment
from ..errors import PgherdError
from ..ports.sql import Server

# Beside the receiver's directory.
ASIDE = "left-behind"
UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


@dataclass(frozen=True)
class Truth:
    """The primary's history: the timelines that lead to its own, each with its end in bytes; *size* of a WAL segment."""

    timelines: Path
    size: int

    @property
    def timeline(self) -> int:
        """The primary's timeline."""
        return self.timelines[-1][0]


def ask(server: Server) -> Truth:
    """The truth, by a replication session on the primary. Raises Unreachable and SqlError."""
    timeline = int(server.rows("IDENTIFY_SYSTEM")[0]["timeline"])
    size = as_text(server.rows("SHOW wal_segment_size")[0]["wal_segment_size"])
    return Truth(path(timeline, read_history(server, timeline)), int(size[:-2]) * UNITS[size[-2:]])


def unusable(names: Iterable[str], truth: Truth) -> list[str]:
    """Which of the receiver's files make it ask for WAL that the primary does not have: those of a timeline that is not in
    its history, and those from which it would go on behind the end of one that is. It goes on at the beginning of a file
    that is not full (``.partial``), where it must be before that end; and behind a full one. One that is full up to the
    very end holds nothing of its own, and Barman archives it within a minute."""
    ends = dict(truth.timelines)
    found = []
    for name in sorted(names):
        match = re.fullmatch(r"([0-9A-F]{8})[0-9A-F]{16}(\.gz|\.lz4)?(\.partial)?", name)
        if not match:
            continue
        begins = segment(name, truth.size) * truth.size
        needs = begins + (1 if match.group(3) else truth.size)
        if needs > ends.get(int(match.group(1), 16), 0):
            found.append(name)
    return found


def move_aside(directory: str, names: Iterable[str]) -> str:
    """Move *names* out of the receiver's *directory* into a new one beside it, and say which. Raises PgherdError."""
    base = os.path.join(os.path.dirname(directory), ASIDE, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    to, number = base, 1
    try:
        os.makedirs(os.path.dirname(base), mode=0o700, exist_ok=True)
        while os.path.exists(to):
            to, number = f"{base}-{number}", number + 1
        os.mkdir(to, mode=0o700)
        for name in names:
            os.rename(os.path.join(directory, name), os.path.join(to, name))
    except OSError as error:
        raise PgherdError(f"move WAL that was left behind to {to}: {error.strerror}.") from error
    return to
