# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Looking at one node, and carrying out the plan of node.py on its host."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from ..errors import SqlError, Unreachable
from ..files import conf_postgres
from ..model import REPMGR_DATABASE, Cluster, Node
from ..observe import gather as observe
from ..observe.topology import Topology
from ..ports.run import Runner
from ..ports.service import Service
from ..ports.sql import PsycopgServer, Server, connect, literal
from ..programs.repmgr import Record, Repmgr, configuration_file, node_conninfo, node_parameters, records
from . import instance
from .clone import Staging
from .instance import local_login
from .mark import marked
from .seen import Seen

# Seconds for which a primary that standbys stream from may leave looks without an answer: a busy host does.
BUSY = 15.0
# repmgr's metadata must not wait for standbys: they may be what is missing (repmgr's own sessions say so too).
LOCAL_COMMIT = "-c synchronous_commit=local -c statement_timeout=10000"


def session(cluster: Cluster, node: Node) -> AbstractContextManager[PsycopgServer]:
    """A session on *node* as repmgr's role, in its database, that does not wait for synchronous standbys."""
    return connect(node.name, {**node_parameters(cluster, node), "options": LOCAL_COMMIT})


def look(cluster: Cluster, name: str, version: int, runner: Runner) -> Seen:
    """Ask this host and all nodes. A host without PostgreSQL, or without psycopg, is one without data and answers.

    Raises Unreachable when the live primary does not let repmgr's role in.
    """
    here = instance.observe(cluster, name, version, runner)
    topology = look_around(cluster)
    live = topology.live_primary()
    rows: tuple[Record, ...] = ()
    if live:
        with session(cluster, cluster.node(live.name)) as server:
            rows = registered(server)
    seen = Seen(here, topology, rows, interrupted=bool(marked()))
    if here.role == "standby":
        with connect(name, local_login(cluster)) as server:
            query = (
                "SELECT current_setting('primary_conninfo') AS conninfo, current_setting('primary_slot_name') AS slot"
            )
            row = server.rows(query)[0]
        return replace(seen, primary_conninfo=row["conninfo"], slot=row["slot"])
    if here.data == "cluster" and here.standby:
        settings = written_settings(conf_postgres.data_directory(cluster, version))
        return replace(seen, primary_conninfo=settings[0], slot=settings[1])
    return seen


def look_around(cluster: Cluster, patience: float = BUSY) -> Topology:
    """All nodes. Asked again for *patience* seconds while no primary answers, but standbys stream from a node that does
    not answer: what a node is registered as would be left alone."""
    nodes, deadline = replace(cluster, pgpools=(), barmans=()), time.monotonic() + patience
    while True:
        topology = observe.observe(nodes)
        above = {topology.upstream(node.name) for node in cluster.data_nodes} - {""}
        silent = any(view.name in above and not view.postgres for view in topology.nodes)
        if topology.live_primary() or not silent or time.monotonic() > deadline:
            return topology
        time.sleep(0.5)


def registered(server: Server) -> tuple[Record, ...]:
    """repmgr.nodes; empty where the extension is not there yet."""
    try:
        return records(server)
    except SqlError as error:
        if error.sqlstate in ("42P01", "3F000"):
            return ()
        raise


def written_settings(directory: str) -> tuple[str, str]:
    """primary_conninfo and primary_slot_name of a stopped server, by its postgresql.auto.conf; the last line counts."""
    found = {"primary_conninfo": "", "primary_slot_name": ""}
    try:
        with open(os.path.join(directory, "postgresql.auto.conf"), encoding="utf-8") as stream:
            for line in stream:
                match = re.match(r"(\w+)\s*=\s*'(.*)'\s*$", line)
                if match and match.group(1) in found:
                    found[match.group(1)] = match.group(2).replace("''", "'")
    except FileNotFoundError:
        pass
    return found["primary_conninfo"], found["primary_slot_name"]


