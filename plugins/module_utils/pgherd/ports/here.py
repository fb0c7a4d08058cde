# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node's place in the world as one value: who it is, where its files are, and what it reaches the world by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..layout import Layout
from ..model import Cluster, Node
from .links import Links
from .run import Runner
from .services import Services

# Takes one line for people.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Here:
    """The *node* of *cluster* that this process is on, put together by places/. *layout* says where its PostgreSQL is,
    *runner* and *services* do things here, *links* reach all nodes, *say* takes one line of the log."""

    cluster: Cluster
    node: Node
    layout: Layout
    runner: Runner
    services: Services
    links: Links
    say: Say

    @property
    def me(self) -> str:
        """The node's name."""
        return self.node.name
