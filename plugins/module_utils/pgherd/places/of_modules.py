# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The place of a module, which runs where the inventory has sent it: what chosen.py has for longer lives, and no more, since all
that is imported here goes over the wire with each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import POD, Cluster
from . import either

if TYPE_CHECKING:
    from ..ports.here import Here, Say
    from ..ports.links import Links


def _is_pod(cluster: Cluster, me: str) -> bool:
    return any(item.name == me and item.place == POD for item in cluster.hosts)


def commands(cluster: Cluster, me: str) -> str:
    """The socket at which the agent of *me* takes commands."""
    return either.commands(_is_pod(cluster, me))


def links_from(cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes from the node *me*, and what stops its PostgreSQL."""
    return either.links_from(_is_pod(cluster, me), cluster, me)


def here(cluster: Cluster, me: str, say: Say = lambda _line: None, told: int = 0) -> Here:
    """The node *me*; *say* takes one line for people. For *told*, and what is raised, see layout.version_of."""
    return either.here(_is_pod(cluster, me), cluster, me, say, told)