class Executor:
    """Does the plan's steps on the host of node *name*. *timeout* in seconds bounds each wait for another node."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        version: int,
        runner: Runner,
        service: Service,
        timeout: float = 300.0,
        rejoin: Callable[[str], object] | None = None,
    ) -> None:
        """*rejoin* brings this node back below the one it is given (failover/rejoin.py, which stands above this)."""
        self._rejoin = rejoin
        self._cluster = cluster
        self._node = cluster.node(name)
        self._name = name
        self._version = version
        self._runner = runner
        self._service = service
        self._timeout = timeout
        self._repmgr = Repmgr(runner, version)
        options = cluster.options
        self._staging = Staging(
            conf_postgres.data_directory(cluster, version),
            runner,
            version,
            str(options.get("wal_directory") or ""),
            tuple(item["location"] for item in options.get("tablespaces", ())),
        )

    def clone(self, upstream: str, wipe: bool) -> None:
        """Copy *upstream* into the data directory when it is ready for that."""
        source = self._cluster.node(upstream)
        attempted = f"clone {self._name} from {upstream}"
        self._staging.end_orphans()
        self._wait(lambda: self._ready(source), attempted)
        self._wait(lambda: self._copying(source), attempted)
        with open(configuration_file(self._version), encoding="utf-8") as stream:
            self._staging.prepare(stream.read(), wipe)
        copier = Repmgr(self._runner, self._version, self._staging.config)
        try:
            copier.clone(node_conninfo(self._cluster, source), source.id)
        finally:
            self._staging.end_orphans()
        self._staging.adopt()

    def start(self) -> None:
        """Start PostgreSQL and wait until it answers, and streams where it is a standby."""
        unit = conf_postgres.unit(self._version)
        self._staging.clean()
        self._service.start(unit, timeout=3600)
        self._wait(self._answers, f"start {self._name}", f"Its reason: journalctl -u {unit} -n 50")

    def rejoin(self, upstream: str) -> None:
        """Come back below *upstream*."""
        if self._rejoin is None:
            raise Unreachable(f"bring {self._name} back: this caller knows no way.", "Use the playbook rejoin.")
        self._rejoin(upstream)

    def stop(self) -> None:
        """Stop PostgreSQL."""
        self._service.stop(conf_postgres.unit(self._version), timeout=3600)

    def register_primary(self) -> None:
        """Write this node's row as the primary, once it is one."""
        query = "SELECT 'it is a standby' WHERE pg_is_in_recovery()"
        self._wait(lambda: self._local(query), f"register {self._name} as primary")
        self._repmgr.register_primary()

    def register_standby(self, upstream: str) -> None:
        """Write this standby's row, once it streams."""
        query = (
            "SELECT 'it does not stream' WHERE NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
        )
        unit = conf_postgres.unit(self._version)
        attempted = f"register {self._name} as standby of {upstream}"
        self._wait(lambda: self._local(query), attempted, f"Its reason: the log of {unit} on {self._name}.")
        self._repmgr.register_standby(self._cluster.node(upstream).id, max(1, int(self._timeout)))

    def register_witness(self, upstream: str) -> None:
        """Write this witness' row on the primary *upstream*, and its copy of all rows."""
        primary = self._cluster.node(upstream)
        attempted = f"register {self._name} as witness of {upstream}"
        self._wait(lambda: self._local("SELECT '' WHERE false"), attempted)
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
        with connect(self._name, local_login(self._cluster)) as server:
            server.run(f"ALTER SYSTEM SET primary_conninfo = {literal(conninfo)}")
            if slot:
                server.run(f"ALTER SYSTEM SET primary_slot_name = {literal(slot)}")
            server.run("SELECT pg_reload_conf()")

    def make_slot(self, upstream: str, slot: str) -> None:
        """Make the physical *slot* on *upstream*, holding WAL from now on, unless it is there."""
        with session(self._cluster, self._cluster.node(upstream)) as server:
            if not server.rows("SELECT FROM pg_replication_slots WHERE slot_name = %s", (slot,)):
                server.rows("SELECT pg_create_physical_replication_slot(%s, true)", (slot,))

    def leave_slot(self, slot: str) -> None:
        """Stream without *slot*, and drop it where it is."""
        with connect(self._name, local_login(self._cluster)) as server:
            server.run("ALTER SYSTEM RESET primary_slot_name")
            server.run("SELECT pg_reload_conf()")
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
        """Remove *record*, as ``repmgr standby unregister`` does, which needs the node itself to answer."""
        live = observe.observe(replace(self._cluster, pgpools=(), barmans=())).live_primary()
        if not live:
            raise Unreachable(f"unregister {self._name}: no primary answers.", "Run again when there is one.")
        with session(self._cluster, self._cluster.node(live.name)) as server:
            server.run("DELETE FROM repmgr.nodes WHERE node_id = %s", (record.node_id,))
            server.run(
                "INSERT INTO repmgr.events (node_id, event, successful) VALUES (%s, %s, true)",
                (record.node_id, f"{record.type}_unregister"),
            )

    # Conditions: '' when met, else the reason why not.

    def _ready(self, node: Node) -> str:
        """Whether one can stream from *node*: it answers repmgr's role, is registered, and a standby streams itself."""
        with session(self._cluster, node) as server:
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
        with session(self._cluster, source) as server:
            rows = server.rows(query, (self._node.slot,))
        return str(rows[0]["reason"]) if rows else ""

    def _answers(self) -> str:
        return self._local("SELECT '' WHERE false")

    def _local(self, query: str) -> str:
        """Ask the server on this host; *query* gives a row with the reason why not."""
        with connect(self._name, local_login(self._cluster, REPMGR_DATABASE)) as server:
            rows = server.rows(query)
        return str(next(iter(rows[0].values()))) if rows else ""

    def _drop(self, node: Node, slot: str) -> str:
        try:
            with session(self._cluster, node) as server:
                query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'"
                rows = server.rows(query, (slot,))
                if rows and rows[0]["active"]:
                    return "somebody streams through it"
                if rows:
                    server.run("SELECT pg_drop_replication_slot(%s)", (slot,))
        except Unreachable:
            return ""
        return ""

    def _wait(self, condition: Callable[[], str], attempted: str, cure: str = "") -> None:
        """Poll until *condition* is met. Raises Unreachable with the last reason after the timeout."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                reason = condition()
            except Unreachable as error:
                reason = str(error)
            if not reason:
                return
            if time.monotonic() > deadline:
                raise Unreachable(f"{attempted}: not possible within {self._timeout:g} s: {reason}.", cure)
            time.sleep(0.2)
