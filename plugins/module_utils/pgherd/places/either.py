# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Of a host and of a pod what is wanted of either, for who knows which it is. What the other one needs is not loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import Cluster
    from ..ports.here import Here, Say
    from ..ports.links import Links


def commands(pod: bool) -> str:
    """The socket at which the agent takes commands."""
    if pod:
        from .pod.here import COMMANDS
    else:
        from .host.runtime import COMMANDS
    return COMMANDS


def links_from(pod: bool, cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes from the node *me*, and what stops its PostgreSQL."""
    if pod:
        from .pod.here import links_from
    else:
        from .host.here import links_from
    return links_from(cluster, me)


def here(pod: bool, cluster: Cluster, me: str, say: Say, told: int = 0) -> Here:
    """The node *me*; *say* takes one line for people. For *told*, and what is raised, see layout.version_of."""
    if pod:
        from .pod.here import here
    else:
        from .host.here import here
    return here(cluster, me, say, told)
