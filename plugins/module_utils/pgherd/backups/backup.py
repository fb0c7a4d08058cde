# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The one state of a Barman host: it receives WAL, all its checks are good, and it has a backup to restore."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import Conflict, Unreachable
from ..model import BARMAN_ROLE, Cluster
from ..plan import Plan, Step
from ..ports.services import AGENT, CRON, RECEIVER, SCHEDULE, Services
from ..ports.sql import Server, connect
from ..programs import barman, barman_view
from ..programs.barman import Client
from ..programs.barman_view import Backup, Check
from ..render import conf_barman
from ..render.conf_barman import BarmanLayout

# Opens a session on the primary; its argument bounds each statement, in seconds.
Open = Callable[[float], AbstractContextManager[Server]]

_SLOT = """
SELECT slot_type AS type, active, restart_lsn IS NOT NULL AS used, coalesce(wal_status, '') AS wal_status
  FROM pg_replication_slots
 WHERE slot_name = %s
"""


@dataclass(frozen=True)
class BarmanSlot:
    """Barman's replication slot on the primary. *used*: somebody has received through it. *lost*: its WAL is gone."""

    active: bool
    used: bool = True
    lost: bool = False


@dataclass(frozen=True)
class BackupState:
    """What is there; the default is a host where nothing is yet.

    *why* says why the primary could not be asked, '' when it was. *idle* are services that do not run, *stale* those that
    run since before their files were written. *backing_up*: Barman takes a backup right now. *gap*: WAL is missing since
    the last backup.
    """

    configured: bool = False
    why: str = ""
    slot: BarmanSlot | None = None
    idle: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    backups: tuple[Backup, ...] = ()
    backing_up: bool = False
    gap: bool = False

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.ok)

    @property
    def archived(self) -> bool:
        """Whether any WAL file has been archived: Barman shows this check only when it fails."""
        return self.configured and all(check.name != barman.CHECK_ARCHIVE for check in self.failed)

    @property
    def finished(self) -> tuple[Backup, ...]:
        """Backups that can be restored, newest first."""
        return tuple(backup for backup in self.backups if backup.finished)

    @property
    def remains(self) -> tuple[Backup, ...]:
        """See barman_view.remains()."""
        return barman_view.remains(self.backups, self.backing_up)

    def shown(self) -> dict[str, Any]:
        """Plain data for people."""
        return {
            "replication_slot": bool(self.slot) and not (self.slot and self.slot.lost),
            "units_running": self.configured and not self.idle and not self.stale,
            "wal_archived": self.archived,
            "finished_backup": bool(self.finished) and not self.gap,
            "failed_checks": [str(check) for check in self.failed],
        }


def opener(cluster: Cluster) -> Open:
    """Opens sessions on the primary, whichever node it is, as Barman's role. The opener raises Unreachable with what
    each data node answered.

    The nodes are asked one by one: psycopg before 3.1.13 spends *connect_timeout* on all hosts of a list together.
    """
    parameters = {**conf_barman.connection(cluster, BARMAN_ROLE), "passfile": conf_barman.PASSFILE}

    @contextmanager
    def open_(timeout: float) -> Iterator[Server]:
        reasons = []
        with ExitStack() as stack:
            for node in cluster.data_nodes:
                try:
                    session = connect(node.name, {**parameters, "host": node.address}, timeout)
                    server = stack.enter_context(session)
                    break
                except Unreachable as error:
                    reasons.append(str(error))
            else:
                raise Unreachable("find the primary: no data node takes writes: " + "; ".join(reasons))
            yield server

    return open_


def observe(
    place: BarmanLayout,
    client: Client,
    services: Services,
    open_: Open,
    reads: Mapping[str, tuple[str, ...]],
    written: Callable[[str], float | None] | None = None,
) -> BackupState:
    """What is there on this host. *reads* has the services to run, each with the files it reads at its start.

    *written* gives a file's time of writing in seconds since the epoch, None when there is none (default: the disk's).
    Raises what Barman's commands raise; that the primary does not answer is part of the BackupState.
    """
    written = written or _written
    times = {service: [written(path) for path in paths] for service, paths in reads.items()}
    if None in times[RECEIVER]:
        return BackupState()
    slot, why = None, ""
    try:
        slot = observe_slot(open_, place.slot)
    except Unreachable as error:
        why = str(error)
    since = {service: services.since(service) for service in reads}
    running = {service: at for service, at in since.items() if at is not None}
    return BackupState(
        configured=True,
        why=why,
        slot=slot,
        idle=tuple(service for service in reads if service not in running),
        # Whole seconds are compared: since() says no more.
        stale=tuple(service for service, at in running.items() if any(int(time or 0) > at for time in times[service])),
        checks=client.checks(),
        backups=client.backups(),
        backing_up=barman.running(place.lock_directory, place.server, "backup"),
        gap=written(place.gap_file) is not None,
    )


