# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""WAL segments: their numbers, which one a recovery is at or will ask for, and from which on a server still has them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..layout import Layout
from ..model import int_to_lsn
from ..ports.run import Runner
from ..ports.sql import Server
from .datadir import Local

# Seconds for reading the WAL of one checkpoint's distance.
READ = 600.0


def segment(name: str, size: int) -> int:
    """The number of the WAL segment file *name*, counted from the beginning of all WAL; *size* of a segment in bytes."""
    return int(name[8:16], 16) * (0x100000000 // size) + int(name[16:24], 16)


def recovering(directory: str) -> tuple[str, bool]:
    """The WAL segment that a server in recovery is at, by its startup process' title, and whether it waits for it as a
    whole; ('', False) for none.

    A server that never becomes consistent answers nobody: its title is all that can be seen of it. One that waits for the
    rest of a segment of which it has the beginning still calls itself recovering it.
    """
    try:
        with open(os.path.join(directory, "postmaster.pid"), encoding="ascii") as stream:
            postmaster = stream.readline().strip()
        with open(f"/proc/{postmaster}/task/{postmaster}/children", encoding="ascii") as stream:
            children = stream.read().split()
        for child in children:
            with open(f"/proc/{child}/cmdline", "rb") as title:
                found = re.search(
                    r"startup (waiting for|recovering) ([0-9A-F]{24})", title.read().decode(errors="replace")
                )
            if found:
                return found.group(2), found.group(1) == "waiting for"
    except OSError:
        return "", False
    return "", False


@dataclass(frozen=True)
class AvailableWal:
    """What a server has of the WAL: *oldest*, the number of its first segment on whichever timeline, *size* of a segment in
    bytes, and *timeline*, the one that it is on."""

    oldest: int
    size: int
    timeline: int


def available_wal(server: Server) -> AvailableWal:
    """What *server* has. Raises PgherdError."""
    size = int(server.rows("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")[0]["setting"])
    rows = server.rows("SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'")
    numbers = [segment(row["name"], size) for row in rows]
    return AvailableWal(min(numbers, default=0), size, max((int(row["name"][:8], 16) for row in rows), default=0))


def needed(directory: str, redo: int, theirs: AvailableWal, history: Mapping[int, int]) -> int:
    """The number of the segment that a recovery from *redo* (bytes) on will ask *theirs* for: the last one that is here
    without a gap before it, since that may be filled in part only; redo's own where that is not here.

    A file counts where it is of the timeline on which its segment ends by *history* (by timeline where its successor
    begins, in bytes). One of an older timeline breaks off in the middle.
    """
    here = set(os.listdir(os.path.join(directory, "pg_wal")))
    number = redo // theirs.size
    while file_name(number, theirs, history) in here and file_name(number + 1, theirs, history) in here:
        number += 1
    return number


def file_name(number: int, theirs: AvailableWal, history: Mapping[int, int]) -> str:
    """The file that has segment *number* on the timeline on which it ends by *history*, in *theirs*."""
    last = (number + 1) * theirs.size - 1
    timeline = min((each for each, end in history.items() if end > last), default=theirs.timeline)
    each_4_gib = 0x100000000 // theirs.size
    return f"{timeline:08X}{number // each_4_gib:08X}{number % each_4_gib:08X}"


def ends_before(position: int, layout: Layout, local: Local, runner: Runner) -> str:
    """Why the WAL of the stopped server of *layout* cannot be read from its last checkpoint to *position* (bytes); '' when
    it can. Reads all of that once, as recovery will. Raises Unreachable when that does not end."""
    program = f"{layout.programs}/pg_waldump"
    span = ["--start", int_to_lsn(local.redo), "--end", int_to_lsn(position)]
    argv = [program, "--quiet", "--path", os.path.join(layout.data, "pg_wal"), "--timeline", str(local.timeline), *span]
    done = runner.run(argv, user="postgres", timeout=READ)
    said = " ".join(done.err.split()).replace("pg_waldump: error: ", "")
    return "" if done.rc == 0 else said or f"pg_waldump exited {done.rc}"
