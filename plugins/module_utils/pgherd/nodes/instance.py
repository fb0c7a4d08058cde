# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One PostgreSQL instance: is there a cluster in its data directory, does it run, does it know its configuration."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from ..errors import Conflict, Unreachable
from ..files.conf_postgres import SOCKET_DIRECTORY, configuration_directory, data_directory, drop_in_file
from ..model import CLUSTER_FILE, SERVER_CERT_FILE, Cluster
from ..plan import Plan, Step
from ..ports.run import Runner
from ..ports.sql import connect
from ..programs.postgres import LIMITS, control_data, control_limits
from .clone import LOST, unfinished


@dataclass(frozen=True)
class Instance:
    """What one host says of its instance.

    *data*: ``none`` (no directory, or an empty one), ``cluster``, or ``other`` (files, but no cluster). *standby*: whether
    standby.signal is there. *system_identifier* and *timeline* come from pg_control. *running* is the truth of the
    socket, *role* what the running server is. *stale*: the files are newer than what the server has loaded.
    *pending* are settings that wait for a restart, with the value in the files; *lowered* are those of them that
    standbys can only take after the primary. *limits* are the primary's, by pg_control. *names* is the
    synchronous_standby_names in force, of a stopped server that in its file; *counts* who is electable by the description
    on this host: ``names`` and ``needed``, or nothing where there is none, or durability is async.
    """

    name: str
    data: str = "none"
    standby: bool = False
    system_identifier: str = ""
    timeline: int = 0
    running: bool = False
    role: str = "none"
    stale: bool = False
    pending: Mapping[str, str] | None = None
    lowered: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    names: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for other hosts and for people."""
        return {**asdict(self), "pending": dict(self.pending or {}), "lowered": list(self.lowered)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Instance:
        """Build from to_dict's output; what it does not know is left out."""
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "lowered": tuple(known.get("lowered", ()))})


def observe(cluster: Cluster, name: str, version: int, runner: Runner) -> Instance:
    """Look at the instance on this host. A host without PostgreSQL is one without data. Raises SqlError, CommandError."""
    directory = data_directory(cluster, version)
    try:
        entries = os.listdir(directory)
    except FileNotFoundError:
        return Instance(name)
    if "PG_VERSION" not in entries:
        nothing = unfinished(entries) or entries in ([], [LOST])
        return Instance(name, data="none" if nothing else "other")
    control = control_data(directory, version, runner)
    stopped = Instance(
        name,
        data="cluster",
        standby="standby.signal" in entries,
        system_identifier=control["Database system identifier"],
        timeline=int(control["Latest checkpoint's TimeLineID"]),
        limits=control_limits(control),
        names=_names(f"{configuration_directory(version)}/postgresql.conf"),
        counts=_counts(CLUSTER_FILE),
    )
    try:
        with connect(name, local_login(cluster)) as server:
            row = server.rows(
                "SELECT pg_is_in_recovery() AS recovery, extract(epoch FROM pg_conf_load_time())::float8 AS loaded,"
                " CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)"
                " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,"
                # What a person has set over ours by ALTER SYSTEM is not ours to spread.
                " CASE WHEN s.sourcefile LIKE '%/postgresql.auto.conf' THEN NULL ELSE s.setting END AS names"
                " FROM pg_settings s WHERE s.name = 'synchronous_standby_names'"
            )[0]
            pending = _pending(server.rows(PENDING_QUERY))
    except Unreachable:
        return stopped
    return replace(
        stopped,
        running=True,
        role="standby" if row["recovery"] else "primary",
        stale=row["loaded"] < _newest(version),
        pending=pending[0],
        lowered=pending[1],
        timeline=int(row["timeline"] or stopped.timeline),
        names=stopped.names if row["names"] is None else row["names"],
    )


