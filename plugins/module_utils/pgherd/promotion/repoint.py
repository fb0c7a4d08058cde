# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""After a promotion: the others are pointed at the new primary, and repmgr's metadata say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..errors import PgherdError
from ..model import Cluster, aliases
from ..objects.identity import renamed
from ..objects.orders import make_slot, point
from ..observe.identity import newcomers
from ..observe.node_state import NodeState, ask
from ..observe.open_sessions import counted, each
from ..ports.sql import Server
from ..programs.repmgr import record_primary, record_standby, streaming_conninfo


class Repointing:
    """What follows the promotion of *me* in the place of *primary*. *servers*: the promotion's sessions; *step* says what
    was done and with what; *pointed*: those of its history which followed somebody before it sealed them, maybe too late."""

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        primary: str,
        servers: Mapping[str, Server],
        step: Callable[[str, str], None],
        pointed: Collection[str] = (),
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._primary = primary
        self._servers = servers
        self._step = step
        self._pointed = pointed

    def repoint(self, sealed: Mapping[str, NodeState]) -> None:
        """Let the sealed nodes follow, and all others that followed the old primary, without waiting for any of them."""
        mine, me = self._servers[self._me], self._cluster.node(self._me)
        others = [
            name for name in list(self._servers) if name != self._me and self._cluster.node(name).kind == "postgres"
        ]
        lost = [name for name in others if name in sealed]
        asked, _why = each(self._servers, [name for name in others if name not in sealed], ask)
        lost += [name for name, state in asked.items() if state.in_recovery and self._lost(name, state)]
        strange = newcomers(self._cluster, {**asked, **sealed})
        slots: dict[str, str] = {}
        if self._cluster.replication_slots:
            try:
                for name in lost:
                    make_slot(mine, self._cluster.node(name).slot)
                    slots[name] = self._cluster.node(name).slot
            except PgherdError as error:
                self._step("no slots", " ".join(str(error).split()))

        def follow(name: str, server: Server) -> None:
            node = self._cluster.node(name)
            wanted = renamed(streaming_conninfo(self._cluster, node, me), name, name in strange)
            point(server, wanted, slots.get(name, ""))

        done, failed = each(self._servers, lost, follow)
        self._step("repointed", counted(list(done), failed))

    def _lost(self, name: str, state: NodeState) -> bool:
        """Whether a standby that was not sealed for this has followed the old primary and nobody else. One that follows nobody
        may have WAL of its own, and its agent sees to that."""
        gone = self._cluster.node(self._primary) if self._primary else None
        if state.sealed:
            return name in self._pointed
        return not state.streaming or bool(gone and state.upstream in aliases(gone))

    def record(self, sealed: Mapping[str, NodeState]) -> None:
        """Write it into repmgr's metadata, from where the others replicate it. Not on the write path: a failure is said,
        and the agents make it good."""
        mine, me = self._servers[self._me], self._cluster.node(self._me)
        try:
            record_primary(mine, me.id)
            for name in sealed:
                if name != self._me:
                    record_standby(mine, self._cluster.node(name).id, me.id)
        except PgherdError as error:
            self._step("not recorded", " ".join(str(error).split()))
        else:
            self._step("recorded", "")
