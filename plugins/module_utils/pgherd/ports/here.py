# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node's place in the world as one value: who it is, where its files are, and what it reaches the world by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..layout import Layout
from ..model import Cluster, Node
from .initialization import InitializationRecord
from .links import Links
from .run import Runner
from .services import Services

# Takes one line for people.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Here:
    """The *node* of *cluster* that this process is on, put together by places/. *layout* says where its PostgreSQL is,
    *runner* and *services* do things here, *links* reach all nodes, *say* takes one line of the log. *record*: of the cluster's
    initialisation, where the nodes decide about that among themselves; None where a playbook does."""

    cluster: Cluster
    node: Node
    layout: Layout
    runner: Runner
    services: Services
    links: Links
    say: Say
    record: InitializationRecord | None = None

    @property
    def me(self) -> str:
        """The node's name."""
        return self.node.name
