# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The metrics: which there are, and their samples from what was seen. Pure.

A value that is not known has no sample: 0 would be a lie. A role is a value (``pgherd_primary`` is 1 or 0), never a label,
so that a series goes on through a failover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..model import SCHEMA_VERSION, Cluster
from ..observe.foreign_streams import foreign
from ..observe.topology import Lag
from ..observe.tracker import primaries
from ..quorum import acknowledgers
from ..render.backend_list import number_of
from . import health
from . import seen as limits
from .seen import AgentView, Details, NodeSeen

NODE, WITNESS, PGPOOL, BARMAN = "postgres", "witness", "pgpool", "barman"
EVERY = (NODE, WITNESS, PGPOOL, BARMAN)
# What the node part and repmgrd's commands may do.
DECISIONS = ("fence", "lift", "demote", "switchover", "follow", "rejoin", "elect", "start")
JOBS = ("switchover", "follow", "rejoin", "elect", "start")


@dataclass(frozen=True)
class Metric:
    """One metric: *hosts* are the kinds of host that have it, *counter* says that it only rises while the agent runs."""

    name: str
    help: str
    hosts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    counter: bool = False


def _of(hosts: tuple[str, ...], *rows: tuple[str, ...]) -> list[Metric]:
    return [Metric(f"pgherd_{row[0]}", row[1], hosts, row[2:], row[0].endswith("_total")) for row in rows]


