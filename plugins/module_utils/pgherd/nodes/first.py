# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Of guard.py's decision what is about data that are not there, not whole, or that nobody can have anything of: who makes a new
cluster, and who waits to be cloned. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..data.datadir import Local
from ..model import Cluster
from ..observe.node_state import NodeState
from .evidence import Evidence
from .verdict import CLONE, INITIALIZE, START, WAIT, StartVerdict, refuse


def empty(cluster: Cluster, me: str, others: Mapping[str, NodeState], evidence: Evidence) -> StartVerdict:
    """No data: who makes the cluster's first ones follows from the description, where nobody holds any or may hold some."""
    primaries = [name for name, state in others.items() if not state.in_recovery]
    if primaries:
        return StartVerdict(CLONE, f"{me} has no data, and {primaries[0]} is primary")
    if me != cluster.first_primary.name:
        return StartVerdict(CLONE, f"{me} is a standby by the inventory; it is cloned, not initialised.")
    why = _may_exist(cluster, me, others, evidence)
    if why:
        return refuse(f"Initialise {me}", "a new cluster", "a cluster that may exist", f"{me} has no data, {why}")
    return StartVerdict(INITIALIZE, f"nobody holds data, and {me} is the first primary")


def fresh(cluster: Cluster, me: str, others: Mapping[str, NodeState], evidence: Evidence) -> StartVerdict:
    """Data on which no server has run since initdb has made them are as good as none: nobody has anything of them. They are the
    cluster's first ones by the same conditions as new ones."""
    why = "" if evidence.new and not others else _may_exist(cluster, me, others, evidence)
    if not why:
        return StartVerdict(START, f"{me}'s data were made just now, and no server has run on them")
    if not evidence.by_playbook:
        # It cannot be asked of servers: where there are no data, none runs.
        why = "and other hosts may hold the cluster. Run the site playbook: it asks them all, and starts these where it may."
    attempted, found = f"Start {me}", "data that initdb has made, on which no server has run"
    return refuse(attempted, "the cluster's data", found, f"{me} has nothing yet, {why}")


def _may_exist(cluster: Cluster, me: str, others: Mapping[str, NodeState], evidence: Evidence) -> str:
    """Who holds the cluster, or cannot be asked and may hold it, with what to do; '' where nobody does."""
    names = [node.name for node in cluster.data_nodes if node.name != me]
    holders = [name for name in names if name in others or name in evidence.stopped]
    if holders:
        return (
            f"but {', '.join(holders)} holds this cluster, so no empty primary is made here. "
            f"Promote one of them, or start it if it is the primary; then {me} is cloned from it."
        )
    silent = [name for name in names if name not in (*evidence.empty, *evidence.strange)]
    if silent and not evidence.blind:
        return (
            f"and {', '.join(silent)} cannot be asked whether it holds the cluster. "
            "Bring it back, or say -e cluster_initialize=true if the cluster is to be made new."
        )
    return ""


def strange(me: str) -> StartVerdict:
    """Files without PG_VERSION, nobody knows whose: a cluster's, perhaps, whose disk lost that one, or that is being restored."""
    return refuse(
        f"{me}: the data directory holds files, but no cluster",
        "an empty directory or a cluster",
        "files without PG_VERSION",
        "See what they are, and move them away, or name the host in cluster_wipe.",
    )


def broken(me: str, local: Local, held: Collection[str], primaries: Collection[str]) -> StartVerdict:
    """No whole pg_control. What only this node has could not be kept, so it goes only where that certainly is nothing: a base
    backup of this cluster that never ended. *held*: system identifiers of the others' data; *primaries*: those of primaries."""
    copy = f"{me}'s data are a base backup of this cluster that never ended"
    if local.system_id and local.system_id in primaries:
        return StartVerdict(CLONE, copy)
    if local.system_id and local.system_id in held:
        return StartVerdict(WAIT, f"{copy}; it is cloned when there is a primary.")
    return refuse(
        f"Use the data of {me}",
        "a whole data directory",
        "one without a whole global/pg_control, such as an interrupted copy leaves, or one that still runs",
        "See what it is, and move it away, or, if its data may go, name the host in cluster_wipe.",
    )
