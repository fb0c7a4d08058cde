# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The nouns: LSN, Node, Cluster. One dictionary describes a cluster everywhere.

``Cluster.to_dict`` is what the role ``cluster`` computes from the inventory, what stands in ``/etc/pgherd/cluster.json``
on every host, and what the agent and the ``pgherd`` command read. It holds no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, TypeVar, Union

from .errors import PgherdError
from .options import Options

SCHEMA_VERSION = 1

# Names of the database roles that pgherd owns, and what each may do (see docs/security.md).
REPMGR_ROLE = "repmgr"
# What agents seal, fence, promote and rewind as, and what standbys stream as. No witness has its password.
AGENT_ROLE = "pgherd_agent"
MONITOR_ROLE = "pgherd_monitor"
PGPOOL_ROLE = "pgpool_check"
BARMAN_ROLE = "barman"
BARMAN_STREAMING_ROLE = "streaming_barman"
SYSTEM_ROLES = (REPMGR_ROLE, AGENT_ROLE, MONITOR_ROLE, PGPOOL_ROLE, BARMAN_ROLE, BARMAN_STREAMING_ROLE)
# Whose word counts where an agent reads a lock or a stream out of a server. On a data node repmgr's role may neither take the
# lock nor stream once all agents are of this release; on a witness it is the agents' own.
TRUSTED_ROLES = (AGENT_ROLE, REPMGR_ROLE)
PCP_USER = "pgherd"
# A backend's number is its node's id less one; pgpool.h, MAX_NUM_BACKENDS.
PGPOOL_BACKENDS = 128
# Characters of a backend's host name; pool_type.h, MAX_DB_HOST_NAMELEN.
PGPOOL_HOST = 127

REPMGR_DATABASE = "repmgr"
BARMAN_SLOT = "barman"
CLUSTER_FILE = "/etc/pgherd/cluster.json"
# Where a pod has the description mounted, of which it writes that one.
CONFIG_FILE = "/config/cluster.json"
COMMAND = "/usr/bin/pgherd"
TLS_DIRECTORY = "/etc/pgherd/tls"
CA_FILE = TLS_DIRECTORY + "/ca.crt"
SERVER_CERT_FILE = TLS_DIRECTORY + "/server.crt"
SERVER_KEY_FILE = TLS_DIRECTORY + "/server.key"
# Beside a pgpool the agent is a user of its own, which cannot read what pgpool or root reads: its copies are here.
AGENT_USER = "pgherd"
AGENT_DIRECTORY = "/etc/pgherd/agent"
# Passwords in libpq's passfile format: MONITOR_ROLE's for root, AGENT_ROLE's on data nodes, the postgres user's own.
MONITOR_PASSFILE = "/etc/pgherd/monitor.pgpass"
AGENT_PASSFILE = "/etc/pgherd/agent.pgpass"
POSTGRES_PASSFILE = "/var/lib/postgresql/.pgpass"

# Where a node, a pgpool or a Barman runs: see places/.
PLACES = HOST, POD = "host", "pod"

T = TypeVar("T")
H = TypeVar("H", "Node", "Pgpool", "Barman")


def lsn_to_int(text: str) -> int:
    """Bytes since the start of WAL of an LSN such as ``0/4023D18``."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def int_to_lsn(position: int) -> str:
    """The LSN, as PostgreSQL prints it, of a number of bytes since the start of WAL."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def build(kind: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass of *kind* from plain *data*; keys it does not have are left out."""
    known = _fields_of(kind)  # type: ignore[arg-type]
    return kind(**{key: value for key, value in data.items() if key in known})


@cache
def _fields_of(kind: type) -> frozenset[str]:
    return frozenset(item.name for item in fields(kind))


def _host(kind: type[H], data: Mapping[str, Any]) -> H:
    """The same for a host."""
    return build(kind, {**data, "origins": Origins.of_host(data)})


