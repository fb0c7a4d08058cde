# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Looking at one node, and carrying out the plan of node.py on its host."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from ..data import incarnation
from ..data.clone import Staging
from ..data.datadir import SIGNAL, written
from ..data.outside import LOCATIONS
from ..data.postmaster import stop_postmaster
from ..data.rejoin_marker import alone, mark, marked, unmark
from ..errors import Conflict, PgherdError, SqlError, Unreachable
from ..model import REPMGR_DATABASE, Cluster, Node
from ..objects import orders
from ..objects.identity import MEMBERS_SQL, SETTING, parse_members, renamed
from ..observe import gather as observe
from ..observe.topology import Topology
from ..ports.here import Here
from ..ports.services import POSTGRES
from ..ports.sql import PsycopgServer, Server, connect, parse_conninfo
from ..ports.wait import last_look, or_silent, reason_left
from ..programs.postgres import control_data, newest_timeline
from ..programs.repmgr import (
    Record,
    Repmgr,
    agent_parameters,
    node_conninfo,
    node_parameters,
    record_removed,
    records,
)
from . import instance
from .instance import local_login
from .instance_apply import STREAMING
from .seen import NodeObservation

# Seconds for which a primary that standbys stream from may leave looks without an answer: a busy host does.
BUSY = 15.0
# Seconds that a server which is not its service's may take to stop.
BY_HAND = 60.0
# repmgr's metadata must not wait for standbys: they may be what is missing (repmgr's own sessions say so too).
LOCAL_COMMIT = "-c synchronous_commit=local -c statement_timeout=10000"


def repmgr_session(cluster: Cluster, node: Node) -> AbstractContextManager[PsycopgServer]:
    """A session on *node* as repmgr's role, in its database, that does not wait for synchronous standbys."""
    return connect(node.name, {**node_parameters(cluster, node), "options": LOCAL_COMMIT})


def slot_session(cluster: Cluster, node: Node) -> AbstractContextManager[PsycopgServer]:
    """A session on the data node *node* of the one role that makes and drops slots."""
    return connect(node.name, {**agent_parameters(cluster, node), "options": LOCAL_COMMIT})


def look(here: Here) -> NodeObservation:
    """Ask this host and all nodes. A host without PostgreSQL, or without psycopg, is one without data and answers.

    Raises Unreachable when the live primary does not let repmgr's role in.
    """
    cluster, mine = here.cluster, instance.observe(here)
    topology = look_around(cluster)
    live = topology.live_primary()
    rows: tuple[Record, ...] = ()
    if live:
        with repmgr_session(cluster, cluster.node(live.name)) as server:
            rows = registered(server)
    seen = NodeObservation(mine, topology, rows, interrupted=bool(marked()))
    if mine.role == "standby":
        with connect(here.me, local_login(cluster, here.layout)) as server:
            query = (
                "SELECT current_setting('primary_conninfo') AS conninfo, current_setting('primary_slot_name') AS slot"
            )
            row = server.rows(query)[0]
        return replace(seen, primary_conninfo=row["conninfo"], slot=row["slot"])
    if mine.data == "cluster" and mine.standby:
        settings = written_settings(here.layout.data)
        return replace(seen, primary_conninfo=settings[0], slot=settings[1])
    return seen


def look_around(cluster: Cluster, patience: float = BUSY) -> Topology:
    """All nodes. Asked again for *patience* seconds while no primary answers, but standbys stream from a node that does
    not answer: what a node is registered as would be left alone."""
    nodes = replace(cluster, pgpools=(), barmans=())

    def enough(topology: Topology) -> bool:
        above = {topology.upstream(node.name) for node in cluster.data_nodes} - {""}
        silent = any(view.name in above and not view.postgres for view in topology.nodes)
        return bool(topology.live_primary()) or not silent

    return last_look(lambda: observe.observe(nodes), enough, patience, 0.5)


def registered(server: Server) -> tuple[Record, ...]:
    """repmgr.nodes; empty where the extension is not there yet."""
    try:
        return records(server)
    except SqlError as error:
        if error.sqlstate in ("42P01", "3F000"):
            return ()
        raise


