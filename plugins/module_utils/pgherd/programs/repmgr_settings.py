# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings of repmgr.conf that are the cluster's own. Pure."""

from __future__ import annotations

# A second value would register one node as another.
_INVENTORY = "it comes from the inventory"
_COUNTS = "pgherd counts who holds what before a promotion, and points standbys"
# By name: what is to be done in its place.
OURS: dict[str, str] = {
    **dict.fromkeys(
        ("node_id", "node_name", "conninfo", "data_directory", "use_replication_slots", "passfile", "replication_user"),
        _INVENTORY,
    ),
    "location": "set location at the host",
    "priority": "set priority at the host",
    "pg_bindir": "it is the one of cluster_postgres_version",
    **dict.fromkeys(
        ("failover_validation_command", "promote_command", "follow_command", "service_promote_command"), _COUNTS
    ),
    **dict.fromkeys(("include", "include_dir", "include_if_exists"), "write the settings themselves"),
}
