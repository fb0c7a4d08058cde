# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The nouns: LSN, Node, Cluster. One dictionary describes a cluster everywhere.

``Cluster.to_dict`` is what the role ``cluster`` computes from the inventory, what stands in ``/etc/pgherd/cluster.json``
on every host, and what the agent and the ``pgherd`` command read. It holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

SCHEMA_VERSION = 1

# Names of the database roles that pgherd owns, and what each may do (see docs/security.md).
REPMGR_ROLE = "repmgr"
MONITOR_ROLE = "pgherd_monitor"
PGPOOL_ROLE = "pgpool_check"
BARMAN_ROLE = "barman"
BARMAN_STREAMING_ROLE = "streaming_barman"
SYSTEM_ROLES = (REPMGR_ROLE, MONITOR_ROLE, PGPOOL_ROLE, BARMAN_ROLE, BARMAN_STREAMING_ROLE)
PCP_USER = "pgherd"
# A backend's number is its node's id less one; pgpool.h, MAX_NUM_BACKENDS.
PGPOOL_BACKENDS = 128

REPMGR_DATABASE = "repmgr"
BARMAN_SLOT = "barman"
CLUSTER_FILE = "/etc/pgherd/cluster.json"
TLS_DIRECTORY = "/etc/pgherd/tls"
CA_FILE = TLS_DIRECTORY + "/ca.crt"
SERVER_CERT_FILE = TLS_DIRECTORY + "/server.crt"
SERVER_KEY_FILE = TLS_DIRECTORY + "/server.key"
# Passwords of MONITOR_ROLE for root and the postgres user's passwords, in libpq's passfile format.
MONITOR_PASSFILE = "/etc/pgherd/monitor.pgpass"
POSTGRES_PASSFILE = "/var/lib/postgresql/.pgpass"

T = TypeVar("T")


def lsn_to_int(text: str) -> int:
    """Bytes since the start of WAL of an LSN such as ``0/4023D18``."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def int_to_lsn(position: int) -> str:
    """The LSN, as PostgreSQL prints it, of a number of bytes since the start of WAL."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def build(kind: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass of *kind* from plain *data*; keys it does not have are left out."""
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True)
class Node:
    """One registered node: a data node (kind ``postgres``) or a ``witness``.

    *name* is the inventory name, repmgr's node_name and the application_name of its WAL receiver. *address* is the host
    name that others connect to and that its certificate carries. *upstream* is whom a standby streams from while that
    is one too; '' for the first day's primary. *ip* is the address that others see it come from ('' where only its name is
    known).
    *settings* are the user's PostgreSQL settings for this node.
    """

    name: str
    id: int
    kind: str
    address: str
    upstream: str = ""
    priority: int = 100
    location: str = "default"
    ip: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slot(self) -> str:
        """The physical slot that this node streams from (repmgr's naming)."""
        return f"repmgr_slot_{self.id}"


@dataclass(frozen=True)
class Pgpool:
    """One Pgpool-II host. *settings* are the user's pgpool.conf settings."""

    name: str
    address: str
    ip: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Barman:
    """One Barman host. *settings* are the user's settings of the server section."""

    name: str
    address: str
    ip: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """A cluster as its user described it. Says what was wanted on the first day, never who is primary now.

    *counted* are the electable nodes while a change of who is electable is under way; None: who is eligible.
    """

    name: str
    nodes: tuple[Node, ...]
    pgpools: tuple[Pgpool, ...] = ()
    barmans: tuple[Barman, ...] = ()
    port: int = 5432
    pgpool_port: int = 9999
    pcp_port: int = 9898
    durability: str = "strict"
    sync_standbys: int = 1
    replication_slots: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    counted: tuple[str, ...] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cluster:
        """Build from ``to_dict`` output (or its JSON)."""
        return build(
            cls,
            {
                **data,
                "counted": None if data.get("counted") is None else tuple(data["counted"]),
                "nodes": tuple(build(Node, item) for item in data["nodes"]),
                "pgpools": tuple(build(Pgpool, item) for item in data.get("pgpools", ())),
                "barmans": tuple(build(Barman, item) for item in data.get("barmans", ())),
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the schema's version."""
        return {"schema": SCHEMA_VERSION, **asdict(self)}

    def node(self, name: str) -> Node:
        """The node called *name*. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def node_by_id(self, node_id: int) -> Node | None:
        """The node with repmgr's *node_id*, or None."""
        return next((node for node in self.nodes if node.id == node_id), None)

    @property
    def data_nodes(self) -> tuple[Node, ...]:
        """Nodes that hold the data: all but witnesses."""
        return tuple(node for node in self.nodes if node.kind == "postgres")

    @property
    def witnesses(self) -> tuple[Node, ...]:
        """Nodes that only vote."""
        return tuple(node for node in self.nodes if node.kind == "witness")

    @property
    def first_primary(self) -> Node:
        """The data node without an upstream: the primary of the first day."""
        return next(node for node in self.data_nodes if not node.upstream)

    def depth(self, name: str) -> int:
        """Number of upstreams between *name* and the first day's primary; 0 for the primary itself."""
        node, depth = self.node(name), 0
        while node.upstream:
            node, depth = self.node(node.upstream), depth + 1
        return depth

    @property
    def electable(self) -> tuple[Node, ...]:
        """Data nodes that may become primary: the eligible ones, or those that are *counted* so far."""
        if self.counted is None:
            return self.eligible
        return tuple(node for node in self.data_nodes if node.name in self.counted)

    @property
    def eligible(self) -> tuple[Node, ...]:
        """Data nodes that may become primary by design: priority above 0, in the first primary's location, directly below
        it, and the first primary itself (design, section 4.1)."""
        primary = self.first_primary
        return tuple(
            node
            for node in self.data_nodes
            if node.priority > 0
            and node.location == primary.location
            and (node.name == primary.name or node.upstream == primary.name)
        )

    @property
    def electable_names(self) -> tuple[str, ...]:
        """The electable nodes' names: the ones that synchronous_standby_names lists."""
        return tuple(node.name for node in self.electable)

    @property
    def synchronous_standby_names(self) -> str:
        """The setting, the same on every node; '' under async durability. Explicit names only, never ``*``."""
        if self.durability != "strict":
            return ""
        names = ", ".join(f'"{name}"' for name in self.electable_names)
        return f"ANY {self.sync_standbys} ({names})"

    @property
    def seals_needed(self) -> int:
        """R: how many electable nodes other than the old primary must be sealed before a promotion. See failover/quorum.py."""
        standbys = len(self.electable) - 1
        return max(standbys - self.sync_standbys + 1, standbys // 2 + 1)
