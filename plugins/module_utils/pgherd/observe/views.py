# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What each source says, one immutable value per source: PostgreSQL, repmgr's metadata, a pgpool, a barman.

Every part that could not be read is None, with the reason in words in the *why* beside it. Times are seconds since the
epoch, lags and ages seconds, sizes bytes, LSNs text as PostgreSQL prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..model import AGENT_ROLE, TRUSTED_ROLES, build
from ..programs.barman_view import BarmanView
from .server_state import ServerState


@dataclass(frozen=True)
class Sender:
    """A row of pg_stat_replication: who streams from this node. The lags are to replay, as this node sees them.

    *state* is ``streaming``, ``catchup``, ``startup``, ``backup`` or ``stopping``. *reply_age*: since the last message. *role*:
    who it has logged in as; the name alone is what anybody may call himself.
    """

    application_name: str
    state: str
    sync_state: str = "async"
    client: str = ""
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    reply_age: float | None = None
    role: str = AGENT_ROLE

    @property
    def trusted(self) -> bool:
        """Whether it has logged in as standbys do."""
        return self.role in TRUSTED_ROLES

    def calls_itself(self, names: Iterable[str]) -> bool:
        """Whether PostgreSQL takes it for one of *names*: it looks at no capitals (SyncRepGetStandbyPriority())."""
        return self.application_name.lower() in {name.lower() for name in names}


@dataclass(frozen=True)
class Slot:
    """A row of pg_replication_slots. *retained_bytes* is the WAL it holds; *inactive_since* needs PostgreSQL 17."""

    name: str
    type: str
    active: bool
    wal_status: str | None = None
    retained_bytes: int | None = None
    inactive_since: float | None = None


@dataclass(frozen=True)
class Copy:
    """A base backup that is being taken from this node (pg_stat_progress_basebackup); *total_bytes* None: not known."""

    application_name: str
    client: str
    done_bytes: int
    total_bytes: int | None = None


@dataclass(frozen=True)
class PostgresView(ServerState):
    """What PostgreSQL says of itself, as people are shown it: *upstream* is a node's name here, where it is one.

    *replay_age*: since the last replayed transaction was committed. *altered*: settings whose value is ALTER SYSTEM's, which goes
    before all files. *details_why* says why the lists and settings could not be read. *password_ends*: by role when its password
    ends (VALID UNTIL), in seconds since the epoch; *collations*: by database whose collation has another version here than it was
    made with, these two versions. None where that could not be read.
    """

    version: int = 0
    started_at: float = 0.0
    replay_age: float | None = None
    receiver_slot: str = ""
    synchronous_standby_names: str = ""
    pending_restart: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    senders: tuple[Sender, ...] = ()
    slots: tuple[Slot, ...] = ()
    copies: tuple[Copy, ...] = ()
    archive_failing_since: float | None = None
    details_why: str = ""
    password_ends: Mapping[str, float] | None = None
    collations: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Registered:
    """A row of repmgr.nodes."""

    id: int
    name: str
    type: str
    active: bool
    upstream_id: int | None = None
    priority: int = 100
    location: str = "default"


@dataclass(frozen=True)
class Event:
    """A row of repmgr.events."""

    node_id: int
    event: str
    at: float
    successful: bool = True
    details: str = ""


@dataclass(frozen=True)
class RepmgrView:
    """What repmgr's metadata and its daemon say on one node.

    *running* and *paused* are of repmgrd, None where the node has not loaded repmgr's library. *upstream_seen_age*:
    since repmgrd last reached its upstream.
    """

    nodes: tuple[Registered, ...] = ()
    running: bool | None = None
    paused: bool | None = None
    upstream_seen_age: float | None = None
    events: tuple[Event, ...] = ()

    @property
    def armed(self) -> bool:
        """Whether repmgrd would act."""
        return bool(self.running) and not self.paused

    def of(self, name: str) -> Registered | None:
        """The row of the node called *name*."""
        return next((row for row in self.nodes if row.name == name), None)

    def upstream_of(self, name: str) -> str:
        """The upstream's name by this metadata; '' for none or unknown."""
        row = self.of(name)
        wanted = row.upstream_id if row else None
        return next((other.name for other in self.nodes if other.id == wanted), "")


