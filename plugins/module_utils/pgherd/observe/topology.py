# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a cluster looks like now: one immutable value, and the questions that can be answered from it alone.

Nothing here does I/O. The truth about who is primary is what all nodes say, never one node's table or the inventory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..model import Cluster, build, lsn_to_int
from .views import (
    BarmanSeen,
    Copy,
    NodeView,
    PgpoolView,
    PostgresView,
    RepmgrView,
    Sender,
    barman_seen,
    node_view,
    pgpool_view,
)

SCHEMA_VERSION = 1
# A standby answers at least every wal_receiver_status_interval (10 s by default): longer silence is lag of its own.
REPLY_INTERVAL = 15.0


@dataclass(frozen=True)
class Lag:
    """How far a standby's replay is behind the primary: *size* in bytes, *seconds*; None where it cannot be told."""

    size: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Topology:
    """A whole cluster as seen at about one time."""

    cluster: str
    seen_at: float
    nodes: tuple[NodeView, ...]
    pgpools: tuple[PgpoolView, ...] = ()
    barmans: tuple[BarmanSeen, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the schema's version."""
        return {"schema": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Topology:
        """Build from ``to_dict`` output (or its JSON)."""
        parts = {
            "nodes": tuple(node_view(item) for item in data["nodes"]),
            "pgpools": tuple(pgpool_view(item) for item in data["pgpools"]),
            "barmans": tuple(barman_seen(item) for item in data["barmans"]),
        }
        return build(cls, {**data, **parts})

    def node(self, name: str) -> NodeView | None:
        """The node called *name*."""
        return next((node for node in self.nodes if node.name == name), None)

    def seen(self) -> Iterator[tuple[NodeView, PostgresView]]:
        """Data nodes whose PostgreSQL answered."""
        return ((node, node.postgres) for node in self.nodes if node.kind == "postgres" and node.postgres)

    @property
    def system_id(self) -> str:
        """The cluster's system identifier: the one that most of the data nodes that answered have; '' on a tie, which
        cannot be told, and when none answered.

        Neither a timeline nor followers count here: another cluster's server may have more of both.
        """
        counted = Counter(postgres.system_id for _node, postgres in self.seen()).most_common(2)
        if not counted or (len(counted) > 1 and counted[0][1] == counted[1][1]):
            return ""
        return counted[0][0]

    @property
    def newest_timeline(self) -> int:
        """The highest timeline on any data node of this cluster that answered; 0 when none did."""
        known = self.system_id
        return max((postgres.timeline for _node, postgres in self.seen() if postgres.system_id == known), default=0)

    def primaries(self) -> tuple[NodeView, ...]:
        """Data nodes that run outside recovery, another cluster's among them."""
        return tuple(node for node, postgres in self.seen() if not postgres.in_recovery)

    def live_primary(self) -> NodeView | None:
        """The one primary, or None when there is none or it cannot be told.

        It has the cluster's system identifier and is outside recovery. One that can acknowledge commits is it, whatever
        others have begun beside it: so many standbys that follow it no promotion can have sealed, so a newer timeline is
        a stray's (failover/memory.real_primary has the same rule). Else nobody of the cluster who answered is on a newer
        timeline. Of several such it is the one with most followers; a tie is nobody's.
        """
        found = [node for node in self.primaries() if node.postgres and node.postgres.system_id == self.system_id]
        ranked = sorted(((self._rank(node), node) for node in found), key=lambda item: item[0], reverse=True)
        if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
            return None
        (acknowledges, timeline, _followers), best = ranked[0]
        return best if acknowledges or timeline >= self.newest_timeline else None

    def _rank(self, node: NodeView) -> tuple[bool, int, int]:
        timeline = node.postgres.timeline if node.postgres else 0
        return self.acknowledges(node.name), timeline, len(self.followers(node.name))

    def acknowledges(self, name: str) -> bool:
        """Whether *name* can acknowledge commits that others have: as many standbys stream from it as its own
        synchronous_standby_names asks for. False where that asks for none."""
        node = self.node(name)
        text = node.postgres.synchronous_standby_names if node and node.postgres else ""
        needed, listed = parse_sync_names(text)
        return 0 < needed <= len(set(self.downstreams(name)) & set(listed))

    def upstream(self, name: str) -> str:
        """The node that *name* streams from now; '' for none."""
        node = self.node(name)
        postgres = node.postgres if node else None
        return postgres.upstream if postgres and postgres.in_recovery and postgres.receiver == "streaming" else ""

    def downstreams(self, name: str) -> tuple[str, ...]:
        """Nodes that stream from *name* now."""
        return tuple(node.name for node, _postgres in self.seen() if self.upstream(node.name) == name)

    def followers(self, name: str) -> tuple[str, ...]:
        """Nodes that stream from *name*, directly or through others."""
        found: list[str] = []
        todo = [name]
        while todo:
            fresh = [item for item in self.downstreams(todo.pop(0)) if item not in found and item != name]
            found += fresh
            todo += fresh
        return tuple(found)

    def streaming_standbys(self) -> tuple[str, ...]:
        """Standbys whose chain of streams leads to the live primary."""
        primary = self.live_primary()
        return self.followers(primary.name) if primary else ()

    def sender(self, name: str) -> Sender | None:
        """The row of *name* in the pg_stat_replication of its upstream."""
        upstream = self.node(self.upstream(name))
        rows = upstream.postgres.senders if upstream and upstream.postgres else ()
        return next((row for row in rows if row.application_name == name and row.state != "backup"), None)

    def lag(self, name: str) -> Lag:
        """How far *name* is behind the live primary.

        Bytes: from what the primary had written to what the standby had replayed when each was asked. Seconds: 0 when
        nothing is missing; else the sum of replay_lag along the chain, or the age of the last replayed commit where
        that is less or the chain is broken (on an idle primary that age alone grows for ever).
        """
        primary, node = self.live_primary(), self.node(name)
        mine, theirs = node.postgres if node else None, primary.postgres if primary else None
        if not mine or not theirs or not mine.replay_lsn or not theirs.write_lsn:
            return Lag()
        size = max(0, lsn_to_int(theirs.write_lsn) - lsn_to_int(mine.replay_lsn))
        if size == 0:
            return Lag(0, 0.0)
        known = [value for value in (self._chain_seconds(name), mine.replay_age) if value is not None]
        return Lag(size, min(known) if known else None)

    def _chain_seconds(self, name: str) -> float | None:
        """Sum of the replay lags from *name* up to the live primary; None when the chain is broken."""
        if name not in self.streaming_standbys():
            return None
        total, primary = 0.0, self.live_primary()
        while primary and name != primary.name:
            sender = self.sender(name)
            if not sender:
                return None
            silence = sender.reply_age if sender.reply_age and sender.reply_age > REPLY_INTERVAL else 0.0
            total += max(sender.lag_seconds or 0.0, silence)
            name = self.upstream(name)
        return total

    def sync_needed(self) -> tuple[int, tuple[str, ...]]:
        """How many standbys must confirm a commit on the live primary, and which may; (0, ()) for none."""
        primary = self.live_primary()
        return parse_sync_names(primary.postgres.synchronous_standby_names if primary and primary.postgres else "")

    def sync_standbys(self) -> tuple[str, ...]:
        """Standbys that stream and may confirm commits now (sync_state ``sync``, ``quorum`` or ``potential``)."""
        primary = self.live_primary()
        senders = primary.postgres.senders if primary and primary.postgres else ()
        return tuple(row.application_name for row in senders if row.state == "streaming" and row.sync_state != "async")

    def metadata(self) -> RepmgrView | None:
        """repmgr's metadata where it is newest: on the live primary."""
        primary = self.live_primary()
        return primary.repmgr if primary else None

    def armed(self) -> tuple[str, ...]:
        """Nodes whose repmgrd runs unpaused."""
        return tuple(node.name for node in self.nodes if node.repmgr and node.repmgr.armed)

    def copying(self, name: str) -> Copy | None:
        """The base backup that is being copied to *name* now, by the address or name it goes to."""
        node = self.node(name)
        for _other, postgres in self.seen():
            for copy in postgres.copies:
                if copy.application_name == name or (node and copy.client in node.addresses):
                    return copy
        return None


def named(cluster: Cluster, topology: Topology) -> Topology:
    """Put the nodes' names in the place of the hosts that others name: names, addresses, and what those resolve to."""
    names = {alias: node.name for node in cluster.nodes for alias in (node.name, node.address, node.ip) if alias}
    names.update({address: node.name for node in topology.nodes for address in node.addresses if address not in names})

    def node(view: NodeView) -> NodeView:
        if not view.postgres:
            return view
        upstream = names.get(view.postgres.upstream, view.postgres.upstream)
        return replace(view, postgres=replace(view.postgres, upstream=upstream))

    def pgpool(view: PgpoolView) -> PgpoolView:
        backends = tuple(replace(item, node=names.get(item.node, item.node)) for item in view.backends or ())
        return replace(view, backends=None if view.backends is None else backends)

    nodes, pgpools = tuple(map(node, topology.nodes)), tuple(map(pgpool, topology.pgpools))
    return replace(topology, nodes=nodes, pgpools=pgpools)


def parse_sync_names(text: str) -> tuple[int, tuple[str, ...]]:
    """Number and names from a value of synchronous_standby_names; grammar as in the manual, 19.6.2 "Primary Server"."""
    match = re.fullmatch(r"\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\((.*)\)\s*", text, re.IGNORECASE | re.DOTALL)
    count, listed = (int(match.group(1)), match.group(2)) if match else (1, text)
    quoted = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', listed)
    names = tuple(strict.replace('""', '"') if strict else plain for strict, plain in quoted)
    return (count, names) if names else (0, ())
