# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings of the programs against each other, and against what the cluster promises. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..model import Cluster, Node, Pgpool
from ..programs.own_settings import normal
from ..programs.postgres_settings import VARIABLE, is_off

# Sessions of the cluster's own, and some of people, beside those that the pgpools open.
OWN_SESSIONS = 40


def streams(cluster: Cluster) -> int:
    """Senders, and slots, that a node may need: one for each other node and each Barman, and as many again for clones and base
    backups for a while."""
    return 2 * len(cluster.nodes) + 2 * len(cluster.barmans) + 2


def pgpool_sessions(cluster: Cluster) -> int:
    """Sessions that all pgpools together may hold on one server: each child keeps max_pool of them (pgpool's manual, 5.6)."""
    return sum(_held(cluster, pgpool) * pgpool.replicas for pgpool in cluster.pgpools)


def _held(cluster: Cluster, pgpool: Pgpool) -> int:
    found = normal(pgpool.settings)
    children = _number(found.get("num_init_children"), cluster.options.pgpool_max_clients)
    return children * _number(found.get("max_pool"), 1)


def _number(value: Any, otherwise: int) -> int:
    """What is no number is left for its program to refuse."""
    text = str(value).strip()
    return int(text) if text.isdigit() and not isinstance(value, bool) else otherwise


def contradictions(cluster: Cluster) -> list[str]:
    """One sentence for each setting of a node that contradicts the rest of the cluster, with the nodes that have it."""
    wrong: dict[str, list[str]] = {}
    for node in cluster.nodes:
        for sentence in _node(cluster, node):
            wrong.setdefault(sentence, []).append(node.name)
    everywhere = [node.name for node in cluster.nodes]
    return [f"{'' if names == everywhere else ', '.join(names) + ': '}{sentence}" for sentence, names in wrong.items()]


def _node(cluster: Cluster, node: Node) -> Iterator[str]:
    found = normal(node.settings)
    if node.kind == "postgres":
        yield from _durable(cluster, found)
    for name in ("max_wal_senders", "max_replication_slots"):
        if _number(found.get(name), streams(cluster)) < streams(cluster):
            yield f"{VARIABLE}: {name} is less than {streams(cluster)}, which this cluster may need; raise it, or take it out."
    sessions, needed = pgpool_sessions(cluster), pgpool_sessions(cluster) + OWN_SESSIONS
    if node.kind == "postgres" and _number(found.get("max_connections"), needed) < needed:
        yield (
            f"{VARIABLE}: max_connections is less than {needed}, which are {sessions} that the pgpools may hold "
            f"(num_init_children x max_pool each) and {OWN_SESSIONS} beside them; raise it, or lower cluster_pgpool_max_clients."
        )


def _durable(cluster: Cluster, found: Mapping[str, Any]) -> Iterator[str]:
    commit = found.get("synchronous_commit", True)
    lost = is_off(commit) or str(commit).strip().lower() in ("local", "remote_write")
    if cluster.durability == "strict" and lost:
        yield (
            f"{VARIABLE}: synchronous_commit is on or remote_apply for all under cluster_durability: strict; set another one "
            "for a role, a database or a transaction that may be lost."
        )
    if is_off(found.get("wal_log_hints", True)) and not cluster.options.data_checksums:
        yield f"{VARIABLE}: wal_log_hints off without cluster_data_checksums leaves pg_rewind nothing to go by; take it out."