METRICS: tuple[Metric, ...] = (
    *_of(
        EVERY,
        ("health", "1 when the host's program answers here (PostgreSQL, pgpool, Barman), else 0; as /health"),
        ("ready", "1 when the host does what it is for, else 0; as /ready"),
        ("agent_started_timestamp_seconds", "when the agent started, in seconds since the epoch"),
        (
            "description_info",
            "1; the labels say by which description of the cluster the agent goes, and of which schema",
            "digest",
            "schema",
        ),
        ("description_refused", "1 while the description on the host is one that the agent does not go by, else 0"),
        ("agent_tick_age_seconds", "seconds since a part of the agent last began to look", "part"),
        (
            "agent_unanswered_total",
            "clients of the agent's ports that were hung up on: late, or displaced by others",
            "why",
        ),
        (
            "certificate_not_after_timestamp_seconds",
            "when the host's certificate (server) and the authority's (authority) end, in seconds since the epoch",
            "certificate",
        ),
    ),
    *_of(
        (NODE,),
        ("primary", "1 when this is the primary that may acknowledge writes, else 0; as /primary"),
        ("replica", "1 when this is a standby whose chain of streams ends at the primary, else 0"),
        ("in_recovery", "1 when PostgreSQL here is in recovery, 0 when it takes writes or is fenced"),
        ("fenced", "1 when PostgreSQL here refuses writes by default, else 0"),
        ("sealed", "1 when this standby was told to follow nobody, for a promotion, else 0"),
        ("timeline", "timeline of the WAL that is written or received here"),
        ("position_bytes", "the newest WAL here, in bytes since the beginning of all WAL"),
        ("streaming", "1 when the WAL receiver streams, else 0; standbys only"),
        ("lag_bytes", "bytes of the primary's WAL that are not replayed here; standbys only"),
        ("receive_lag_bytes", "bytes of the primary's WAL that are not received here; standbys only"),
        ("lag_seconds", "seconds since the primary was where replay is here, 0 when it still is; standbys only"),
        ("primaries", "servers of this cluster that are seen outside recovery; more than 1 is an alarm"),
        ("nodes_answering", "nodes that answered this host's last look, itself and witnesses included"),
        ("nodes_configured", "nodes that there should be"),
        ("node_answers", "1 when the node answered this host's last look, else 0", "node"),
        ("sync_standbys", "electable standbys that have answered this server in the last 2.5 s; primary only"),
        ("sync_standbys_needed", "how many of them a write needs before it is acknowledged; 0 when asynchronous"),
        ("sender_streaming", "1 when the standby streams from here, 0 while it catches up", "standby"),
        ("sender_sync", "1 when PostgreSQL here counts the standby for synchronous commits, else 0", "standby"),
        ("foreign_senders", "streams of other roles under a standby's name or through its slot; each look ends them"),
        ("sender_lag_bytes", "bytes of WAL here that the standby has not replayed", "standby"),
        ("sender_lag_seconds", "seconds from write here to replay there; none while nothing is written", "standby"),
        ("slot_retained_bytes", "bytes of WAL that the slot keeps", "slot"),
        ("slot_active", "1 when the slot is in use, else 0", "slot"),
        ("slot_lost", "1 when WAL that the slot needs is gone, else 0", "slot"),
        (
            "role_password_not_after_timestamp_seconds",
            "when the role's password ends (VALID UNTIL), in seconds since the epoch; none for one that does not",
            "user",
        ),
        ("pending_restart_settings", "settings that wait for a restart of PostgreSQL"),
        ("archive_age_seconds", "seconds since archive_command last archived a segment"),
        ("archive_failing", "1 when archive_command has failed since it last succeeded, else 0"),
        ("peer_refused_total", "requests at the port for other agents that were refused; the log says whose", "reason"),
        ("job_running", "1 while the agent does this beside its looking, else 0", "job"),
        ("decision_timestamp_seconds", "when the agent last decided so, in seconds since the epoch", "decision"),
    ),
    *_of(
        (NODE, PGPOOL),
        ("primary_changes_total", "how often the agent has seen the primary change: failovers and switchovers"),
        ("primary_changed_timestamp_seconds", "when it last saw that, in seconds since the epoch"),
    ),
    *_of(
        (NODE, WITNESS),
        ("repmgrd_running", "1 when repmgrd runs, else 0"),
        ("repmgrd_paused", "1 when repmgrd is paused, else 0"),
        ("repmgrd_upstream_age_seconds", "seconds since repmgrd last reached its upstream; none on a primary"),
        ("command_timestamp_seconds", "when the command last ended here, in seconds since the epoch", "command"),
        ("command_exit_code", "its exit code then", "command"),
    ),
    *_of(
        (PGPOOL,),
        ("pgpool_backends", "backends that pgpool has"),
        ("pgpool_backend_attached", "1 when this pgpool uses the backend, else 0", "node"),
        ("pgpool_backend_primary", "1 when this pgpool takes the backend for the primary, else 0", "node"),
        ("pgpool_changes_pending", "changes that the agent wants to see in pgpool; above 0 for long is an alarm"),
    ),
    *_of(
        (BARMAN,),
        ("barman_receiving", "1 when WAL is being received, else 0"),
        ("barman_received_age_seconds", "seconds since WAL last came; an idle primary sends none"),
        ("barman_archive_age_seconds", "seconds since the newest complete segment was archived"),
        ("barman_timeline", "timeline of the newest WAL there is"),
        ("barman_backups", "finished backups"),
        ("barman_backup_age_seconds", "seconds since the last finished backup ended"),
        ("barman_backup_size_bytes", "size of the last finished backup, in bytes"),
        ("barman_recoverable_age_seconds", "seconds since the earliest moment that can be restored"),
        ("barman_checks_failed", "checks of `barman check` that fail"),
        ("barman_checks_age_seconds", "seconds since these checks were made"),
    ),
)
NAMES = {metric.name: metric for metric in METRICS}
# Label values -> value.
Samples = dict[str, dict[tuple[str, ...], float]]


class _Sheet:
    """Samples in the making; a value of None makes none."""

    def __init__(self) -> None:
        self.samples: Samples = {}

    def put(self, name: str, value: float | None, *labels: str) -> None:
        metric = NAMES[f"pgherd_{name}"]
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
        if value is not None:
            self.samples.setdefault(metric.name, {})[labels] = float(value)