def aliases(node: Node) -> tuple[str, ...]:
    """Names and addresses that mean *node* and no other; inventory/ has seen to it."""
    # Where a pod comes from, others do too.
    own = node.origins.addresses if node.place == HOST else ()
    known = (node.name, node.address, node.origins.known, *own)
    return tuple(dict.fromkeys(alias for alias in known if alias))


@dataclass(frozen=True)
class Origins:
    """Where others see a host come from. *networks*, in CIDR form: the user's word, or what the hosts say; empty while neither
    is known. *known*: the address by which it is known before that, the user's first or the one by which Ansible reaches it;
    '' where only its name is."""

    networks: tuple[str, ...] = ()
    known: str = ""

    @classmethod
    def of(cls, addresses: Iterable[str], known: str = "") -> Origins:
        """Those of a host that has these *addresses*, each a network of one."""
        return cls(tuple(_one(address) for address in addresses), known)

    @classmethod
    def of_host(cls, data: Mapping[str, Any]) -> Origins:
        """Those in the plain *data* of a host; JSON knows no tuples. Releases before wrote *addresses*, and *ip* for *known*."""
        if "origins" in data:
            return cls(tuple(data["origins"].get("networks") or ()), str(data["origins"].get("known") or ""))
        return cls.of(data.get("addresses") or (), str(data.get("ip") or ""))

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """The *networks* that are one address each, which mean this host and no other."""
        return tuple(address for address, mask in self._parts(self.networks) if mask == _mask(address))

    @property
    def all(self) -> tuple[str, ...]:
        """The networks, as far as they are known, in CIDR form."""
        return self.networks or ((_one(self.known),) if self.known else ())

    @property
    def short(self) -> tuple[str, ...]:
        """The same, a network of one address without its mask."""
        return tuple(
            address if mask == _mask(address) else f"{address}/{mask}" for address, mask in self._parts(self.all)
        )

    @staticmethod
    def _parts(networks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for network in networks:
            address, _slash, mask = network.partition("/")
            yield address, mask


def _mask(address: str) -> str:
    return "128" if ":" in address else "32"


def _one(address: str) -> str:
    return f"{address}/{_mask(address)}"


@dataclass(frozen=True)
class Node:
    """One registered node: a data node (kind ``postgres``) or a ``witness``.

    *name* is the inventory name, repmgr's node_name and the application_name of its WAL receiver. *address* is the host
    name that others connect to and that its certificate carries. *upstream* is whom a standby streams from while that
    is one too; '' for the first day's primary. *origins* are the networks that others see it come from. *settings* are the
    user's PostgreSQL settings for this node. *place*: where it runs, HOST or POD; each of a cluster's hosts has its own.
    *version* is PostgreSQL's major version there, 0 where that is not known: it follows from the host's distribution where
    the user does not say it, and releases before did not write it down. See layout.version_of.
    """

    name: str
    id: int
    kind: str
    address: str
    upstream: str = ""
    priority: int = 100
    location: str = "default"
    settings: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = Origins()
    place: str = HOST
    version: int = 0

    @property
    def slot(self) -> str:
        """The physical slot that this node streams from (repmgr's naming)."""
        return f"repmgr_slot_{self.id}"

    @property
    def delay(self) -> str:
        """How late it is to replay commits by design, as its settings have it (recovery_min_apply_delay); '' for not at all."""
        given = {str(key).lower(): str(value) for key, value in self.settings.items()}.get(
            "recovery_min_apply_delay", ""
        )
        return given if re.search("[1-9]", given) else ""


@dataclass(frozen=True)
class Pgpool:
    """One Pgpool-II host. *settings* are the user's pgpool.conf settings. *replicas*: how many pgpools answer to its name, more
    than one where it is pods alone."""

    name: str
    address: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = Origins()
    place: str = HOST
    replicas: int = 1


@dataclass(frozen=True)
class Barman:
    """One Barman host. *settings* are the user's settings of the server section, *version* is that of PostgreSQL's programs
    there, which must not be older than the nodes' own."""

    name: str
    address: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = Origins()
    place: str = HOST
    version: int = 0


# Any host of a cluster.
Peer = Union[Node, Pgpool, Barman]


@dataclass(frozen=True)
class Cluster:
    """A cluster as its user described it. Says what was wanted on the first day, never who is primary now.

    *counted* are the electable nodes while a change of who is electable is under way; None: who is eligible. *named* are those
    that synchronous_standby_names lists meanwhile, *named_needed* how many of them have to confirm, where the same description
    says both; None: those that are counted.
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
    options: Options = field(default_factory=Options)
    counted: tuple[str, ...] | None = None
    named: tuple[str, ...] | None = None
    named_needed: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cluster:
        """Build from ``to_dict`` output (or its JSON). Raises PgherdError for a description of another schema, which may say
        things that are not known here."""
        schema = dict(data).get("schema", SCHEMA_VERSION)
        if schema != SCHEMA_VERSION:
            raise PgherdError(
                f"read the description of {data.get('name', '')}: its schema is {schema}, and {SCHEMA_VERSION} is known here.",
                "Run the site playbook of the newest release that any host or control machine has.",
            )
        return build(
            cls,
            {
                **data,
                "options": Options.of(data.get("options") or {}),
                **{key: None if data.get(key) is None else tuple(data[key]) for key in ("counted", "named")},
                "nodes": tuple(_host(Node, item) for item in data["nodes"]),
                "pgpools": tuple(_host(Pgpool, item) for item in data.get("pgpools", ())),
                "barmans": tuple(_host(Barman, item) for item in data.get("barmans", ())),
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the schema's version."""
        found = {"schema": SCHEMA_VERSION, **asdict(self)}
        if self.named is None:
            del found["named"], found["named_needed"]
        return found

    def node(self, name: str) -> Node:
        """The node called *name*. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def node_by_id(self, node_id: int) -> Node | None:
        """The node with repmgr's *node_id*, or None."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def node_at(self, host: str) -> str:
        """The name of the node that *host* is, a name or an address; '' when it is none."""
        return next((node.name for node in self.nodes if host and host in aliases(node)), "")

    @property
    def hosts(self) -> tuple[Peer, ...]:
        """Every host: nodes, Pgpool-IIs, Barmans."""
        return (*self.nodes, *self.pgpools, *self.barmans)

    @property
    def with_postgres(self) -> tuple[Node | Barman, ...]:
        """Hosts that have PostgreSQL, or its programs at least: nodes, Barmans."""
        return (*self.nodes, *self.barmans)

    @cached_property
    def data_nodes(self) -> tuple[Node, ...]:
        """Nodes that hold the data: all but witnesses."""
        return tuple(node for node in self.nodes if node.kind == "postgres")

    @property
    def witnesses(self) -> tuple[Node, ...]:
        """Nodes that only vote."""
        return tuple(node for node in self.nodes if node.kind == "witness")

    @cached_property
    def first_primary(self) -> Node:
        """The data node without an upstream: the primary of the first day."""
        return next(node for node in self.data_nodes if not node.upstream)

    def depth(self, name: str) -> int:
        """Number of upstreams between *name* and the first day's primary; 0 for the primary itself."""
        node, depth = self.node(name), 0
        while node.upstream:
            node, depth = self.node(node.upstream), depth + 1
        return depth

    @cached_property
    def electable(self) -> tuple[Node, ...]:
        """Data nodes that may become primary: the eligible ones, or those that are *counted* so far."""
        if self.counted is None:
            return self.eligible
        return tuple(node for node in self.data_nodes if node.name in self.counted)

    @cached_property
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

    @cached_property
    def electable_names(self) -> tuple[str, ...]:
        """The electable nodes' names: the ones that synchronous_standby_names lists, unless that is about to change."""
        return tuple(node.name for node in self.electable)

    @property
    def synchronous_standby_names(self) -> str:
        """The setting, the same on every node; '' under async durability. Explicit names only, never ``*``."""
        if self.durability != "strict":
            return ""
        listed, needed = (
            (self.electable_names, self.sync_standbys) if self.named is None else (self.named, self.named_needed)
        )
        names = ", ".join(f'"{name}"' for name in listed)
        return f"ANY {needed} ({names})"
