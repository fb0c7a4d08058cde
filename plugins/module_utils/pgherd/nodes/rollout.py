# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a run over all nodes knows so far, and what follows from it: for whom nobody waits, whether a stage may begin, and in
which order servers are restarted. Pure.

Who runs it says what the nodes have said; nothing here knows how they were asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..model import Cluster
from .instance import Instance


@dataclass(frozen=True)
class Restarts:
    """Which servers of a run are restarted, in this order.

    *turns*: standbys, then witnesses, one after the other. *primaries* after all of them. *lowered*: those of the primaries whose
    standbys may have lower limits from then on, and have to be restarted for that. *waiting*: primaries that may not be
    restarted now. *pending*: all servers with settings that wait for a restart. *failed*: nodes that did not come back; then
    nobody else is restarted, and servers that wait take their files back.
    """

    turns: tuple[str, ...] = ()
    primaries: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: list(names) for name, names in asdict(self).items()}


@dataclass(frozen=True)
class Rollout:
    """What a run over the nodes of *cluster* knows so far.

    *there*: hosts that are in it still, in their order. *begun*: nodes whose servers it has begun to change or to restart.
    *states*: by node, its instance as it was left. *alone*: nodes that were left alone. *members*: nodes that were left as
    members. *been*: whether the run has come to bring nodes up at all.
    """

    cluster: Cluster
    there: tuple[str, ...]
    begun: tuple[str, ...] = ()
    states: Mapping[str, Instance] = field(default_factory=dict)
    alone: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    been: bool = False

    @property
    def lost(self) -> tuple[str, ...]:
        """Nodes that the run does not reach, or has failed on: nobody waits for one of them to become ready."""
        return tuple(node.name for node in self.cluster.nodes if node.name not in self.there)

    @property
    def failed(self) -> tuple[str, ...]:
        """Nodes with which the run has begun, and that are no longer in it."""
        return tuple(name for name in self.begun if name not in self.there)

    @property
    def expected(self) -> tuple[str, ...]:
        """Data nodes that may still be waited for: those left as members, where the run has been at the nodes, else all. None
        says that it has failed on every node, so that who waits for one would wait in vain."""
        names = tuple(node.name for node in self.cluster.data_nodes)
        return tuple(name for name in names if name in self.members) if self.been else names

    def missing(self, names: Iterable[str] = ()) -> tuple[str, ...]:
        """Those of *names*, by default all nodes, that are not in the run or no members. What must be known to all of them does
        not begin while there is one: it could decide by what was before."""
        wanted = tuple(names) or tuple(node.name for node in self.cluster.nodes)
        return tuple(name for name in wanted if name not in self.there or name not in self.members)

    def restarts(self, primary: bool) -> Restarts:
        """For settings that wait for it. *primary*: the primary may be restarted."""
        pending = [name for name in self.there if name in self.states and self.states[name].pending]
        if self.failed:
            return Restarts(pending=tuple(pending), failed=self.failed)
        heads = self._primaries(pending)
        able = tuple(name for name in heads if name not in self.alone) if primary else ()
        return Restarts(
            turns=(*(name for name in pending if self._is_standby(name)), *self._witnesses(pending)),
            primaries=able,
            lowered=tuple(name for name in able if self.states[name].lowered),
            waiting=() if primary else heads,
            pending=tuple(pending),
        )

    def restarts_of_all(self, primary: bool) -> Restarts:
        """Whether anything waits for it or not. *primary*: the primary is restarted too, where it is."""
        if self.failed:
            return Restarts(failed=self.failed)
        heads = self._primaries(self.there)
        turns = tuple(name for name in self.there if name not in heads)
        return Restarts(turns=turns, primaries=heads if primary else ())

    def _primaries(self, names: Iterable[str]) -> tuple[str, ...]:
        """Data nodes that run as primaries; a witness is that of a cluster of its own."""
        data = {node.name for node in self.cluster.data_nodes}
        return tuple(
            name for name in names if name in data and name in self.states and self.states[name].role == "primary"
        )

    def _is_standby(self, name: str) -> bool:
        return self.states[name].role == "standby"

    def _witnesses(self, names: Iterable[str]) -> tuple[str, ...]:
        known = {node.name for node in self.cluster.witnesses}
        return tuple(name for name in names if name in known)
