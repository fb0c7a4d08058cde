# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a host is made of: the one place where its parts are put together, for the agent, the command and the modules."""

from __future__ import annotations

from ...model import Cluster
from ...ports.here import Here, Say
from ...ports.links import Links
from ...programs.sessions import version_here
from ..composed import here_by, links_by
from .systemd import services


def links_from(cluster: Cluster, me: str) -> Links:
    """Sessions on all nodes, and what stops PostgreSQL here. Where the description is of a release that had no version in it, the
    server says it when it is to be stopped."""
    return links_by(cluster, me, lambda: services(cluster.node(me).version or version_here(cluster, me)))


def here(cluster: Cluster, me: str, say: Say = lambda _line: None, told: int = 0) -> Here:
    """The node *me*. *say* takes one line for people; for *told*, and what is raised, see layout.version_of."""
    return here_by(cluster, me, services, say, told)
