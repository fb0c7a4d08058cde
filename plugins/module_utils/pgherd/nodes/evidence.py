# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What counts for a start and cannot be asked of running servers: what the playbook saw on hosts whose servers are stopped, that
these data were made just now, or a person's word that they are a restored backup.

It is evidence for the guard's one decision, no leave to go without it. It lies in root's directory, for the one start that
comes next: whoever is only PostgreSQL's user cannot put it there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PATH = "/run/pgherd-start-permit"
# Seconds for which it holds: it is given right before the start that it is for.
LIFE = 60.0
# Bytes of it at most.
LONGEST = 1 << 20


@dataclass(frozen=True)
class Stopped:
    """The data of a server that is stopped, by its files. *standby*: whether it would start as one; *follows*: the host in its
    primary_conninfo, '' where a seal has emptied that."""

    standby: bool
    system_id: str
    timeline: int
    follows: str


@dataclass(frozen=True)
class Evidence:
    """*new*: no other node holds the cluster, or a person says so; it is for data that are new themselves. *restored*: a person
    says that the data are a restored backup, and that no other node's data count any more. *stopped*: by node, what is there,
    whole or not; *empty*: nodes that hold no data; *strange*: those with files that are no cluster; *silent*: those that could
    not be asked. *elsewhere*: nodes that have seen a server with these very data live, just now. *blind*: a person says that a
    new cluster is to be made whatever the silent ones hold. *by_playbook*: a run of it has asked all hosts just now; it leaves to
    agents and people what is no start of what was there."""

    new: bool = False
    restored: bool = False
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    blind: bool = False
    by_playbook: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Evidence:
        """Build from plain data, as asdict() gives it. Raises TypeError or AttributeError for what is none."""
        stopped = {name: Stopped(**item) for name, item in data.get("stopped", {}).items()}
        lists = {name: tuple(data.get(name, ())) for name in ("empty", "strange", "silent", "elsewhere")}
        return cls(**{**data, **lists, "stopped": stopped})


NOTHING = Evidence()


def give(evidence: Evidence) -> None:
    """Have it at hand for the next start."""
    with open(PATH, "w", encoding="utf-8") as stream:
        json.dump(asdict(evidence), stream)


def take() -> Evidence:
    """What is there for this start, which uses it up. A file without a word in it is a person's, for a restored backup."""
    try:
        with open(PATH, encoding="utf-8", errors="replace") as stream:
            age, said = time.time() - os.fstat(stream.fileno()).st_mtime, stream.read(LONGEST).strip()
    except (FileNotFoundError, PermissionError):
        return Evidence()
    try:
        os.unlink(PATH)
    except (FileNotFoundError, PermissionError):
        # Another start has taken it; or it is root's, for a start by the unit.
        return Evidence()
    if not 0 <= age <= LIFE:
        return Evidence()
    return parse(said) if said else Evidence(restored=True)


def parse(said: str) -> Evidence:
    """Evidence as give() has written it. What cannot be read, also what a release before has written, is none."""
    try:
        return Evidence.of(json.loads(said))
    except (ValueError, TypeError, AttributeError):
        return Evidence()
