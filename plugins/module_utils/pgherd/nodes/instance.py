# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One PostgreSQL instance: is there a cluster in its data directory, does it run, does it know its configuration."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Optional

from ..data import datadir
from ..data.datadir import BROKEN, CLUSTER, NONE, OTHER, Local
from ..data.unfinished import backup_of
from ..errors import Unreachable
from ..layout import SOCKETS, Layout
from ..model import CLUSTER_FILE, SERVER_CERT_FILE, Cluster
from ..objects.shield import superusers_options
from ..observe.node_state import NodeState, Survey
from ..plan import Plan, Step
from ..ports.here import Here
from ..ports.services import POSTGRES, Services
from ..ports.sql import connect
from ..programs.postgres import LIMITS, control_data, control_limits
from .directory_state import DirectoryState, kind
from .evidence import Evidence
from .guard import decide
from .locations import obstacles
from .verdict import CLONE, WAIT

if TYPE_CHECKING:
    from .peer_evidence import NodeEvidence


@dataclass(frozen=True)
class Instance:
    """What one host says of its instance.

    *data*: ``none`` (no directory, or an empty one), ``cluster``, ``broken`` (one that is not whole; *system_identifier* as
    Local has it), or ``other`` (files, but no cluster). *standby*: whether
    standby.signal is there, or the data are in recovery by pg_control. *system_identifier* and *timeline* come from
    pg_control. *running* is the truth of the socket, *role* what the running server is. *stale*: the files are newer than what
    the server has loaded.
    *pending* are settings that wait for a restart, with the value in the files; *lowered* are those of them that
    standbys can only take after the primary. *limits* are the primary's, by pg_control. *names* is the
    synchronous_standby_names in force, of a stopped server that in its file; *counts* who is electable by the description
    on this host: ``names`` and ``needed``, or nothing where there is none, or durability is async. *obstacles*: why its
    directories cannot hold data, or not be copied, see locations.py. *follows*: see datadir.follows().
    *restoring*, *fresh*: see datadir.Local.
    """

    name: str
    data: str = NONE
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
    obstacles: tuple[str, ...] = ()
    follows: str = ""
    restoring: bool = False
    fresh: bool = False

    @property
    def local(self) -> Local:
        """What is in the data directory, as much of it as other hosts are told."""
        local = Local(self.standby, self.system_identifier, self.timeline)
        return replace(local, restoring=self.restoring, fresh=self.fresh, data=self.data)

    @property
    def state(self) -> NodeState:
        """What its running server would say of itself, as far as that is known here."""
        said = NodeState(self.role == "standby", self.timeline, self.system_identifier, name=self.name)
        return replace(said, has_upstream=bool(self.follows), pointed_at=self.follows)

    @property
    def evidence(self) -> NodeEvidence:
        """The same as what its agent would tell other nodes."""
        # Not at the top: a host compiles anew whatever a module imports, and who only looks needs none of it.
        from .peer_evidence import NodeEvidence

        directory = DirectoryState(
            self.data, self.standby, self.system_identifier, self.timeline, self.follows, self.restoring, self.fresh
        )
        return NodeEvidence(directory, self.state if self.running else None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for other hosts and for people."""
        lists = {"lowered": list(self.lowered), "obstacles": list(self.obstacles)}
        return {**asdict(self), "pending": dict(self.pending or {}), **lists}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Instance:
        """Build from to_dict's output; what it does not know is left out."""
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, **{name: tuple(known.get(name, ())) for name in ("lowered", "obstacles")}})


def observe(here: Here) -> Instance:
    """Look at the instance here. A host without PostgreSQL is one without data. Raises SqlError, CommandError."""
    cluster, name, layout = here.cluster, here.me, here.layout
    data = kind(layout.data)
    in_the_way = obstacles(cluster, name, layout, living=data in (CLUSTER, BROKEN))
    if data in (NONE, OTHER):
        return Instance(name, data=data, obstacles=in_the_way)
    if data == BROKEN:
        return Instance(name, data=data, system_identifier=backup_of(layout.data), obstacles=in_the_way)
    control = control_data(layout, here.runner)
    local = datadir.judged(layout, control)
    stopped = Instance(
        name,
        data=CLUSTER,
        standby=local.standby or local.recovering,
        system_identifier=local.system_id,
        timeline=local.timeline,
        limits=control_limits(control),
        names=_names(f"{layout.configuration}/postgresql.conf"),
        counts=_counts(CLUSTER_FILE),
        obstacles=in_the_way,
        follows=datadir.follows(layout.data, name),
        restoring=local.restoring,
        fresh=local.fresh,
    )
    try:
        with connect(name, local_login(cluster, layout)) as server:
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
        stale=row["loaded"] < _newest(layout, here.services),
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


# Seconds for a statement of the superuser's.
LOCAL_LIMIT = 5.0