def samples(cluster: Cluster, seen: AgentView) -> Samples:
    """By metric its samples, of what is known at ``seen.now``."""
    sheet = _Sheet()
    for name, answer in (("health", health.health(cluster, seen)), ("ready", health.ready(cluster, seen))):
        sheet.put(name, _known(answer))
    sheet.put("agent_started_timestamp_seconds", seen.started)
    if seen.description.digest:
        sheet.put("description_info", 1, seen.description.digest, str(SCHEMA_VERSION))
        sheet.put("description_refused", bool(seen.description.refused))
    for part, begun in seen.begun.items():
        sheet.put("agent_tick_age_seconds", max(0.0, seen.now - begun), part)
    for why, count in seen.unanswered.items():
        sheet.put("agent_unanswered_total", count, why)
    for reason, refused in seen.refused.items():
        sheet.put("peer_refused_total", refused, reason)
    for certificate, end in seen.certificates.items():
        sheet.put("certificate_not_after_timestamp_seconds", end, certificate)
    if seen.kind in (NODE, PGPOOL):
        sheet.put("primary_changes_total", seen.changed)
        sheet.put("primary_changed_timestamp_seconds", seen.changed_at)
    for kinds, put in _PUT:
        if seen.kind in kinds:
            put(sheet, cluster, seen)
    return sheet.samples


def _known(answer: health.Health) -> float | None:
    return float(answer.ok) if answer.known else None


def _server(sheet: _Sheet, cluster: Cluster, seen: AgentView) -> None:
    """Of data nodes and witnesses."""
    mine = seen.node.mine if seen.node and seen.now - seen.node.at <= limits.NODE else None
    if mine:
        sheet.put("repmgrd_running", mine.repmgrd)
        if mine.repmgrd and mine.upstream_seen_age >= 0 and (mine.in_recovery or seen.kind == WITNESS):
            sheet.put("repmgrd_upstream_age_seconds", mine.upstream_seen_age)
    if seen.details and seen.now - seen.details.at <= limits.DETAILS:
        sheet.put("repmgrd_paused", seen.details.paused)
    for command, (ended, code) in seen.commands.items():
        sheet.put("command_timestamp_seconds", ended, command)
        sheet.put("command_exit_code", code, command)


def _data(sheet: _Sheet, cluster: Cluster, seen: AgentView) -> None:
    """Of data nodes."""
    sheet.put("primary", _known(health.primary(cluster, seen)))
    follower = health.replica(cluster, seen, Lag())
    sheet.put("replica", follower.more.get("streams", False) if follower.known else None)
    sheet.put("nodes_configured", len(cluster.nodes))
    sheet.put("sync_standbys_needed", acknowledgers(cluster))
    for role, end in seen.passwords.items():
        sheet.put("role_password_not_after_timestamp_seconds", end, role)
    if seen.node and seen.now - seen.node.at <= limits.NODE:
        _node(sheet, cluster, seen, seen.node)
    if seen.details and seen.now - seen.details.at <= limits.DETAILS:
        _details(sheet, cluster, seen.details)


def _node(sheet: _Sheet, cluster: Cluster, seen: AgentView, look: NodeSeen) -> None:
    heard = look.survey.states
    sheet.put("nodes_answering", len(heard))
    for node in cluster.nodes:
        sheet.put("node_answers", node.name in heard, node.name)
    for job in JOBS:
        sheet.put("job_running", look.job == job, job)
    for decision in DECISIONS:
        sheet.put("decision_timestamp_seconds", look.decided.get(decision), decision)
    mine = look.mine
    if mine is None:
        return
    sheet.put("primaries", len(primaries(cluster, look.survey, mine.system_id)))
    sheet.put("foreign_senders", len(foreign(cluster, mine)))
    sheet.put("in_recovery", mine.in_recovery)
    sheet.put("fenced", mine.read_only)
    sheet.put("sealed", mine.sealed)
    sheet.put("timeline", mine.timeline)
    sheet.put("position_bytes", mine.position or None)
    if mine.in_recovery:
        sheet.put("streaming", mine.streaming)
        sheet.put("lag_bytes", seen.lag.size)
        sheet.put("lag_seconds", seen.lag.seconds)
        head = heard.get(look.primary)
        if head and mine.position:
            sheet.put("receive_lag_bytes", max(0, head.position - mine.position))
    else:
        sheet.put("sync_standbys", len(look.backed))


