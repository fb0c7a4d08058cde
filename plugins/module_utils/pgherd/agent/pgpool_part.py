# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part on a pgpool host: keeps this pgpool's backends true, from what all nodes say."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import PgherdError
from ..layout import SOCKETS
from ..model import Cluster, Pgpool
from ..observe.ask import parameters, pool_parameters
from ..pools.backends import BackendChange, decide, plan, searches
from ..pools.broken_pgpool import BrokenPgpoolWatch
from ..pools.login_watch import LoginWatch, login
from ..pools.watch import Asker, ServersWatch
from ..ports.run import LocalRunner
from ..programs.pgpool import (
    PCP_PASSFILE,
    STATUS_FILE,
    NodeInfo,
    Pcp,
    parse_status_file,
)
from ..render.backend_list import number_of
from .part import Decision, Part, Replaceable
from .secrets import secret_file
from .seen import PgpoolSeen

# Seconds after which pgpool's table is asked for anew though nothing seems to have changed.
REFRESH = 10.0
# Seconds that pgpool has to carry out what it was told before it is told again, and to find the primary by itself.
PATIENCE = 5.0
SETTLING = 3.0
# Seconds from one look to the next, also while there is no primary; those for which it is then hurried.
INTERVAL, HURRY, HURRIED = 0.5, 0.1, 30.0


class PgpoolPart(Replaceable):
    """See the module. *status_file* is read at every tick, pgpool itself is asked when that or the truth has changed."""

    name = "pgpool"

    def __init__(
        self,
        cluster: Cluster,
        host: Pgpool,
        asker: Asker,
        pcp: Pcp,
        status_file: str = STATUS_FILE,
        broken: BrokenPgpoolWatch | None = None,
        logins: LoginWatch | None = None,
    ) -> None:
        self.interval = INTERVAL
        self._led_at = float("-inf")
        self._names = {number_of(node.id): node.name for node in cluster.data_nodes}
        self._host = host
        self._asker = asker
        self._watch = ServersWatch(cluster, asker)
        self._pcp = pcp
        self._status_file = status_file
        self._broken = broken
        self._logins = logins
        self._status = ""
        self._table: dict[int, NodeInfo] = {}
        self._read_at = float("-inf")
        self._told: dict[tuple[str, int], float] = {}
        self._searching_since = float("-inf")
        self._restless = True
        self._silent: dict[str, str] = {}
        self._view: PgpoolSeen | None = None

    @classmethod
    def here(cls, cluster: Cluster, host: Pgpool, passfile: str, restart: Callable[[], None]) -> PgpoolPart:
        """The part for the pgpool on this host; *passfile* holds the monitoring role's password, *restart* has it
        restarted."""
        from ..observe.sessions import Sessions

        def target(address: str) -> dict[str, Any]:
            wanted = parameters(address, cluster.port, "postgres")
            return {**wanted, "passfile": passfile, "application_name": "pgherd agent"}

        asker = Sessions({node.name: target(node.address) for node in cluster.data_nodes})
        pcp = Pcp(LocalRunner(), SOCKETS, cluster.pcp_port, passfile=secret_file(PCP_PASSFILE), timeout=5.0)
        socket = os.path.join(SOCKETS, f".s.PGSQL.{cluster.pcp_port}")
        broken = BrokenPgpoolWatch(socket, cluster.pgpool_port, restart)
        # Its name may lead to another pgpool, where several stand behind one.
        own = {**pool_parameters(host.address, cluster.pgpool_port), "hostaddr": "127.0.0.1", "passfile": passfile}
        return cls(cluster, host, asker, pcp, broken=broken, logins=LoginWatch(lambda: login(own)))

    def tick(self, now: float) -> Sequence[Decision]:
        """See agent.Part."""
        truth, streaks = self._watch.look(now)
        self._led_at = now if truth.live_primary() else self._led_at
        self.interval = HURRY if 0 < now - self._led_at < HURRIED else INTERVAL
        silent = {node.name: node.why for node in truth.nodes if node.postgres is None and node.why}
        table: Mapping[int, NodeInfo] = {}
        try:
            table = self._look_at_pgpool(now)
        except PgherdError as error:
            silent["pgpool"] = " ".join(str(error).split())
        decisions = self._states(silent)
        restarted = self._broken.look(now) if self._broken else ""
        if restarted:
            decisions.append(Decision(restarted))
        changes = decide(self._names, table, truth, streaks)
        changes += self._shut(now, table, stirred=bool(changes or decisions))
        self._restless = bool(changes)
        self._view = PgpoolSeen(now, truth, dict(table), tuple(changes), silent.get("pgpool", ""))
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

    def view(self) -> PgpoolSeen | None:
        """What the last tick saw, None before the first; may be called from any thread."""
        return self._view

    def close(self) -> None:
        """See agent.Part."""
        self._asker.close()

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: what was seen is shown until the next look."""
        if isinstance(before, PgpoolPart):
            self._view = before._view

    def _shut(self, now: float, table: Mapping[int, NodeInfo], stirred: bool) -> list[BackendChange]:
        """What opens a pgpool again that lets nobody in, see login_watch.py: the backend comes in again at the next look."""
        number = self._logins.look(now, stirred) if self._logins else None
        if stirred or number is None or number not in self._names or number not in table:
            return []
        seen = table[number]
        if seen.role == "primary" or not seen.attached:
            return []
        return [BackendChange("detach", number, self._names[number], "pgpool lets nobody in: its main node is another")]

    def _due(self, change: BackendChange, now: float) -> bool:
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

    def _states(self, silent: dict[str, str]) -> list[Decision]:
        """One line for each source that has fallen silent, or speaks again."""
        lines = [Decision(f"{name} does not answer: {why}") for name, why in silent.items() if name not in self._silent]
        lines += [Decision(f"{name} answers again") for name in self._silent if name not in silent]
        self._silent = silent
        return lines

    def _forget(self, changes: Sequence[BackendChange]) -> None:
        """Something told that is no longer asked for may be told again at once the next time."""
        wanted = {(change.action, change.number) for change in changes}
        self._told = {key: at for key, at in self._told.items() if key in wanted}