@dataclass(frozen=True)
class NodeView:
    """One node as seen at *seen_at*. *why* says why PostgreSQL, *repmgr_why* why the metadata could not be read. *words* are
    what its agent has read in PostgreSQL's log about why it does not run or stream.

    *addresses* are what its address resolved to, so that others' connections can be told apart.
    """

    name: str
    kind: str
    id: int
    seen_at: float
    postgres: PostgresView | None = None
    why: str = ""
    repmgr: RepmgrView | None = None
    repmgr_why: str = ""
    addresses: tuple[str, ...] = ()
    words: str = ""

    @property
    def refused(self) -> bool:
        """Whether its host answered that nobody listens there."""
        return self.postgres is None and "refused" in self.why

    @property
    def writable(self) -> bool:
        """Whether it runs outside recovery."""
        return self.postgres is not None and not self.postgres.in_recovery


@dataclass(frozen=True)
class BackendView:
    """One backend as one pgpool sees it: *id* is pgpool's number for it, *status* and *role* are pgpool's own state,
    *pg_status* and *pg_role* what it found on asking ('' where the version does not say). *node* is the node's name, or
    the host of a stranger. *since*: when *status* last changed."""

    id: int
    node: str
    status: str
    role: str
    pg_status: str = ""
    pg_role: str = ""
    since: float | None = None


@dataclass(frozen=True)
class PgpoolView:
    """One pgpool as seen at *seen_at*; *backends* is None when it did not answer, for the reason *why*."""

    name: str
    seen_at: float
    backends: tuple[BackendView, ...] | None = None
    why: str = ""

    def backend(self, node: str) -> BackendView | None:
        """Its view of one node."""
        return next((backend for backend in self.backends or () if backend.node == node), None)


@dataclass(frozen=True)
class CertificateSeen:
    """A certificate: *host* whose it is, '' for the authority. *ends*: in seconds since the epoch, None where that could not
    be read; *why* it is not accepted then, '' where nobody showed one."""

    host: str
    ends: float | None = None
    why: str = ""


@dataclass(frozen=True)
class BarmanSeen:
    """One barman host as seen at *seen_at*; *view* is None when it could not be asked, for the reason *why*."""

    name: str
    seen_at: float
    view: BarmanView | None = None
    why: str = ""


def _tuples(kind: Any, rows: Any) -> tuple[Any, ...]:
    return tuple(build(kind, row) for row in rows)


def node_view(data: Mapping[str, Any]) -> NodeView:
    """A NodeView from its plain data."""
    postgres, repmgr = data["postgres"], data["repmgr"]
    lists = {"senders": Sender, "slots": Slot, "copies": Copy}
    if postgres:
        rows = {key: _tuples(kind, postgres[key]) for key, kind in lists.items()}
        rows.update({key: tuple(postgres.get(key, ())) for key in ("pending_restart", "altered", "replaces")})
        postgres = build(PostgresView, {**postgres, **rows})
    if repmgr:
        rows = {"nodes": _tuples(Registered, repmgr["nodes"]), "events": _tuples(Event, repmgr["events"])}
        repmgr = build(RepmgrView, {**repmgr, **rows})
    return build(NodeView, {**data, "postgres": postgres, "repmgr": repmgr, "addresses": tuple(data["addresses"])})


def pgpool_view(data: Mapping[str, Any]) -> PgpoolView:
    """A PgpoolView from its plain data."""
    backends = data["backends"]
    return build(PgpoolView, {**data, "backends": None if backends is None else _tuples(BackendView, backends)})


def barman_seen(data: Mapping[str, Any]) -> BarmanSeen:
    """A BarmanSeen from its plain data."""
    view = data["view"]
    return build(BarmanSeen, {**data, "view": BarmanView.from_dict(view) if view else None})