def _details(sheet: _Sheet, cluster: Cluster, details: Details) -> None:
    names = [node.name for node in cluster.data_nodes]
    for sender in details.senders:
        false = not sender.trusted and sender.calls_itself(names)
        if sender.state in ("streaming", "catchup") and not false:
            sheet.put("sender_streaming", sender.state == "streaming", sender.application_name)
            sheet.put("sender_sync", sender.sync_state in ("sync", "quorum"), sender.application_name)
            sheet.put("sender_lag_bytes", sender.lag_bytes, sender.application_name)
            sheet.put("sender_lag_seconds", sender.lag_seconds, sender.application_name)
    for slot in details.slots:
        sheet.put("slot_retained_bytes", slot.retained_bytes, slot.name)
        sheet.put("slot_active", slot.active, slot.name)
        sheet.put("slot_lost", None if slot.wal_status is None else slot.wal_status == "lost", slot.name)
    sheet.put("pending_restart_settings", details.pending_restart)
    sheet.put("archive_age_seconds", details.archived_age)
    sheet.put("archive_failing", details.archive_failing)


def _pgpool(sheet: _Sheet, cluster: Cluster, seen: AgentView) -> None:
    look = seen.pgpool
    if look is None or not health.health(cluster, seen).ok:
        return
    names = {number_of(node.id): node.name for node in cluster.data_nodes}
    sheet.put("pgpool_backends", len(look.table))
    sheet.put("pgpool_changes_pending", len(look.changes))
    for number, node in look.table.items():
        sheet.put("pgpool_backend_attached", node.attached, names.get(number, node.host))
        sheet.put("pgpool_backend_primary", node.attached and node.role == "primary", names.get(number, node.host))


def _barman(sheet: _Sheet, cluster: Cluster, seen: AgentView) -> None:
    view = seen.barman
    if view is None or seen.clock - view.collected_at > limits.BARMAN:
        return
    if "archive" not in view.unread:
        sheet.put("barman_receiving", view.receiving)
        sheet.put("barman_received_age_seconds", _age(seen, view.receiving_at))
        sheet.put("barman_archive_age_seconds", _age(seen, view.last_wal_at))
        sheet.put("barman_timeline", view.wal_timeline)
    if view.backups is not None:
        last = view.last_backup
        sheet.put("barman_backups", sum(backup.finished for backup in view.backups))
        sheet.put("barman_backup_age_seconds", _age(seen, last.end if last else None))
        sheet.put("barman_backup_size_bytes", last.size if last else None)
        sheet.put("barman_recoverable_age_seconds", _age(seen, view.first_recoverable))
    if view.checks is not None:
        sheet.put("barman_checks_failed", len(view.failed_checks))
        sheet.put("barman_checks_age_seconds", _age(seen, view.checked_at))


def _age(seen: AgentView, at: float | None) -> float | None:
    return None if at is None else max(0.0, seen.clock - at)


_PUT: tuple[tuple[tuple[str, ...], Callable[[_Sheet, Cluster, AgentView], None]], ...] = (
    ((NODE, WITNESS), _server),
    ((NODE,), _data),
    ((PGPOOL,), _pgpool),
    ((BARMAN,), _barman),
)


def table(metrics: Iterable[Metric] = METRICS) -> str:
    """The metrics as a table in Markdown, for docs/monitoring.md."""
    kinds: Mapping[str, str] = {NODE: "nodes", WITNESS: "witnesses", PGPOOL: "pgpool", BARMAN: "Barman"}
    lines = ["| metric | type | labels | hosts | what it says |\n|---|---|---|---|---|\n"]
    for metric in metrics:
        hosts = "all" if metric.hosts == EVERY else ", ".join(kinds[kind] for kind in metric.hosts)
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        kind = "counter" if metric.counter else "gauge"
        lines.append(f"| `{metric.name}` | {kind} | {labels} | {hosts} | {metric.help} |\n")
    return "".join(lines)
