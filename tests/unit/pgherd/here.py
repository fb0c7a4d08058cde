# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node's place in the world for tests: what a test does not give is not there to be used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgherd.layout import layout
from pgherd.model import Cluster
from pgherd.ports.here import Here, Say


def here_of(
    cluster: Cluster,
    me: str,
    links: Any = None,
    runner: Any = None,
    services: Any = None,
    say: Say = print,
    version: int = 17,
    **paths: str,
) -> Here:
    """The node *me* with PostgreSQL of major *version*; *paths* are fields of Layout."""
    return Here(cluster, cluster.node(me), replace(layout(cluster, version), **paths), runner, services, links, say)
