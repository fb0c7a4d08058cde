# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The record that a cluster was initialised, once for its life: kept outside of every node, and changed by compare-and-swap
alone.

A host has none: there a run of the site playbook asks all hosts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class Initialization:
    """*by*: the node that has begun to initialise the cluster, '' for none. *system_id*: the system identifier of what it made,
    '' while that is not done. *grown*: whether another node has begun to be cloned; before, no other can have anything of it."""

    by: str = ""
    system_id: str = ""
    grown: bool = False


class InitializationRecord(Protocol):
    """The record of one cluster. Every method raises Unreachable where it cannot be read or written now."""

    def read(self) -> Initialization:
        """What it says."""

    def begin(self, by: str) -> Initialization:
        """Have it say that *by* begins, where it says nothing; what it says then. Of two that begin at once one does."""

    def end(self, by: str, system_id: str) -> Initialization:
        """Have it say what *by*, who has begun, has made, where it does not say that yet; what it says then."""

    def adopt(self, by: str, system_id: str) -> Initialization:
        """Have it say at once all that is to be said of a cluster with *system_id* that is there and whose primary is *by*,
        where it names none; what it says then."""

    def grow(self) -> Initialization:
        """Have it say that another node is being cloned, or has been; what it says then."""


NOBODY = Initialization()


def begun(found: Initialization, by: str) -> Initialization:
    """What a record that says *found* is to say when *by* begins."""
    return found if found.by or found.system_id else replace(found, by=by)


def ended(found: Initialization, by: str, system_id: str) -> Initialization:
    """What a record that says *found* is to say when *by* has made what *system_id* names."""
    return replace(found, system_id=system_id) if found.by == by and not found.system_id else found


def adopted(found: Initialization, by: str, system_id: str) -> Initialization:
    """What a record that says *found* is to say when *by* is the primary of a cluster with *system_id* that is there. Whoever has
    begun has nothing that counts: no server runs before the record has an identifier. Others may have copies."""
    return found if found.system_id else Initialization(by, system_id, grown=True)
