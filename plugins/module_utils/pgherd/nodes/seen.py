# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What was found of one node, in its own files and server and in the answers of all nodes; I/O is node_apply.look()."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..model import POSTGRES_PASSFILE, Cluster, Node
from ..objects.identity import newcomer_name
from ..observe.topology import Topology
from ..ports.sql import conninfo, parse_conninfo
from ..programs.repmgr import Record, streaming_conninfo
from .instance import Instance


def without_password(text: str) -> str:
    """A connection string as it may be shown."""
    return conninfo({key: value for key, value in parse_conninfo(text).items() if key != "password"})


@dataclass(frozen=True)
class NodeObservation:
    """*records* is repmgr.nodes of the live primary. *primary_conninfo* and *slot* are what this node's server streams
    by, or would by its files when it is stopped. *interrupted*: an attempt to bring it back was begun and not finished."""

    instance: Instance
    topology: Topology
    records: tuple[Record, ...] = ()
    primary_conninfo: str = ""
    slot: str = ""
    interrupted: bool = False

    def to_dict(self, cluster: Cluster, node: Node) -> dict[str, Any]:
        """What people are shown of *node*: plain data without secrets."""
        row = self.record(node.id)
        return {
            "data": self.instance.data,
            "running": self.instance.running,
            "role": self.instance.role,
            "upstream": self.upstream(cluster, node),
            "primary_conninfo": without_password(self.primary_conninfo),
            "slot": self.slot,
            "record": asdict(row) if row else None,
        }

    @property
    def live(self) -> str:
        """The live primary's name, '' when there is none or it cannot be told."""
        live = self.topology.live_primary()
        return live.name if live else ""

    @property
    def live_timeline(self) -> int:
        """The live primary's timeline; 0 without one."""
        live = self.topology.live_primary()
        return live.postgres.timeline if live and live.postgres else 0

    @property
    def system_identifier(self) -> str:
        """The cluster's, by its live primary; '' without one."""
        live = self.topology.live_primary()
        return live.postgres.system_id if live and live.postgres else ""

    def connected(self, name: str) -> bool:
        """Whether the node called *name* is the live primary or streams from it, directly or through others."""
        return bool(name) and name in (self.live, *self.topology.streaming_standbys())

    def orphaned(self, name: str, upstream: str) -> bool:
        """Whether the node called *name* streams from nobody, and *upstream* has no way to the live primary itself."""
        return not self.topology.upstream(name) and not self.connected(upstream)

    def record(self, node_id: int) -> Record | None:
        """The row with repmgr's *node_id*."""
        return next((row for row in self.records if row.node_id == node_id), None)

    def upstream(self, cluster: Cluster, node: Node) -> str:
        """The node that *node* streams from, or would by its settings; '' when that is none of the cluster."""
        if self.instance.role == "primary" or self.instance.data != "cluster":
            return ""
        host = parse_conninfo(self.primary_conninfo).get("host", "")
        by_settings = next((other.name for other in cluster.data_nodes if other.address == host), "")
        return self.topology.upstream(node.name) or by_settings

    def streaming_conninfo(self, cluster: Cluster, node: Node, upstream: str) -> str:
        """The primary_conninfo with which *node* should stream from *upstream*. What it has beyond that (a dbname for
        slot synchronisation) stays."""
        wanted, is_now = (
            parse_conninfo(streaming_conninfo(cluster, node, cluster.node(upstream))),
            parse_conninfo(self.primary_conninfo),
        )
        del wanted["dbname"]
        # Its agent says when it stands for its name.
        if is_now.get("application_name") == newcomer_name(node.name):
            wanted["application_name"] = newcomer_name(node.name)
        return conninfo({**is_now, **wanted})

    def streams_otherwise(self, cluster: Cluster, node: Node, upstream: str) -> bool:
        """Whether primary_conninfo or the slot are not what *upstream* should be streamed from with. ``standby follow``
        leaves the passfile out, and it is libpq's default."""
        is_now, wanted = parse_conninfo(self.primary_conninfo), self.streaming_conninfo(cluster, node, upstream)
        default = {"passfile": POSTGRES_PASSFILE}
        wrong_slot = cluster.replication_slots and self.slot != node.slot
        return wrong_slot or {**default, **is_now} != parse_conninfo(wanted)

    def lacks_slot(self, name: str, slot: str) -> bool:
        """Whether the server of the node called *name* says that it does not have the physical *slot*."""
        view = self.topology.node(name)
        if not view or not view.postgres or view.postgres.details_why:
            return False
        return all(found.name != slot for found in view.postgres.slots)

    def slot_holders(self, node: Node) -> list[str]:
        """Other nodes that have the slot of *node*."""
        return [
            other.name
            for other, postgres in self.topology.seen()
            if other.name != node.name and any(slot.name == node.slot for slot in postgres.slots)
        ]

    def repmgrd(self, name: str) -> str:
        """``running`` or ``stopped``, by what the server of node *name* says; ``unknown`` where it is silent."""
        view = self.topology.node(name)
        if not view or not view.repmgr or view.repmgr.running is None:
            return "unknown"
        return "running" if view.repmgr.running else "stopped"
