# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Seeing by SQL that a stage of counting.py may begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from ..model import Cluster
from ..observe.open_sessions import OpenSessions
from ..observe.primary import only_primary
from ..plan import Plan, Step
from ..ports.links import Links, session
from . import acknowledged

# Seconds for nodes to answer.
PATIENCE = 5.0


def plan(cluster: Cluster, stage: Mapping[str, Any]) -> Plan:
    """What is seen before the *stage*, a Stage as plain data: that those named hold what was acknowledged, or nothing."""
    names, needed = list(stage["named"]["names"]), int(stage["named"]["needed"])
    if not stage["held"]:
        return Plan(cluster.name, {}, {})
    what = f"see {needed} of {', '.join(names)} hold all that was acknowledged"
    return Plan(cluster.name, {}, {}, (Step("confirm", what, {"names": names, "needed": needed}),))


class CountingExecutor:
    """Does the plan's step, from the host of any node; *say* gets lines for people."""

    def __init__(self, cluster: Cluster, links: Links, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._links = links
        self._say = say

    def confirm(self, names: list[str], needed: int) -> None:
        """Wait until the primary acknowledges by *needed* of *names* and nobody else, and they hold all that it has
        acknowledged so far. Raises Conflict without exactly one primary, Unreachable."""
        attempted = f"count by {needed} of {', '.join(names)}"
        primary = self._primary(attempted)
        left = [node.name for node in self._cluster.data_nodes if node.name not in names]
        able = [name for name in names if name != primary]
        with session(self._links, primary) as server:
            acknowledged.wait_let_go(server, left, attempted)
            acknowledged.wait_reread(server, needed, attempted)
            acknowledged.wait_held(server, able, needed, attempted)
        self._say(f"{needed} of {', '.join(able)} hold all that {primary} has acknowledged")

    def _primary(self, attempted: str) -> str:
        names = [node.name for node in self._cluster.nodes]
        with closing(OpenSessions(names, self._links)) as sessions:
            sessions.wait(names, PATIENCE)
            return only_primary(self._cluster, sessions.survey(), attempted)
