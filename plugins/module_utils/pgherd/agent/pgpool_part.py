# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a pgpool host: keeps this pgpool's backends true, from what all nodes say."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..errors import PgherdError
from ..model import Cluster, Pgpool, build
from ..observe.ask import STATE, parameters, reason
from ..observe.topology import Topology, named
from ..observe.views import NodeView, PostgresView
from ..pools.backend_list import number_of
from ..pools.backends import Change, Doubt, decide, plan, searches
from ..ports.run import LocalRunner
from ..ports.sql import Row
from ..programs.pgpool import PCP_PASSFILE, SOCKETS, STATUS_FILE, NodeInfo, Pcp, parse_status_file
from .loop import Decision, secret_file

# Seconds within which a node must answer.
LIMIT = 2.0
# Seconds after which pgpool's table is asked for anew though nothing seems to have changed.
REFRESH = 10.0
# Seconds that pgpool has to carry out what it was told before it is told again, and to find the primary by itself.
PATIENCE = 5.0
SETTLING = 3.0


class Asker(Protocol):
    """Asks all nodes at once (sessions.Sessions)."""

    def ask(self, query: str, limit: float) -> tuple[dict[str, Row], dict[str, str]]:
        """See Sessions.ask."""

    def close(self) -> None:
        """See Sessions.close."""


class Watch:
    """Turns look after look into one Topology and what single looks cannot show."""

    def __init__(self, cluster: Cluster, asker: Asker) -> None:
        self._cluster = cluster
        self._asker = asker
        self._views = {node.name: NodeView(node.name, node.kind, node.id, 0.0) for node in cluster.data_nodes}
        self._misses: dict[str, int] = {}
        self._silent_since: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}
        self._newest: dict[str, int] = {}
        self._primary = ""

    def look(self, now: float) -> tuple[Topology, Doubt]:
        """Ask every data node, and return what is known now."""
        rows, failed = self._asker.ask(STATE, LIMIT)
        seen_at = time.time()
        for name, row in rows.items():
            self._views[name] = replace(self._views[name], seen_at=seen_at, postgres=build(PostgresView, row), why="")
            self._misses.pop(name, None)
            self._silent_since.pop(name, None)
        for name, why in failed.items():
            said = reason(PgherdError(why))
            self._views[name] = replace(self._views[name], seen_at=seen_at, postgres=None, why=said)
            self._misses[name] = self._misses.get(name, 0) + 1
            self._silent_since.setdefault(name, now)
        truth = named(self._cluster, Topology(self._cluster.name, seen_at, tuple(self._views.values())))
        return truth, self._doubt(truth, now)

    def _doubt(self, truth: Topology, now: float) -> Doubt:
        for _node, postgres in truth.seen():
            self._newest[postgres.system_id] = max(self._newest.get(postgres.system_id, 0), postgres.timeline)
        primary = truth.live_primary()
        if (primary.name if primary else "") != self._primary:
            # Every standby has its time to find the new primary.
            self._primary, self._idle_since = primary.name if primary else "", {}
        streaming = truth.streaming_standbys()
        idle = {node.name for node, postgres in truth.seen() if postgres.in_recovery and node.name not in streaming}
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        newest = max((self._newest[postgres.system_id] for _node, postgres in truth.seen()), default=0)
        silent = {name: now - since for name, since in self._silent_since.items()}
        return Doubt(dict(self._misses), silent, {name: now - at for name, at in self._idle_since.items()}, newest)


class PgpoolPart:
    """See the module. *status_file* is read at every tick, pgpool itself is asked when that or the truth has changed."""

    name = "pgpool"
    interval = 0.5

    def __init__(self, cluster: Cluster, host: Pgpool, asker: Asker, pcp: Pcp, status_file: str = STATUS_FILE) -> None:
        self._names = {number_of(node.id): node.name for node in cluster.data_nodes}
        self._host = host
        self._asker = asker
        self._watch = Watch(cluster, asker)
        self._pcp = pcp
        self._status_file = status_file
        self._status = ""
        self._table: dict[int, NodeInfo] = {}
        self._read_at = float("-inf")
        self._told: dict[tuple[str, int], float] = {}
        self._searching_since = float("-inf")
        self._restless = True
        self._silent: dict[str, str] = {}

    @classmethod
    def here(cls, cluster: Cluster, host: Pgpool, passfile: str) -> PgpoolPart:
        """The part for the pgpool on this host; *passfile* holds the monitoring role's password."""
        from .sessions import Sessions

        def target(address: str) -> dict[str, Any]:
            wanted = parameters(address, cluster.port, "postgres")
            return {**wanted, "passfile": passfile, "application_name": "pgherd agent"}

        asker = Sessions({node.name: target(node.address) for node in cluster.data_nodes})
        pcp = Pcp(LocalRunner(), SOCKETS, cluster.pcp_port, passfile=secret_file(PCP_PASSFILE), timeout=5.0)
        return cls(cluster, host, asker, pcp)

    def tick(self, now: float) -> Sequence[Decision]:
        """See agent.Part."""
        truth, doubt = self._watch.look(now)
        silent = {node.name: node.why for node in truth.nodes if node.postgres is None and node.why}
        table: Mapping[int, NodeInfo] = {}
        try:
            table = self._look_at_pgpool(now)
        except PgherdError as error:
            silent["pgpool"] = " ".join(str(error).split())
        decisions = self._voices(silent)
        changes = decide(self._names, table, truth, doubt)
        self._restless = bool(changes)
        due = [change for change in changes if self._due(change, now)]
        for change, step in zip(due, plan(self._host.name, table, due).steps):
            self._told[change.action, change.number] = now
            primary = truth.live_primary()
            if searches(change, table[change.number], primary.name if primary else ""):
                self._searching_since = now
            try:
                getattr(self._pcp, step.action)(**step.args)
                decisions.append(Decision(step.what))
            except PgherdError as error:
                decisions.append(Decision(f"{step.what}; failed: {error}"))
        self._forget(changes)
        return decisions

    def close(self) -> None:
        """See agent.Part."""
        self._asker.close()

    def _due(self, change: Change, now: float) -> bool:
        if change.action == "promote" and now - self._searching_since < SETTLING:
            return False
        return now - self._told.get((change.action, change.number), float("-inf")) >= PATIENCE

    def _look_at_pgpool(self, now: float) -> Mapping[int, NodeInfo]:
        """pgpool's table, from its own mouth where it may have changed. Raises what Pcp.nodes() raises."""
        try:
            with open(self._status_file, encoding="ascii", errors="replace") as stream:
                status = f"{os.fstat(stream.fileno()).st_mtime_ns} {stream.read()}"
        except OSError:
            status = ""
        used = parse_status_file(status.partition(" ")[2])
        strange = any(used.get(at) not in (None, node.attached) for at, node in self._table.items())
        if status != self._status or strange or self._restless or now - self._read_at >= REFRESH:
            self._table, self._read_at = {}, float("-inf")
            self._table = self._pcp.nodes()
            self._status, self._read_at = status, now
        return self._table

    def _voices(self, silent: dict[str, str]) -> list[Decision]:
        """One line for each source that has fallen silent, or speaks again."""
        lines = [Decision(f"{name} does not answer: {why}") for name, why in silent.items() if name not in self._silent]
        lines += [Decision(f"{name} answers again") for name in self._silent if name not in silent]
        self._silent = silent
        return lines

    def _forget(self, changes: Sequence[Change]) -> None:
        """Something told that is no longer asked for may be told again at once the next time."""
        wanted = {(change.action, change.number) for change in changes}
        self._told = {key: at for key, at in self._told.items() if key in wanted}