def _written(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def observe_slot(open_: Open, name: str) -> BarmanSlot | None:
    """The slot called *name* on the primary. Raises Unreachable without a primary, Conflict for a logical slot."""
    with open_(10.0) as server:
        rows = server.rows(_SLOT, [name])
    if not rows:
        return None
    row = rows[0]
    if row["type"] != "physical":
        raise Conflict(
            f"Barman's replication slot {name} on the primary",
            "a physical slot",
            f"a {row['type']} one",
            "Drop it if nobody needs it, or set slot_name in cluster_barman_settings.",
        )
    return BarmanSlot(row["active"], row["used"], row["wal_status"] == "lost")


def plan(place: BarmanLayout, state: BackupState) -> Plan:
    """The way to the one state. Every step is safe to repeat: a run that was interrupted goes on where it ended.

    Raises Conflict when the backups that are there are of another cluster.
    """
    _refuse_other_cluster(state)
    lost = bool(state.slot and state.slot.lost)
    steps = [*_slot_steps(place, state, lost), *_service_steps(state, lost)]
    if not state.archived:
        steps.append(Step("archive", "have a first WAL file archived"))
    waiting = [backup for backup in state.backups if backup.status == barman_view.WAITING]
    # After a gap in the WAL, older backups can be restored only up to the gap.
    gap = lost or state.gap
    if gap or not state.finished:
        if waiting and not gap:
            steps.append(
                Step("complete", f"have the WAL of backup {waiting[0].id} archived", {"backup": waiting[0].id})
            )
        else:
            verb = "wait for the backup that is being taken" if state.backing_up else "take a backup"
            steps.append(Step("backup", verb, {"joined": state.backing_up}))
    steps += [
        Step("delete", f"delete what backup {backup.id} left, which is {backup.status}", {"backup": backup.id})
        for backup in state.remains
    ]
    after = {**state.shown(), "failed_checks": []}
    after.update(dict.fromkeys(("replication_slot", "units_running", "wal_archived", "finished_backup"), True))
    if steps:
        steps.append(Step("confirm", "see that all checks are good"))
    return Plan(f"backups of {place.server}", state.shown(), after if steps else state.shown(), tuple(steps))


def _refuse_other_cluster(state: BackupState) -> None:
    for check in state.failed:
        if check.name == barman.CHECK_IDENTITY:
            raise Conflict(
                "the backups here are of another cluster than the one that runs",
                "the system identifier in identity.json",
                check.hint or "another one",
                "Move the server's directory away if they are not needed, or set another cluster_barman_directory.",
            )


def _slot_steps(place: BarmanLayout, state: BackupState, lost: bool) -> list[Step]:
    steps = []
    if lost:
        steps.append(Step("stop", f"stop {RECEIVER}", {"service": RECEIVER}))
        steps.append(Step("drop_slot", f"drop the slot {place.slot}, whose WAL the primary has removed"))
    if lost or state.slot is None:
        steps.append(Step("create_slot", f"create the slot {place.slot} on the primary"))
    if lost:
        steps.append(Step("reset", "receive WAL from now on, leaving a gap"))
    return steps


def _service_steps(state: BackupState, lost: bool) -> list[Step]:
    steps = [Step("restart", f"restart {name}, whose files changed", {"service": name}) for name in state.stale]
    idle = state.idle
    if not state.configured:
        idle = (CRON, SCHEDULE, RECEIVER, AGENT)
    if lost and RECEIVER not in (*idle, *state.stale):
        idle = (*idle, RECEIVER)
    return steps + [Step("start", f"start {name}", {"service": name}) for name in idle]