def _names(path: str) -> str:
    """synchronous_standby_names by a configuration file of ours, '' where it says nothing."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = re.search(r"^synchronous_standby_names = '(.*)'$", stream.read(), re.MULTILINE)
    except FileNotFoundError:
        return ""
    return found.group(1).replace("''", "'").replace("\\\\", "\\") if found else ""


def _counts(path: str) -> dict[str, Any]:
    """Who is electable by the description at *path*, see Instance."""
    try:
        with open(path, encoding="utf-8") as stream:
            cluster = Cluster.from_dict(json.load(stream))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    strict = cluster.durability == "strict"
    return {"names": list(cluster.electable_names), "needed": cluster.sync_standbys} if strict else {}


# The value in the files against the value in force. pg_settings tells a pending restart only after a reload.
PENDING_QUERY = (
    "SELECT s.name, s.boot_val, f.setting AS wanted, current_setting(s.name) AS found FROM pg_settings s"
    " LEFT JOIN pg_file_settings f ON f.name = s.name AND f.seqno ="
    " (SELECT max(seqno) FROM pg_file_settings g WHERE g.name = s.name) WHERE s.pending_restart ORDER BY s.name"
)


def _pending(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], tuple[str, ...]]:
    wanted = {row["name"]: row["boot_val"] if row["wanted"] is None else row["wanted"] for row in rows}
    pending = {row["name"]: f"{row['found']} -> {wanted[row['name']]}" for row in rows}
    lowered = tuple(
        row["name"]
        for row in rows
        if row["name"] in LIMITS and wanted[row["name"]].isdigit() and int(wanted[row["name"]]) < int(row["found"])
    )
    return pending, lowered


def local_login(cluster: Cluster, database: str = "postgres") -> dict[str, Any]:
    """libpq parameters of the superuser on this host, through the socket (pg_ident lets root and postgres in)."""
    return {"host": SOCKET_DIRECTORY, "port": cluster.port, "user": "postgres", "dbname": database}


def may_initialize(
    cluster: Cluster, name: str, peers: Mapping[str, Optional[Instance]], allowed_blind: bool
) -> Optional[str]:
    """None when a new cluster may be made on *name*, else the reason why not, with the cure.

    *peers* are the other data nodes: what each said, or None for one that could not be asked.
    """
    if name != cluster.first_primary.name:
        return f"{name} is a standby by the inventory; it is cloned, not initialised."
    holders = [peer.name for peer in peers.values() if peer and peer.data == "cluster"]
    if holders:
        return (
            f"{name} has no data, but {', '.join(holders)} holds this cluster, so no empty primary is made here. "
            f"Promote one of them, or start it if it is the primary; then {name} is cloned from it."
        )
    silent = [peer for peer, said in peers.items() if said is None]
    if silent and not allowed_blind:
        return (
            f"{name} has no data, and {', '.join(silent)} cannot be asked whether it holds the cluster. "
            "Bring it back, or say -e cluster_initialize=true if the cluster is to be made new."
        )
    return None


def may_start(cluster: Cluster, mine: Instance, peers: Mapping[str, Optional[Instance]]) -> Optional[str]:
    """None when a stopped instance may be started, else the reason why it is left alone.

    A standby may always start. What was a primary may only when no other node is primary or on a newer timeline, and
    the nodes that cannot be asked are too few to have promoted one of them (design, section 4, R + W > N).
    """
    if mine.standby:
        return None
    for peer in peers.values():
        if peer and peer.role == "primary":
            return (
                f"{mine.name} was a primary (timeline {mine.timeline}) and stays stopped, because {peer.name} is "
                f"primary now (timeline {peer.timeline})."
            )
        if peer and peer.timeline > mine.timeline and peer.system_identifier == mine.system_identifier:
            return (
                f"{mine.name} was a primary (timeline {mine.timeline}) and stays stopped, because {peer.name} has the "
                f"newer timeline {peer.timeline}: start that one."
            )
    silent = [name for name in cluster.electable_names if name in peers and peers[name] is None]
    enough = cluster.seals_needed if cluster.durability == "strict" else 1
    if len(silent) >= enough:
        return (
            f"{mine.name} was a primary and stays stopped, because {', '.join(silent)} cannot be asked whether one of "
            "them has been promoted. Bring them back first."
        )
    return None


def out_of_date(cluster: Cluster, mine: Instance, peers: Mapping[str, Optional[Instance]]) -> Optional[str]:
    """None when a running primary is the cluster's, else the reason why nothing is written to it."""
    said = [peer for peer in peers.values() if peer and peer.system_identifier]
    same = [peer for peer in said if peer.system_identifier == mine.system_identifier]
    for peer in same:
        if peer.role == "primary" and peer.timeline > mine.timeline:
            return (
                f"{mine.name} runs as a primary (timeline {mine.timeline}), but {peer.name} is primary now "
                f"(timeline {peer.timeline})."
            )
    others = len(said) - len(same)
    if others > len(same) + 1 or (others == len(same) + 1 and mine.name != cluster.first_primary.name):
        return f"{mine.name} runs another cluster than {', '.join(peer.name for peer in said if peer not in same)}."
    return None


