# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a standby holds WAL that the node which it is to follow has not.

Such a one must never be connected: its receiver asks for the WAL from the beginning of the segment, gets what there is up
to the fork, and confirms WAL up to its own position. The sender counts as streaming then, and a commit on the new
timeline below that position counts as confirmed by a node that does not have it (walreceiver.c starts with the replayed
position as what it has flushed; walsender.c calls a sender of a historic timeline that is through with it caught up).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Conflict
from ..model import int_to_lsn
from ..observe.node_state import NodeState
from ..ports.sql import Server
from .histories import as_text, parse_history
from .twins import Served, parted


def diverged(state: NodeState, history: Mapping[int, int]) -> bool:
    """Whether a standby on an older timeline than another's holds WAL that the other's *history* has not: by timeline
    where its successor begins, in bytes."""
    return state.position > history.get(state.timeline, -1)


def history_of(server: Server, timeline: int) -> dict[int, int]:
    """The history of the *timeline* that this server is on, as diverged() takes it. Raises PgherdError."""
    if timeline == 1:
        return {}
    rows = server.rows("SELECT pg_read_binary_file(%s) AS content", (f"pg_wal/{timeline:08X}.history",))
    return parse_history(as_text(rows[0]["content"]))


def refuse(mine: NodeState, theirs: NodeState, here: Server, server: Server) -> None:
    """Raises Conflict where the standby *mine* has WAL that *theirs* has not. *here* and *server* are their sessions."""
    own = ""
    if mine.timeline < theirs.timeline and diverged(mine, history_of(server, theirs.timeline)):
        own = f"WAL to {int_to_lsn(mine.position)} on timeline {mine.timeline}"
    elif mine.timeline <= theirs.timeline:
        own = parted(mine.position, mine.timeline, Served(here), server, theirs.timeline)
    if own:
        cure = "Its agent brings it back; without the agent: playbook pgherd.cluster.rejoin."
        raise Conflict(
            f"let {mine.name} follow {theirs.name}", f"nothing that timeline {theirs.timeline} has not", own, cure
        )
