# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a cluster's user may say of it beside what Cluster has itself: the role's variables ``cluster_*`` that hosts are told.

Names, types and values here are those of the role's argument specification, which docs/variables.md explains; a test
holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Options:
    """See the module."""

    # A cluster that is made new.
    locale: str = "C.UTF-8"
    encoding: str = "UTF8"
    data_checksums: bool = True
    data_directory: str = ""
    wal_directory: str = ""
    # PostgreSQL.
    wal_keep_size: str = "512MB"
    hba: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    databases: tuple[Mapping[str, Any], ...] = ()
    users: tuple[Mapping[str, Any], ...] = ()
    extensions: tuple[Mapping[str, Any], ...] = ()
    tablespaces: tuple[Mapping[str, Any], ...] = ()
    # repmgr.
    repmgr_settings: Mapping[str, Any] = field(default_factory=dict)
    ssh_keys: bool = False
    # Pgpool-II. What is balanced: BALANCING in inventory/values.py.
    pgpool_min_backends: int = 1
    pgpool_max_clients: int = 64
    pgpool_reserved_connections: int = 0
    pgpool_read_balancing: str = "named"
    pgpool_weights: Mapping[str, Any] = field(default_factory=dict)
    # Barman.
    barman_retention: str = "RECOVERY WINDOW OF 7 DAYS"
    barman_schedule: str = "*-*-* 02:00:00"
    barman_directory: str = "/var/lib/barman"
    # Agents.
    agent_port: int = 8765
    agent_listen: tuple[str, ...] = ()
    agent_plain_port: int = 8766
    agent_plain_listen: tuple[str, ...] = ()
    agent_clients: tuple[str, ...] = ()
    peer_port: int = 8767
    # Pods. Empty: as the cluster is called.
    namespace: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Options:
        """From plain *data*, JSON's say, which knows no tuples. What it does not have, or leaves open, is as by default; keys
        that are not known are left out."""
        known = {item.name for item in fields(cls)}
        given: Any = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in data.items()
            if key in known and value is not None
        }
        return cls(**given)