def local_login(cluster: Cluster, layout: Layout, database: str = "postgres") -> dict[str, Any]:
    """libpq parameters of the superuser on this host, through the socket (pg_ident lets root and postgres in)."""
    options = f"-c statement_timeout={LOCAL_LIMIT * 1000:.0f} {superusers_options(layout.version)}"
    login = {"host": SOCKETS, "port": cluster.port, "user": "postgres", "dbname": database}
    return {**login, "options": options}


def known(mine: Instance, peers: Mapping[str, Optional[Instance]], blind: bool = False) -> tuple[Survey, Evidence]:
    """What a run of the playbook knows of all nodes, as the decision about this one takes it: what runs, and what else was seen.
    *peers* are the other data nodes: what each said, or None for one that could not be asked. *blind*: see Evidence."""
    from .peer_evidence import known as evidence_of  # see Instance.evidence

    survey, evidence = evidence_of(
        {name: peer.evidence if peer else None for name, peer in peers.items()}, blind, by_playbook=True
    )
    return replace(survey, states={mine.name: mine.state, **survey.states}) if mine.running else survey, evidence


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
    failed: Sequence[str] = (),
    start: bool = True,
) -> tuple[Plan, str]:
    """The plan for one instance, and the reason why it is left alone where it is ('' where it is not).

    *files_changed*: configuration is about to change (in check mode the disk does not show it yet). *restart*: restart it
    when settings wait for that, and with *always* in any case. *wipe*: its data may go, so one that does not answer is not
    started or waited for while another node is primary; it is cloned later. *failed* are nodes that took the same change and did
    not come back: settings that wait for a restart here are taken back. Without *start* one that does not run is left
    to whoever starts it. Raises Conflict when files that are no cluster are in the way, or a new cluster is not allowed.
    """
    before = {"data": mine.data, "running": mine.running, "pending_restart": dict(mine.pending or {})}
    nothing = Plan(mine.name, before, before)
    if not (start or mine.running):
        return nothing, ""
    data_node = cluster.node(mine.name).kind == "postgres"
    replaced = wipe and data_node and any(peer and peer.role == "primary" for peer in peers.values())
    if replaced and not mine.running and mine.data != NONE:
        return nothing, ""
    survey, evidence = known(mine, peers, initialize_blind)
    if not mine.running or mine.role == "primary":
        verdict = decide(cluster, mine.name, mine.local, survey, evidence)
        if verdict.conflict:
            raise verdict.conflict
        if verdict.done in (WAIT, CLONE):
            return nothing, verdict.why if verdict.done == WAIT else ""
        if not mine.running:
            return _start(mine, before, evidence), ""
    if failed and mine.pending:
        what = (
            f"take back {', '.join(mine.pending)} on {mine.name}, since {', '.join(failed)} did not come back with it"
        )
        return Plan(mine.name, before, {**before, "pending_restart": {}}, (Step("put_back", what),)), ""
    return _running(mine, before, files_changed, restart, always), ""


def _start(mine: Instance, before: Mapping[str, Any], evidence: Evidence) -> Plan:
    """It runs, made before where there is nothing. The guard is told what it cannot ask of servers that do not run."""
    after = {**before, "data": CLUSTER, "running": True}
    seen = {"stopped": {name: asdict(item) for name, item in evidence.stopped.items()}, "empty": list(evidence.empty)}
    new = mine.fresh or mine.data == NONE
    step = Step("start", f"start {mine.name}", {} if mine.standby else {"new": True} if new else seen)
    make = (Step("initialize", f"make a new cluster on {mine.name}"),) if mine.data == NONE else ()
    return Plan(mine.name, before, after, (*make, step))


def _running(mine: Instance, before: Mapping[str, Any], files_changed: bool, restart: bool, always: bool) -> Plan:
    """A running server knows its files. See plan()."""
    if restart and (mine.pending or always):
        what = f"restart {mine.name}" + (f" for {', '.join(mine.pending)}" if mine.pending else "")
        after = {**before, "pending_restart": {}, **({"restarted": True} if always else {})}
        return Plan(mine.name, before, after, (Step("restart", what),))
    if mine.stale or files_changed:
        reload = Step("reload", f"make {mine.name} read its configuration")
        return Plan(mine.name, {**before, "configuration": "old"}, {**before, "configuration": "loaded"}, (reload,))
    return Plan(mine.name, before, before)


def made_a_standby(before: Instance, todo: Plan, after: Instance) -> str:
    """Why nothing can be done on a server that was to start as the primary that it had been, and that its guard has started
    as a standby. '' where that is not so."""
    meant = before.data == "cluster" and not before.standby and any(step.action == "start" for step in todo.steps)
    if not meant or after.role != "standby":
        return ""
    return (
        f"{before.name} was a primary, and the start guard has started it as a standby, since another node may have been "
        "promoted; its log says which. The agents find out who is to be primary: run the site playbook again once there is one."
    )


def _newest(layout: Layout, services: Services) -> float:
    """When the newest of the files was written that a reload makes known: the server's, and what says how it is started."""
    paths = [os.path.join(layout.configuration, name) for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")]
    times = [os.stat(path).st_mtime for path in (*paths, SERVER_CERT_FILE)]
    return max(*times, services.written(POSTGRES))
