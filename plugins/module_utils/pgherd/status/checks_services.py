# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What can be wrong by what the pgpools and barman say, beside what PostgreSQL says."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import PCP_USER, Barman, Cluster, Pgpool, lsn_to_int
from ..observe.topology import Topology
from ..observe.views import BackendView, PgpoolView
from ..ports.services import AGENT, BACKUP, PGPOOL, RECEIVER
from ..programs.barman_view import UNFINISHED, WAITING, BarmanView
from ..programs.pgpool import PCP_PASSFILE
from .problem import (
    CRITICAL,
    SITE,
    START,
    UNKNOWN,
    WARNING,
    Cure,
    Problem,
    Thresholds,
    barman,
    blind,
    duration,
    names,
    restart,
    shut_out,
)

SEGMENT = 16 << 20
SEGMENTS_PER_FILE = (1 << 32) // SEGMENT
DOWN = ("down", "quarantine", "unused")


def pgpools(cluster: Cluster, topology: Topology) -> Iterator[Problem]:
    """Pgpools that do not answer, and those that see the nodes otherwise than PostgreSQL does."""
    silent = [view.name for view in topology.pgpools if view.backends is None]
    for pool in cluster.pgpools:
        view = next((item for item in topology.pgpools if item.name == pool.name), None)
        if view is None:
            continue
        if view.backends is None:
            severity = UNKNOWN if blind(topology) else CRITICAL if len(silent) == len(topology.pgpools) else WARNING
            text = f"pgpool on {pool.name} does not answer: {view.why}"
            cure = SITE if shut_out(view.why) else restart(PGPOOL, pool.name)
            yield Problem("pgpool-down", severity, pool.name, text, cure)
        else:
            yield from _backends(cluster, topology, pool, view)


def _backends(cluster: Cluster, topology: Topology, pool: Pgpool, view: PgpoolView) -> Iterator[Problem]:
    live = topology.live_primary()
    for node in cluster.data_nodes:
        backend, seen = view.backend(node.name), topology.node(node.name)
        if not backend:
            text = f"{node.name} is not a backend of {pool.name}"
            yield Problem("backend-missing", WARNING, pool.name, text, SITE)
        elif seen:
            yield from _backend(cluster, topology, pool, backend, seen.name)
    serving = [backend for backend in view.backends or () if backend.status not in DOWN]
    claimed = [backend.node for backend in serving if backend.role == "primary"]
    if live and claimed != [live.name]:
        text = f"{pool.name} takes {names(claimed) or 'no node'} for the primary; it is {live.name}"
        yield Problem("pgpool-primary", CRITICAL, pool.name, text, restart(PGPOOL, pool.name))


def _backend(cluster: Cluster, topology: Topology, pool: Pgpool, backend: BackendView, name: str) -> Iterator[Problem]:
    live, view = topology.live_primary(), topology.node(name)
    is_primary = live is not None and live.name == name

    def pcp(program: str) -> Cure:
        login = f"-h localhost -p {cluster.pcp_port} -U {PCP_USER} -w"
        return Cure(f"env PCPPASSFILE={PCP_PASSFILE} {program} {login} -n {backend.id}", pool.name)

    if backend.status in DOWN and (is_primary or name in topology.streaming_standbys()):
        severity = CRITICAL if is_primary else WARNING
        text = f"{pool.name} has {name} {backend.status}, PostgreSQL there runs"
        yield Problem("backend-down", severity, pool.name, text, pcp("pcp_attach_node"), backend.since)
    elif backend.status not in DOWN and view and not view.postgres and not shut_out(view.why):
        text = f"{pool.name} has {name} {backend.status}, PostgreSQL there does not answer"
        yield Problem("backend-stale", WARNING, pool.name, text, pcp("pcp_detach_node"), backend.since)
    elif backend.status not in DOWN and view and view.writable and live and not is_primary:
        text = f"{pool.name} has {name} {backend.status}, a second primary"
        yield Problem("backend-stale", CRITICAL, pool.name, text, pcp("pcp_detach_node"), backend.since)


