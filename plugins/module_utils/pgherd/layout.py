# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where PostgreSQL and what belongs to it lie on a node."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Conflict, PgherdError
from .model import Barman, Cluster, Node

# Where everything on a node looks for the servers' sockets.
SOCKETS = "/var/run/postgresql"
# Where a pod's claims are mounted. Data, and WAL where that has a claim of its own.
DATA, WAL = "/var/lib/postgresql", "/var/lib/postgresql-wal"


@dataclass(frozen=True)
class Layout:
    """The directories of one PostgreSQL of major *version*: its *data*, its *configuration*, its *programs*. *repmgr* is the
    file repmgr.conf, *log* what has the server's first words, also where a logging collector takes the later ones."""

    version: int
    data: str
    configuration: str
    programs: str
    repmgr: str
    log: str


def version_of(host: Node | Barman, told: int = 0) -> int:
    """PostgreSQL's major version on *host*, as the cluster's description has it.

    *told* is what somebody says beside it: a unit that a release before wrote, whose descriptions had none, or who calls a
    module. Raises Conflict where that is another one, and PgherdError where neither says it.
    """
    if host.version and told and host.version != told:
        raise Conflict(
            f"Work with PostgreSQL on {host.name}",
            f"version {host.version}, as the cluster's description has it",
            f"version {told}, as this was called with",
            "Leave that out, or run the site playbook, so that both are of one run.",
        )
    if not (host.version or told):
        raise PgherdError(
            f"work with PostgreSQL on {host.name}: the cluster's description has no version for it.",
            "Run the site playbook.",
        )
    return host.version or told


def debian(version: int, data: str = "") -> Layout:
    """As Debian's packages have it for cluster ``main``, on hosts and in images alike; *data* where that is elsewhere."""
    return Layout(
        version,
        data or f"/var/lib/postgresql/{version}/main",
        f"/etc/postgresql/{version}/main",
        f"/usr/lib/postgresql/{version}/bin",
        f"/etc/repmgr/{version}/repmgr.conf",
        f"/var/log/postgresql/postgresql-{version}-main.log",
    )


def layout(cluster: Cluster, version: int) -> Layout:
    """The same for a node of *cluster*, whose user may have named the data directory."""
    return debian(version, cluster.options.data_directory)
