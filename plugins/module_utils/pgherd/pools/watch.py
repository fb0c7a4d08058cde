# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pgpool's host knows of all nodes from looking again and again."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol

from ..errors import PgherdError
from ..model import Cluster
from ..observe.ask import STATE, parse_view, reason
from ..observe.topology import Topology, named
from ..observe.views import NodeView
from ..ports.sql import Row
from .backends import Streaks

# Seconds within which a node must answer.
LIMIT = 2.0


class Asker(Protocol):
    """Asks all nodes at once (sessions.Sessions)."""

    def ask(self, query: str, limit: float) -> tuple[dict[str, Row], dict[str, str]]:
        """See Sessions.ask."""

    def close(self) -> None:
        """See Sessions.close."""


class ServersWatch:
    """Turns look after look into one Topology and what single looks cannot show. *described*: whether *cluster* is the
    description, which says who has to confirm commits, and not only a list of servers."""

    def __init__(self, cluster: Cluster, asker: Asker, described: bool = True) -> None:
        self._cluster = cluster
        self._described = described
        self._asker = asker
        self._views = {node.name: NodeView(node.name, node.kind, node.id, 0.0) for node in cluster.data_nodes}
        self._misses: dict[str, int] = {}
        self._silent_since: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}
        self._newest: dict[str, int] = {}
        self._primary = ""

    def look(self, now: float) -> tuple[Topology, Streaks]:
        """Ask every data node, and return what is known now."""
        rows, failed = self._asker.ask(STATE, LIMIT)
        seen_at = time.time()
        for name, row in rows.items():
            self._views[name] = replace(self._views[name], seen_at=seen_at, postgres=parse_view(row), why="")
            self._misses.pop(name, None)
            self._silent_since.pop(name, None)
        for name, why in failed.items():
            said = reason(PgherdError(why))
            self._views[name] = replace(self._views[name], seen_at=seen_at, postgres=None, why=said)
            self._misses[name] = self._misses.get(name, 0) + 1
            self._silent_since.setdefault(name, now)
        truth = named(self._cluster, Topology(self._cluster.name, seen_at, tuple(self._views.values())))
        if not self._described:
            truth = replace(truth, electable=(), acknowledgers=None)
        return truth, self._streaks(truth, now)

    def _streaks(self, truth: Topology, now: float) -> Streaks:
        for _node, postgres in truth.seen():
            self._newest[postgres.system_id] = max(self._newest.get(postgres.system_id, 0), postgres.timeline)
        primary = truth.live_primary()
        if (primary.name if primary else "") != self._primary:
            # Every standby has its time to find the new primary.
            self._primary, self._idle_since = primary.name if primary else "", {}
        streaming = truth.streaming_standbys()
        idle = {node.name for node, postgres in truth.seen() if postgres.in_recovery and node.name not in streaming}
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        newest = self._newest.get(truth.system_id, 0)
        silent = {name: now - since for name, since in self._silent_since.items()}
        return Streaks(dict(self._misses), silent, {name: now - at for name, at in self._idle_since.items()}, newest)
