# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a standby's WAL ends with something that its primary never wrote, though both are on the same timeline.

That is what a recovery leaves which was ended where it must not be: a checkpoint of its own, where the primary has other
records. Such a standby waits for ever or, where the two happen to fit, goes on and lacks what lay between.
"""

from __future__ import annotations

import os
import re

from ..layout import Layout
from ..model import int_to_lsn, lsn_to_int
from ..ports.directories import as_owner
from ..ports.run import Runner
from ..ports.sql import Server
from .datadir import Local
from .diverged import history_of
from .twins import WRITTEN
from .wal import available_wal, file_name

# Bytes of the WAL's end that are compared.
COMPARED = 65536
# And of the header of the last record (xlogrecord.h, SizeOfXLogRecord): with its checksum, no two records have the same.
RECORD = 24


def foreign(layout: Layout, local: Local, server: Server, runner: Runner) -> str:
    """Why the last checkpoint that *local*, the control file of *layout*, names is none that *server*, its primary, has
    written; '' when it is one, or when nothing tells.

    Nothing that streams can mend such data, and pg_rewind, which compares timelines alone, takes them for good ones. With a
    backup_label the checkpoint need not be here yet. Raises PgherdError.
    """
    if os.path.exists(os.path.join(layout.data, "backup_label")):
        return ""
    misplaced = _misplaced(layout, local, runner)
    if misplaced:
        return misplaced
    theirs, timeline, end = available_wal(server), local.checkpoint_timeline, local.checkpoint + RECORD
    history = history_of(server, theirs.timeline)
    if end > history.get(timeline, end) or timeline not in (*history, theirs.timeline):
        return ""  # it has left their history, which pg_rewind sees
    state = server.rows(WRITTEN)[0]
    flushed, at = lsn_to_int(state["lsn"]), int_to_lsn(local.checkpoint)
    if end > flushed:
        beyond = f"its last checkpoint is at {at}, and {server.name} has come to {int_to_lsn(flushed)} only"
        return "" if state["standby"] else beyond
    name = file_name((end - 1) // theirs.size, theirs, history)
    until = (end - 1) % theirs.size + 1
    begin = max(0, until - COMPARED)
    mine = _bytes(layout.data, name, timeline, begin, until)
    query = "SELECT pg_read_binary_file(%s, %s, %s, true) AS content"
    found = server.rows(query, (f"pg_wal/{name}", begin, until - begin))[0]["content"]
    if mine is None or found is None or bytes(found) == mine:
        return ""
    return f"the WAL up to its last checkpoint, at {at}, is not what {server.name} has written there"


def _misplaced(layout: Layout, local: Local, runner: Runner) -> str:
    """Whether there is no checkpoint where pg_control says that the last one is: that one was overwritten by a stream."""
    argv = [f"{layout.programs}/pg_waldump", "--path", os.path.join(layout.data, "pg_wal"), "--limit", "1"]
    argv += ["--timeline", str(local.checkpoint_timeline), "--start", int_to_lsn(local.checkpoint)]
    done = runner.run(argv, user="postgres")
    at = int_to_lsn(local.checkpoint)
    if "could not find a valid record" in done.err:
        return f"it has no checkpoint at {at}, where its control file says"
    found = re.search(r"lsn: ([0-9A-F]+/[0-9A-F]+)", done.out)
    if not found or (lsn_to_int(found.group(1)) == local.checkpoint and "CHECKPOINT" in done.out):
        return ""
    return f"its control file says that there is a checkpoint at {at}, and there is none"


def _bytes(directory: str, name: str, timeline: int, begin: int, until: int) -> bytes | None:
    """The same of the WAL here, by the name that it has on this node's own timeline; None where it is not there."""
    names = (f"{timeline:08X}{name[8:]}", name)
    paths = [os.path.join(directory, "pg_wal", each) for each in names]
    path = next((path for path in paths if os.path.exists(path)), "")
    if not path:
        return None
    with as_owner(directory), open(path, "rb") as stream:
        stream.seek(begin)
        return stream.read(until - begin)
