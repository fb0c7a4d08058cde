# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node's data directory holds, as its agent tells other nodes: read anew each time, also while its server is down, or
before it has ever started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..data import datadir, incarnation
from ..data.clone import MARK, vacant
from ..data.datadir import BROKEN, CLUSTER, NONE, OTHER, Local
from ..data.postmaster import may_run
from ..data.unfinished import backup_of, whole
from ..errors import PgherdError, ProtocolError
from ..model import build
from ..ports.directories import as_owner
from ..ports.here import Here
from .evidence import Stopped

# Beside what datadir.py has: there may be anything, and why it cannot be read is said.
UNREADABLE = "unreadable"
KINDS = (NONE, OTHER, CLUSTER, BROKEN, UNREADABLE)


@dataclass(frozen=True)
class DirectoryState:
    """*kind*: ``none`` (no directory, or an empty one), ``cluster``, ``broken`` (one that is not whole), ``other`` (files, but no
    cluster), or ``unreadable``, and *why*. *standby*, *system_identifier*, *timeline*, *follows*, *restoring*, *fresh*: as
    Instance has them. *incarnation*: the id of the directory (data/incarnation.py), '' where none was given to it. *running*:
    whether its server runs, or may."""

    kind: str
    standby: bool = False
    system_identifier: str = ""
    timeline: int = 0
    follows: str = ""
    restoring: bool = False
    fresh: bool = False
    incarnation: str = ""
    running: bool = False
    why: str = ""

    @property
    def local(self) -> Local:
        """What the decision about these data takes (guard.py)."""
        local = Local(self.standby, self.system_identifier, self.timeline)
        return replace(local, restoring=self.restoring, fresh=self.fresh, data=self.kind)

    @property
    def stopped(self) -> Stopped:
        """The same as evidence for another node's start. Of a server that runs and does not answer, files say whose data they
        are, and not whom it follows: it may be about to help another's promotion."""
        follows = "" if self.running else self.follows
        return Stopped(self.standby and not self.running, self.system_identifier, self.timeline, follows)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> DirectoryState:
        """Build from as_json's output; what it does not know is left out. Raises ProtocolError for what is none."""
        if not isinstance(data, Mapping) or data.get("kind") not in KINDS:
            raise ProtocolError(f"it says of its data directory {str(data)[:80]}")
        # JSON has true and false apart from numbers, and Python takes them for such.
        strange = [key for key, default in asdict(cls("")).items() if type(data.get(key, default)) is not type(default)]
        if strange:
            raise ProtocolError(f"it says of its data directory {strange[0]} {str(data[strange[0]])[:80]}")
        return build(cls, data)


def kind(directory: str) -> str:
    """What is in the data *directory*, see datadir.py. Raises OSError, and PgherdError when that cannot be seen."""
    try:
        with as_owner(directory):
            entries = os.listdir(directory)
    except FileNotFoundError:
        return NONE
    if MARK not in entries:
        return NONE if vacant(entries) else OTHER
    return CLUSTER if whole(directory) else BROKEN


def look(here: Here) -> DirectoryState:
    """What the data directory here holds now. Never raises: what cannot be read is said to be so."""
    try:
        return _look(here)
    except (OSError, PgherdError, KeyError, ValueError) as error:
        said = str(error) if isinstance(error, (OSError, PgherdError)) else f"{type(error).__name__}: {error}"
        return DirectoryState(UNREADABLE, running=may_run(here.layout.data), why=" ".join(said.split()))


def _look(here: Here) -> DirectoryState:
    directory = here.layout.data
    found = kind(directory)
    if found in (NONE, OTHER):
        return DirectoryState(found)
    running = may_run(directory)
    if found == BROKEN:
        return DirectoryState(found, system_identifier=backup_of(directory), running=running)
    local = datadir.local(here.layout, here.runner)
    return DirectoryState(
        found,
        standby=local.standby or local.recovering,
        system_identifier=local.system_id,
        timeline=local.timeline,
        follows=datadir.follows(directory, here.me),
        restoring=local.restoring,
        fresh=local.fresh,
        incarnation=incarnation.of(directory),
        running=running,
    )
