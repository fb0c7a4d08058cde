# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster's description on a host."""

from __future__ import annotations

from collections.abc import Mapping

from ....model import CLUSTER_FILE, Cluster
from ....ports.hostfiles import File
from ....render.conf_cluster import text
from .facts import HostFacts


def files(cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
    """The description; who reads it on the host *name* is PostgreSQL's, Pgpool-II's or Barman's user, and root."""
    group = "barman" if name in {barman.name for barman in cluster.barmans} else "postgres"
    return [
        File("/etc/pgherd", kind="directory", mode="0755"),
        File(CLUSTER_FILE, text(cluster), group=group, mode="0640"),
    ]