def written_settings(directory: str) -> tuple[str, str]:
    """primary_conninfo and primary_slot_name of a stopped server, by its postgresql.auto.conf."""
    found = written(directory)
    return found.get("primary_conninfo", ""), found.get("primary_slot_name", "")


class NodeExecutor:
    """Does the plan's steps here. *timeout* in seconds bounds each wait for another node."""

    def __init__(self, here: Here, timeout: float = 300.0, rejoin: Callable[[str], object] | None = None) -> None:
        """*rejoin* brings this node back below the one it is given (nodes/rejoin.py, which stands above this)."""
        self._rejoin = rejoin
        self._here = here
        self._cluster = here.cluster
        self._node = here.node
        self._name = here.me
        self._services = here.services
        self._timeout = timeout
        self._directory = here.layout.data
        self._repmgr = Repmgr(here.runner, here.layout)
        options = here.cluster.options
        self._staging = Staging(
            here.layout,
            options.wal_directory,
            tuple(item["location"] for item in options.tablespaces),
        )

    def clone(self, upstream: str, wipe: bool, source: str = "") -> None:
        """Have the data of *upstream* in the data directory when it is ready for that, copied from its standby *source* where one
        is named. Where the node's agent was at it first, what that has made is taken."""
        with alone(self._name, self._timeout) as waited:
            if (waited or not wipe) and self._staging.filled() and not marked():
                return
            self.copy(upstream, wipe, source)
            unmark()

    def copy(self, upstream: str, wipe: bool, source: str = "") -> None:
        """The same for whoever is alone() with the data directory. What is wiped is marked, and stays so."""
        above, origin = self._cluster.node(upstream), self._cluster.node(source or upstream)
        attempted = f"clone {self._name} from {origin.name}"
        self._staging.end_orphans()
        for node in dict.fromkeys((origin.name, upstream)):
            self.ready(node, attempted)
            self._wait(lambda node=node: self._copying(self._cluster.node(node)), attempted)  # type: ignore[misc]
        self.may_clone(upstream, wipe)
        self._tell_the_record(attempted)
        with open(self._here.layout.repmgr, encoding="utf-8") as stream:
            config = stream.read()
        if wipe:
            # Nobody starts it from now on, and what was started since it was looked at ends.
            mark(f"clone from {upstream}")
            self.stop()
            self._leave()
        self._staging.prepare(config, wipe)
        copier = Repmgr(self._here.runner, self._here.layout, self._staging.config)
        try:
            copier.clone(node_conninfo(self._cluster, origin), above.id)
        finally:
            self._staging.end_orphans()
        own = incarnation.following(self._directory)
        self._staging.sign({**self._stream_as(above), SETTING: str(own.shown)})
        self._staging.adopt()
        incarnation.settle(own)

    def _tell_the_record(self, attempted: str) -> None:
        """Have the record, where there is one, say that another node than the first has data, before it does."""
        if self._here.record is None:
            return
        try:
            if not self._here.record.read().grown and not self._here.record.grow().grown:
                raise Unreachable("another change of it came first; it is tried again")
        except Unreachable as error:
            # A node that had data is one of those of which it says so already.
            if not incarnation.known(self._directory):
                raise Unreachable(
                    f"{attempted}: the record of the initialisation cannot be written: {error}"
                ) from error

    def ready(self, upstream: str, attempted: str = "") -> None:
        """Wait until one can stream from *upstream*. Raises Unreachable with why not, for what is *attempted*."""
        source = self._cluster.node(upstream)
        self._wait(lambda: self._ready(source), attempted or f"clone {self._name} from {upstream}")

    def may_clone(self, upstream: str, wipe: bool) -> None:
        """Raise InTheWay where a copy of *upstream* would fail on what is here, its tablespaces' places among it, also of those
        that the inventory does not know. Touches nothing."""
        with repmgr_session(self._cluster, self._cluster.node(upstream)) as server:
            rows = server.rows(LOCATIONS)
        self._staging.expect({str(row["location"]): str(row["name"]) for row in rows}, wipe)

    def _leave(self) -> None:
        """Note that the data here go for good, and where they stood as a standby."""
        if not incarnation.known(self._directory):
            return
        host = parse_conninfo(written_settings(self._directory)[0]).get("host", "")
        upstream = self._cluster.node_at(host)
        timeline = 0
        if upstream and os.path.exists(os.path.join(self._directory, SIGNAL)):
            with suppress(PgherdError):
                timeline = newest_timeline(control_data(self._here.layout, self._here.runner))
        incarnation.emptying(self._directory, timeline, upstream if timeline else "")

    def _stream_as(self, source: Node) -> dict[str, str]:
        """How the copy is to stream where it must not do so under the node's name: another has been admitted under that, and
        may confirm commits to this day."""
        if self._cluster.durability != "strict" or self._name not in self._cluster.electable_names:
            return {}
        with slot_session(self._cluster, source) as server:
            members = parse_members(server.rows(f"SELECT {MEMBERS_SQL} AS members")[0]["members"])
        if self._name not in (members or {}):
            return {}
        conninfo_ = written_settings(self._staging.data)[0]
        return {"primary_conninfo": renamed(conninfo_, self._name, new=True)}

    def replace(self, old: str, upstream: str, timeline: int) -> None:
        """Take a person's word that the data called *old*, which counted under this node's name, are gone for good, and that
        these here stand in their place below the primary *upstream* on its *timeline*."""
        incarnation.replaced(self._directory, old, timeline, upstream)

    def start(self) -> None:
        """Start PostgreSQL and wait until it answers, and streams where it is a standby."""
        self._staging.clean()
        self._services.start(POSTGRES, timeout=3600)
        self._wait(self._answers, f"start {self._name}", f"Its reason: {self._services.log(POSTGRES)}")

    def rejoin(self, upstream: str) -> None:
        """Come back below *upstream*."""
        if self._rejoin is None:
            raise Unreachable(f"bring {self._name} back: rejoin is not available here.", "Use the playbook rejoin.")
        self._rejoin(upstream)

    def stop(self) -> None:
        """Stop PostgreSQL, also a server that somebody has started past its service, which knows nothing of it."""
        self._services.stop(POSTGRES, timeout=3600)
        if not stop_postmaster(self._directory, BY_HAND, BY_HAND):
            raise Conflict(
                f"Stop PostgreSQL on {self._name}",
                f"no server in {self._directory}",
                f"one that was started past its service, and does not end within {BY_HAND:.0f} s",
                "Stop it, and run the playbook again.",
            )

    def register_primary(self) -> None:
        """Write this node's row as the primary, once it is one."""
        query = "SELECT 'it is a standby' WHERE pg_is_in_recovery()"
        self._wait(lambda: self._local(query), f"register {self._name} as primary")
        self._repmgr.register_primary()

    def register_standby(self, upstream: str) -> None:
        """Write this standby's row, once it streams."""
        query = f"SELECT 'it does not stream' WHERE NOT EXISTS ({STREAMING})"
        attempted = f"register {self._name} as standby of {upstream}"
        self._wait(
            lambda: self._local(query), attempted, f"Its reason: {self._services.log(POSTGRES)} on {self._name}."
        )
        # Where it replays late by design, its own row comes late too; its repmgrd, started again and again, waits for that.
        wait = 0 if self._node.delay else max(1, int(self._timeout))
        self._repmgr.register_standby(self._cluster.node(upstream).id, wait)

    def register_witness(self, upstream: str) -> None:
        """Write this witness' row on the primary *upstream*, and its copy of all rows."""
        primary = self._cluster.node(upstream)
        attempted = f"register {self._name} as witness of {upstream}"
        self._wait(self._answers, attempted)
        self._wait(lambda: self._ready(primary), attempted)
        self._repmgr.register_witness(node_conninfo(self._cluster, primary))

    def follow(self, upstream: str) -> None:
        """Stream from *upstream*."""
        target = self._cluster.node(upstream)
        self._wait(lambda: self._ready(target), f"let {self._name} follow {upstream}")
        self._repmgr.follow(target.id)

    def stream(self, upstream: str, conninfo: str, slot: str) -> None:
        """Stream from the same *upstream* with other parameters; ``standby follow`` refuses that while it streams."""
        source = self._cluster.node(upstream)
        self._wait(lambda: self._ready(source), f"let {self._name} stream from {upstream}")
        if slot:
            self.make_slot(upstream, slot)
        # All standbys of a level are pointed at the same time: a login that fails would leave the primary without any. A receiver
        # looks its password up for the database "replication" (libpqwalreceiver.c).
        more = {"dbname": "replication", "replication": "true", "application_name": "pgherd"}
        with connect(source.name, {**parse_conninfo(conninfo), **more}) as stream:
            stream.rows("IDENTIFY_SYSTEM")
        with connect(self._name, local_login(self._cluster, self._here.layout)) as server:
            orders.point(server, conninfo, slot or None)

    def make_slot(self, upstream: str, slot: str) -> None:
        """Make the physical *slot* on *upstream*, holding WAL from now on, unless it is there."""
        with slot_session(self._cluster, self._cluster.node(upstream)) as server:
            orders.make_slot(server, slot)

    def leave_slot(self, slot: str) -> None:
        """Stream without *slot*, and drop it where it is."""
        with connect(self._name, local_login(self._cluster, self._here.layout)) as server:
            server.run("ALTER SYSTEM RESET primary_slot_name")
            orders.reload(server)
        self._wait(
            lambda: self._local("SELECT 'its receiver holds the slot' FROM pg_stat_wal_receiver WHERE slot_name <> ''"),
            f"let {self._name} stream without slot {slot}",
        )
        self.drop_slot(slot, [node.name for node in self._cluster.data_nodes if node.name != self._name])

    def drop_slot(self, slot: str, nodes: Sequence[str]) -> None:
        """Drop the physical slot on those of *nodes* that answer, once nobody streams through it."""
        for name in nodes:
            node = self._cluster.node(name)
            self._wait(lambda node=node: self._drop(node, slot), f"drop slot {slot} on {name}")  # type: ignore[misc]

    def unregister(self, record: Record) -> None:
        """Remove *record* from the metadata."""
        live = observe.observe(replace(self._cluster, pgpools=(), barmans=())).live_primary()
        if not live:
            raise Unreachable(f"unregister {self._name}: no primary answers.", "Run again when there is one.")
        primary = self._cluster.node(live.name)
        with repmgr_session(self._cluster, primary) as server:
            record_removed(server, record.node_id, primary.id)

    # Conditions: '' when met, else the reason why not.

    def _ready(self, node: Node) -> str:
        """Whether one can stream from *node*: it answers repmgr's role, is registered, and a standby streams itself."""
        with repmgr_session(self._cluster, node) as server:
            if not any(row.node_id == node.id for row in registered(server)):
                return f"{node.name} is not registered yet"
            query = "SELECT 1 WHERE pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"
            return f"{node.name} has no upstream itself" if server.rows(query) else ""

    def _copying(self, source: Node) -> str:
        """Whether a clone that was interrupted, but whose programs live on or are not yet missed, still runs."""
        query = (
            "SELECT 'an earlier copy to it still runs' AS reason FROM pg_stat_replication"
            " WHERE application_name = 'pg_basebackup' AND client_addr = inet_client_addr()"
            " UNION ALL SELECT 'its slot is still in use' FROM pg_replication_slots WHERE slot_name = %s AND active"
        )
        with repmgr_session(self._cluster, source) as server:
            rows = server.rows(query, (self._node.slot,))
        return str(rows[0]["reason"]) if rows else ""

    def _answers(self) -> str:
        return self._local("SELECT '' WHERE false")

    def _local(self, query: str) -> str:
        """Ask the server on this host; *query* gives a row with the reason why not."""
        with connect(self._name, local_login(self._cluster, self._here.layout, REPMGR_DATABASE)) as server:
            rows = server.rows(query)
        return str(next(iter(rows[0].values()))) if rows else ""

    def _drop(self, node: Node, slot: str) -> str:
        try:
            with slot_session(self._cluster, node) as server:
                return "" if orders.drop_idle_slot(server, slot) else "somebody streams through it"
        except Unreachable:
            return ""

    def _wait(self, condition: Callable[[], str], attempted: str, cure: str = "") -> None:
        """Poll until *condition* is met. Raises Unreachable with the last reason after the timeout."""
        if reason := reason_left(or_silent(condition), self._timeout, 0.2):
            raise Unreachable(f"{attempted}: not possible within {self._timeout:g} s: {reason}.", cure)
