# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is decided about a node's data, see guard.py."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Conflict

# What a verdict says is to be done. START: as it is; a server that runs goes on. STANDBY: as one, of nobody yet (its agent
# compares its WAL with the primary's first). WAIT: nothing for now. REFUSE: nothing by itself: what is there is a contradiction.
START, STANDBY, WAIT, REFUSE, INITIALIZE, CLONE = "start", "standby", "wait", "refuse", "initialize", "clone"


@dataclass(frozen=True)
class StartVerdict:
    """What is to be *done*, and why; that says what a person can do where nothing is."""

    done: str
    why: str
    # Whether the answer may change when those that are silent come up a moment later.
    provisional: bool = False
    # What a refusal is raised as.
    conflict: Conflict | None = None

    @property
    def as_standby(self) -> bool:
        """Whether data that are no standby's start as one."""
        return self.done == STANDBY


def refuse(attempted: str, wanted: str, found: str, cure: str) -> StartVerdict:
    """That nothing is done, as a Conflict says it."""
    conflict = Conflict(attempted, wanted, found, cure)
    return StartVerdict(REFUSE, str(conflict), conflict=conflict)
