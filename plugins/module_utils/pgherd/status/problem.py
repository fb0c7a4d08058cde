# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One thing that is wrong with a cluster, and the words and commands that all checks share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..model import Cluster, Node
from ..observe.topology import Topology

CRITICAL, WARNING, UNKNOWN = "critical", "warning", "unknown"


@dataclass(frozen=True)
class Cure:
    """A command, and the host whose root runs it; '' is the control machine, where the inventory is."""

    command: str
    on: str = ""


SITE = Cure("ansible-playbook pgherd.cluster.site")


@dataclass(frozen=True)
class Problem:
    """*id* is stable (docs/status.md lists all), *node* the host it is about ('' for the cluster), *text* says in words
    what is wrong, *cure* how to end it, *since* the time it began, where that is known."""

    id: str
    severity: str
    node: str
    text: str
    cure: Cure
    since: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Limits:
    """From where on a figure is a problem: bytes and seconds."""

    lag_bytes: int = 16 << 20
    lag_seconds: float = 30.0
    slot_bytes: int = 64 << 20
    backup_age: float = 36 * 3600.0
    wal_age: float = 600.0


def size(count: float) -> str:
    """Bytes for people: ``0 B``, ``512 kB``, ``1.5 MB`` (powers of 1024, as pg_size_pretty)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            break
        count /= 1024
    return f"{count:.1f} {unit}" if unit != "B" and count < 10 and count != int(count) else f"{count:.0f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for people: ``0s``, ``45s``, ``12m``, ``3h12m``, ``4d7h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def names(items: tuple[str, ...] | list[str]) -> str:
    """``pg1``, ``pg1 and pg2``, ``pg1, pg2 and pg3``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def major(topology: Topology) -> str:
    """The major version of PostgreSQL, as the paths and units have it; '' when no node told."""
    return next((str(postgres.version // 10000) for _node, postgres in topology.seen()), "")


def systemctl(topology: Topology, verb: str, node: str) -> Cure:
    """Start, stop or restart PostgreSQL on *node*. Debian's ``postgresql`` stands for all clusters of a host."""
    version = major(topology)
    return Cure(f"systemctl {verb} " + (f"postgresql@{version}-main" if version else "postgresql"), node)


def bring_back(topology: Topology, name: str) -> Cure:
    """Have *name* stream again: start what is stopped, restart what runs, wait for a clone, install what is new."""
    node, metadata = topology.node(name), topology.metadata()
    if metadata and not metadata.of(name):
        return SITE
    if topology.copying(name):
        return Cure("pgherd status --watch 2", next(other.name for other, _postgres in topology.seen()))
    if node and node.postgres:
        return systemctl(topology, "restart", name) if node.postgres.in_recovery else SITE
    return systemctl(topology, "start", name)


def repmgr(topology: Topology, node: str, words: str) -> Cure:
    """A repmgr command on *node*."""
    return Cure(f"sudo -u postgres repmgr -f /etc/repmgr/{major(topology) or '*'}/repmgr.conf {words}", node)


def psql(node: str, statement: str) -> Cure:
    """A statement on *node*."""
    return Cure(f'sudo -u postgres psql -c "{statement}"', node)


def barman(cluster: Cluster, node: str, verb: str) -> Cure:
    """A barman command about this cluster on *node*."""
    return Cure(f"sudo -u barman barman {verb}" + ("" if verb == "cron" else f" {cluster.name}"), node)


def wipe(node: str) -> Cure:
    """Replace what is on *node* with a copy of the primary."""
    return Cure(f"""{SITE.command} -e '{{"cluster_wipe": ["{node}"]}}'""")


def blind(topology: Topology) -> bool:
    """Whether no data node can be asked, so that what does not answer may be as well as ever. One that refuses the
    connection has answered: PostgreSQL does not run there."""
    return not any(node.kind == "postgres" and (node.postgres or node.refused) for node in topology.nodes)


def down_since(topology: Topology, node: Node) -> float | None:
    """When repmgrd on the primary saw *node* stop streaming (events child_node_*: repmgr's manual, "Event
    notifications"), or None."""
    metadata = topology.metadata()
    for event in metadata.events if metadata else ():
        if event.event.startswith("child_node_") and f'"{node.name}"' in event.details:
            return event.at if event.event == "child_node_disconnect" else None
    return None
