# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The place of a module, which runs where the inventory has sent it: what chosen.py has for longer lives, and no more, since all
that is imported here goes over the wire with each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import POD, Cluster

if TYPE_CHECKING:
    from ..ports.here import Here, Say
    from ..ports.links import Links


def _is_pod(cluster: Cluster, me: str) -> bool:
    return any(item.name == me and item.place == POD for item in cluster.hosts)


def commands(cluster: Cluster, me: str) -> str:
    """The socket at which the agent of *me* takes commands."""
    if _is_pod(cluster, me):
        from .pod.here import COMMANDS
    else:
        from .host.runtime import COMMANDS
    return COMMANDS


def links_from(cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes from the node *me*, and what stops its PostgreSQL."""
    if _is_pod(cluster, me):
        from .pod.here import links_from
    else:
        from .host.here import links_from
    return links_from(cluster, me)


def here(cluster: Cluster, me: str, say: Say = lambda _line: None, told: int = 0) -> Here:
    """The node *me*; *say* takes one line for people. For *told*, and what is raised, see layout.version_of."""
    if _is_pod(cluster, me):
        from .pod.here import here
    else:
        from .host.here import here
    return here(cluster, me, say, told)
