# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a cluster looks like now: one immutable value, and the questions that can be answered from it alone.

Nothing here does I/O. The truth about who is primary is what all nodes say, never one node's table or the inventory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..model import Cluster, aliases, build, lsn_to_int
from ..objects.identity import sender_names
from ..programs.postgres import parse_sync_names
from ..quorum import acknowledgers
from .primary import Finding, Needed, Shown, decide, most_held
from .views import (
    BarmanSeen,
    CertificateSeen,
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
    """A whole cluster as seen at about one time. *electable* and *acknowledgers* (W, 0 under async durability) are what the
    description says of whoever looked; None where that is not known."""

    cluster: str
    seen_at: float
    nodes: tuple[NodeView, ...]
    pgpools: tuple[PgpoolView, ...] = ()
    barmans: tuple[BarmanSeen, ...] = ()
    certificates: tuple[CertificateSeen, ...] = ()
    electable: tuple[str, ...] = ()
    acknowledgers: int | None = None

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
            "certificates": tuple(build(CertificateSeen, item) for item in data.get("certificates", ())),
            "electable": tuple(data.get("electable", ())),
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
        """The cluster's system identifier: see most_held()."""
        return most_held(postgres.system_id for _node, postgres in self.seen())

    @property
    def newest_timeline(self) -> int:
        """The highest timeline on any data node of this cluster that answered; 0 when none did."""
        known = self.system_id
        return max((postgres.timeline for _node, postgres in self.seen() if postgres.system_id == known), default=0)

    def primaries(self) -> tuple[NodeView, ...]:
        """Data nodes that run outside recovery, another cluster's among them."""
        return tuple(node for node, postgres in self.seen() if not postgres.in_recovery)

    def live_primary(self) -> NodeView | None:
        """The one primary, or None when there is none or it cannot be told: see find_primary()."""
        return self.node(self.find_primary().name)

    def find_primary(self, newest: int = 0) -> Finding:
        """The primary by primary.decide(), from what this view shows. *newest*: the newest timeline that was seen before.

        Behind a primary are the standbys that say themselves that they stream from it. All data nodes' timelines count: who
        sends writers somewhere, or people, had better wait.
        """
        said = [self._shown(node.name, postgres) for node, postgres in self.seen()]
        return decide(said, newest=newest)

    def _shown(self, name: str, postgres: PostgresView) -> Shown:
        one = Shown(name, postgres.timeline, postgres.system_id, not postgres.in_recovery, self.upstream(name))
        if postgres.in_recovery:
            return one
        needed: list[Needed] = [parse_sync_names(postgres.synchronous_standby_names)]
        if self.acknowledgers is not None:
            needed.append((self.acknowledgers, tuple(other for other in self.electable if other != name)))
        return replace(one, behind=self.downstreams(name), needed=tuple(needed))

    def acknowledges_by_description(self, name: str) -> bool:
        """Whether so many stream from *name* that it can acknowledge commits by the description, whatever its setting asks."""
        behind = {*self.downstreams(name)} & {*self.electable}
        return 0 < (self.acknowledgers or 0) <= len(behind - {name})

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

    def head(self, name: str) -> NodeView | None:
        """The node at which the chain of streams from *name* ends; None where it ends nowhere, or at a stranger."""
        seen = {name}
        while upstream := self.upstream(name):
            if upstream in seen:
                return None
            seen.add(upstream)
            name = upstream
        return self.node(name)

    def streaming_standbys(self) -> tuple[str, ...]:
        """Standbys whose chain of streams leads to the live primary."""
        primary = self.live_primary()
        return self.followers(primary.name) if primary else ()

    def sender(self, name: str) -> Sender | None:
        """The row of *name* in the pg_stat_replication of its upstream."""
        upstream = self.node(self.upstream(name))
        rows = upstream.postgres.senders if upstream and upstream.postgres else ()
        own = (row for row in rows if row.application_name in sender_names(name) and row.trusted)
        return next((row for row in own if row.state != "backup"), None)

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
        streaming = (row for row in senders if row.state == "streaming" and row.trusted)
        return tuple(row.application_name for row in streaming if row.sync_state != "async")

    def metadata(self) -> RepmgrView | None:
        """repmgr's metadata where it is newest: on the live primary."""
        primary = self.live_primary()
        return primary.repmgr if primary else None

    def last_primary(self) -> str:
        """Who was primary last, by the metadata of the node on the newest timeline; '' where none says. After a failover the row
        of the one before still says primary, and that it is inactive."""

        def timeline(node: NodeView) -> int:
            return node.postgres.timeline if node.kind == "postgres" and node.postgres else 0

        for node in sorted(self.nodes, key=timeline, reverse=True):
            rows = [row for row in (node.repmgr.nodes if node.repmgr else ()) if row.type == "primary"]
            if rows:
                return max(rows, key=lambda row: row.active).name
        return ""

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
    """Put the nodes' names in the place of the hosts that others name: names, addresses, and what those resolve to. Beside them
    comes what *cluster* counts by."""
    names = {alias: node.name for node in cluster.nodes for alias in aliases(node)}
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
    found = replace(topology, nodes=nodes, pgpools=pgpools)
    return replace(found, electable=cluster.electable_names, acknowledgers=acknowledgers(cluster))