def barmans(cluster: Cluster, topology: Topology, limits: Thresholds) -> Iterator[Problem]:
    """Whether there is a recent finished backup, the archive keeps up, and barman itself is content."""
    for host in cluster.barmans:
        seen = next((item for item in topology.barmans if item.name == host.name), None)
        if seen is None:
            continue
        if seen.view is None:
            text = f"barman on {host.name} cannot be asked: {seen.why}"
            cure = SITE if shut_out(seen.why) else restart(AGENT, host.name)
            yield Problem("barman-unreadable", UNKNOWN, host.name, text, cure)
        else:
            yield from _backup(cluster, topology, host, seen.view, limits)
            yield from _checks(cluster, host, seen.view)
            yield from _archive(cluster, topology, host, seen.view, limits)


def _backup(
    cluster: Cluster, topology: Topology, host: Barman, view: BarmanView, limits: Thresholds
) -> Iterator[Problem]:
    # `barman backup` alone leaves it waiting for its last WAL file, which an idle primary does not fill.
    last, cure = view.last_backup, Cure(BACKUP, host.name, START)
    if view.backups is None:
        text = f"the catalogue of barman on {host.name} cannot be read: {view.unread.get('catalogue', 'not yet read')}"
        yield Problem("barman-unreadable", UNKNOWN, host.name, text, restart(AGENT, host.name))
    elif not last and any(backup.status in (*UNFINISHED, WAITING) for backup in view.backups):
        text = f"there is no finished backup on {host.name} yet; the first one runs"
        watch = barman(cluster, host.name, "list-backups")
        yield Problem("no-backup", WARNING, host.name, text, watch)
    elif not last:
        yield Problem("no-backup", CRITICAL, host.name, f"there is no finished backup on {host.name}", cure)
    elif last.end is not None and topology.seen_at - last.end > limits.backup_age:
        text = f"the last finished backup on {host.name} ended {duration(topology.seen_at - last.end)} ago"
        yield Problem("backup-old", WARNING, host.name, text, cure, last.end + limits.backup_age)


def _checks(cluster: Cluster, host: Barman, view: BarmanView) -> Iterator[Problem]:
    cure = barman(cluster, host.name, "check")
    for check in view.failed_checks:
        yield Problem("barman-check", WARNING, host.name, f"barman check on {host.name} failed: {check}", cure)
    if view.checks is None and "check" in view.unread:
        text = f"barman check on {host.name} cannot be run: {view.unread['check']}"
        yield Problem("barman-unreadable", UNKNOWN, host.name, text, cure)


def _archive(
    cluster: Cluster, topology: Topology, host: Barman, view: BarmanView, limits: Thresholds
) -> Iterator[Problem]:
    if view.receiving is False:
        text = f"barman on {host.name} does not receive WAL"
        # Barman's cron would start one that nobody restarts.
        cure = restart(RECEIVER, host.name)
        yield Problem("barman-not-receiving", WARNING, host.name, text, cure, view.not_receiving_since)
    behind, age = segments_behind(topology, view), wal_age(topology, view)
    if behind is not None and behind > 1 and (age is None or age > limits.wal_age):
        text = f"the WAL archive on {host.name} is {behind} segments behind the primary"
        cure = barman(cluster, host.name, "cron")
        yield Problem("archive-behind", WARNING, host.name, text, cure, view.last_wal_at)


def wal_age(topology: Topology, view: BarmanView) -> float | None:
    """Seconds since the newest segment came into the archive."""
    return None if view.last_wal_at is None else max(0.0, topology.seen_at - view.last_wal_at)


def segments_behind(topology: Topology, view: BarmanView) -> int | None:
    """Finished segments that the primary has written beyond the newest one in the archive; None if unknown.

    A segment's name is its timeline and the two halves of its number, for segments of 16 MiB, which is what ``initdb``
    makes unless told otherwise (manual, 28.6 "WAL Internals").
    """
    live, last = topology.live_primary(), view.last_wal
    if not live or not live.postgres or not live.postgres.write_lsn or len(last) != 24:
        return None
    archived = int(last[8:16], 16) * SEGMENTS_PER_FILE + int(last[16:], 16)
    return max(0, lsn_to_int(live.postgres.write_lsn) // SEGMENT - archived - 1)