def plan(
    cluster: Cluster,
    mine: Instance,
    peers: Mapping[str, Optional[Instance]],
    *,
    files_changed: bool = False,
    initialize_blind: bool = False,
    restart: bool = False,
    always: bool = False,
    wipe: bool = False,
) -> tuple[Plan, str]:
    """The plan for one instance, and the reason why it is left alone where it is ('' where it is not).

    *files_changed*: configuration is about to change (in check mode the disk does not show it yet). *restart*: restart it
    when settings wait for that, and with *always* in any case. *wipe*: its data may go, so one that does not answer is not
    started or waited for while another node is primary; it is cloned later. Raises Conflict when files that are no cluster
    are in the way, or a new cluster is not allowed.
    """
    kind = cluster.node(mine.name).kind
    before = {"data": mine.data, "running": mine.running, "pending_restart": dict(mine.pending or {})}
    if mine.data == "other":
        raise Conflict(
            f"{mine.name}: the data directory holds files, but no cluster",
            "an empty directory or a cluster",
            "files without PG_VERSION",
            "Look what they are and move them away.",
        )
    if mine.data == "none":
        reason = may_initialize(cluster, mine.name, peers, initialize_blind) if kind == "postgres" else None
        if reason and mine.name == cluster.first_primary.name and not any(_primary(peer) for peer in peers.values()):
            raise Conflict(f"Initialise {mine.name}", "a new cluster", "a cluster that may exist", reason)
        if reason:
            return Plan(mine.name, before, before), ""
        steps = (Step("initialize", f"make a new cluster on {mine.name}"), Step("start", f"start {mine.name}"))
        return Plan(mine.name, before, {"data": "cluster", "running": True, "pending_restart": {}}, steps), ""
    if not mine.running:
        reason = may_start(cluster, mine, peers) if kind == "postgres" else None
        cloned = wipe and kind == "postgres" and any(_primary(peer) for peer in peers.values())
        if reason or cloned:
            return Plan(mine.name, before, before), "" if cloned else reason or ""
        return Plan(mine.name, before, {**before, "running": True}, (Step("start", f"start {mine.name}"),)), ""
    reason = out_of_date(cluster, mine, peers) if kind == "postgres" and mine.role == "primary" else None
    if reason:
        return Plan(mine.name, before, before), reason
    if restart and (mine.pending or always):
        what = f"restart {mine.name}" + (f" for {', '.join(mine.pending)}" if mine.pending else "")
        after = {**before, "pending_restart": {}, **({"restarted": True} if always else {})}
        return Plan(mine.name, before, after, (Step("restart", what),)), ""
    if mine.stale or files_changed:
        reload = Step("reload", f"make {mine.name} read its configuration")
        return Plan(mine.name, {**before, "configuration": "old"}, {**before, "configuration": "loaded"}, (reload,)), ""
    return Plan(mine.name, before, before), ""


def _primary(peer: Optional[Instance]) -> bool:
    return peer is not None and peer.role == "primary"


def _newest(version: int) -> float:
    """When the newest of the files was written that a reload makes known: the server's, and the unit's drop-in."""
    directory = configuration_directory(version)
    paths = [os.path.join(directory, name) for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")]
    times = [os.stat(path).st_mtime for path in (*paths, SERVER_CERT_FILE)]
    drop_in = drop_in_file(version)
    return max([*times, *([os.stat(drop_in).st_mtime] if os.path.exists(drop_in) else [])])
