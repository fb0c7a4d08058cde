# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What each place puts together in the same way."""

from __future__ import annotations

from collections.abc import Callable

from ..layout import layout, version_of
from ..model import Cluster
from ..ports.here import Here, Say
from ..ports.links import Links
from ..ports.run import LocalRunner
from ..ports.services import POSTGRES, Services
from ..programs.sessions import real


def links_by(cluster: Cluster, me: str, services: Callable[[], Services]) -> Links:
    """Sessions on all nodes from the node *me*; what stops PostgreSQL here is asked of its *services* then."""
    return real(cluster, me, lambda: services().stop(POSTGRES))


def here_by(cluster: Cluster, me: str, services: Callable[[int], Services], say: Say, told: int = 0) -> Here:
    """The node *me*, whose *services* are by PostgreSQL's major version; for *told*, and what is raised, see version_of. *say*
    takes one line for people."""
    version = version_of(cluster.node(me), told)
    mine = services(version)
    links = links_by(cluster, me, lambda: mine)
    return Here(cluster, cluster.node(me), layout(cluster, version), LocalRunner(), mine, links, say)
