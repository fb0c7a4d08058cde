# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is known of repmgr 5.3 and 5.5: its role, tables and commands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..layout import Layout
from ..model import (
    AGENT_PASSFILE,
    AGENT_ROLE,
    CA_FILE,
    POSTGRES_PASSFILE,
    REPMGR_DATABASE,
    REPMGR_ROLE,
    Cluster,
    Node,
)
from ..objects.identity import CLUSTER, MEMBER, READ, SCHEMA, SETTING
from ..objects.roles import PUBLIC, Grant, Role, reserved
from ..objects.shield import own_settings
from ..ports.run import Result, Runner
from ..ports.sql import Server, conninfo

# What the agents' role may change with ALTER SYSTEM, and the functions it may call besides, see grants().
SETTINGS = ("primary_conninfo", "primary_slot_name", "default_transaction_read_only", SETTING)
RELOAD = ("pg_reload_conf()",)
REWIND = (
    "pg_ls_dir(text,boolean,boolean)",
    "pg_stat_file(text,boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text,bigint,bigint,boolean)",
)
# libpqwalreceiver.c and pg_rewind begin by it; PUBLIC may have lost it.
BEGIN = "set_config(text,text,boolean)"
PROMOTE = "pg_promote(boolean,integer)"
# repmgrd resumes the replay of a candidate that is paused, before it asks whether it may be promoted (do_election() in
# repmgrd-physical.c). A standby whose limits are too low is shut down by that. It may not: a promotion by the agent ends a
# pause that a person has made.
RESUME = "pg_wal_replay_resume()"
# What agents read of repmgrd's state.
STATE = ("repmgrd_is_running()", "repmgrd_is_paused()", "get_upstream_last_seen()")
# The one that locks are taken with; all others that take one would let a session stand in the way of a promotion.
LOCK = "pg_try_advisory_lock(bigint)"
LOCKS = tuple(
    f"pg_{attempt}advisory_{scope}lock{share}({key})"
    for attempt in ("", "try_")
    for scope in ("", "xact_")
    for share in ("", "_shared")
    for key in ("bigint", "integer,integer")
)


def node_parameters(cluster: Cluster, node: Node) -> dict[str, Any]:
    """How repmgr connects to *node* from every other one. Holds no password: the passfile does. A password goes to nobody who
    does not prove that he has its verifier (channel_binding: SCRAM, over this very TLS connection).

    A dead peer is noticed after ``connect_timeout`` when connecting and after ``tcp_user_timeout`` (milliseconds) or
    the keepalives (2 + 2 x 1 s) in a session: repmgrd asks its upstream in a session before it asks by a new one.
    """
    return {
        "host": node.address,
        "port": cluster.port,
        "user": REPMGR_ROLE,
        "dbname": REPMGR_DATABASE,
        "connect_timeout": 2,
        "sslmode": "verify-full",
        "sslrootcert": CA_FILE,
        "channel_binding": "require",
        "passfile": POSTGRES_PASSFILE,
        "keepalives": 1,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": 3000,
    }


def agent_parameters(cluster: Cluster, node: Node, passfile: str = AGENT_PASSFILE) -> dict[str, Any]:
    """The same for the agents' role, towards the data node *node*."""
    return {**node_parameters(cluster, node), "user": AGENT_ROLE, "passfile": passfile}


def node_conninfo(cluster: Cluster, node: Node) -> str:
    """The same as text. repmgr keeps it in ``repmgr.nodes`` and copies it, without the database and with its own
    ``application_name``, into ``primary_conninfo`` of whoever follows *node*."""
    return conninfo(node_parameters(cluster, node))


def streaming_conninfo(cluster: Cluster, node: Node, upstream: Node) -> str:
    """The primary_conninfo with which *node* streams from *upstream*, as the agents' role: to let a witness stream is to give it
    all data, since the way into a database is one for a base backup too (``replication=database``, tried on PostgreSQL 15).
    The database is for slot synchronisation (PostgreSQL 17); streaming itself leaves it aside."""
    return conninfo({**node_parameters(cluster, upstream), "user": AGENT_ROLE, "application_name": node.name})


def roles(postgres_version: int, witness: bool = False) -> list[Role]:
    """repmgr's role, and beside data the agents', which repmgr streams as too (its ``replication_user``).

    pg_monitor is for positions, senders, slots, WAL files, settings; pg_checkpoint for a switchover; pg_signal_backend for
    ending the sessions of a primary that must not serve any more; REPLICATION for streaming and for slots. What repmgr's role
    had under earlier releases it keeps until all agents are of this one, see spent().
    """
    places, own = reserved(postgres_version), own_settings(postgres_version)
    found = [Role(REPMGR_ROLE, memberships=("pg_monitor", *places), settings=own, at_least=True)]
    if not witness:
        memberships = ("pg_checkpoint", "pg_monitor", "pg_signal_backend", *places)
        found.append(Role(AGENT_ROLE, replication=True, memberships=memberships, settings=own))
    return found


def grants(postgres_version: int, witness: bool = False) -> list[Grant]:
    """What the roles need where the superuser has made database and extension.

    TRUNCATE is for ``witness register``. The settings are what an agent changes: whom a standby follows (a seal takes that
    away), and whether a fenced primary takes writes. pg_rewind reads the source's files through REWIND (its manual page,
    "Notes"). The extension gives its functions, among them what pauses repmgrd, to PUBLIC: taken away last.
    """
    tables = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    return [
        Grant(REPMGR_ROLE, "DATABASE", REPMGR_DATABASE, ("CONNECT",)),
        Grant(REPMGR_ROLE, "SCHEMA", "repmgr", ("USAGE",), REPMGR_DATABASE),
        Grant(REPMGR_ROLE, "ALL TABLES IN SCHEMA", "repmgr", tables, REPMGR_DATABASE),
        Grant(REPMGR_ROLE, "FUNCTION", RESUME, (), REPMGR_DATABASE),
        _execute(REPMGR_ROLE, READ),
        Grant(REPMGR_ROLE, "ALL FUNCTIONS IN SCHEMA", "repmgr", ("EXECUTE",), REPMGR_DATABASE),
        *([_execute(REPMGR_ROLE, LOCK)] if witness else _agents_grants()),
        Grant(PUBLIC, "ALL FUNCTIONS IN SCHEMA", "repmgr", (), REPMGR_DATABASE),
        Grant(PUBLIC, "DATABASE", REPMGR_DATABASE, ()),
    ]


def _agents_grants() -> list[Grant]:
    return [
        Grant(AGENT_ROLE, "DATABASE", REPMGR_DATABASE, ("CONNECT",)),
        Grant(AGENT_ROLE, "SCHEMA", "repmgr", ("USAGE",), REPMGR_DATABASE),
        Grant(AGENT_ROLE, "TABLE", "repmgr.nodes", ("SELECT", "UPDATE", "DELETE"), REPMGR_DATABASE),
        Grant(AGENT_ROLE, "TABLE", "repmgr.events", ("INSERT",), REPMGR_DATABASE),
        Grant(AGENT_ROLE, "SCHEMA", SCHEMA, ("USAGE",), REPMGR_DATABASE),
        Grant(AGENT_ROLE, "TABLE", CLUSTER, ("SELECT",), REPMGR_DATABASE),
        Grant(AGENT_ROLE, "TABLE", MEMBER, ("SELECT", "INSERT", "UPDATE", "DELETE"), REPMGR_DATABASE),
        *(_execute(AGENT_ROLE, f"repmgr.{name}") for name in STATE),
        *(Grant(AGENT_ROLE, "PARAMETER", name, ("ALTER SYSTEM",)) for name in SETTINGS),
        *(_execute(AGENT_ROLE, name) for name in (PROMOTE, *RELOAD, *REWIND, LOCK, BEGIN, READ)),
    ]


def _execute(role: str, function: str) -> Grant:
    return Grant(role, "FUNCTION", function, ("EXECUTE",), REPMGR_DATABASE)


def spent(postgres_version: int, witness: bool = False) -> tuple[list[Role], list[Grant]]:
    """repmgr's role as it is to be, and what it and PUBLIC lose, once no agent is left that uses that.

    Under earlier releases the agents were repmgr's role: what is taken from it before all of them are others stops them, and
    standbys stream as it until they are pointed anew.
    """
    old = [] if witness else [PROMOTE, *RELOAD, *REWIND, LOCK]
    return (
        [replace(role, at_least=False) for role in roles(postgres_version, witness) if role.at_least],
        [
            *(Grant(REPMGR_ROLE, "PARAMETER", name, ()) for name in SETTINGS if not witness),
            *(Grant(REPMGR_ROLE, "FUNCTION", name, (), REPMGR_DATABASE) for name in old),
            *(Grant(PUBLIC, "FUNCTION", name, (), REPMGR_DATABASE) for name in LOCKS),
        ],
    )


@dataclass(frozen=True)
class Record:
    """A row of repmgr.nodes, whole. *upstream_id* is None for a primary, *slot_name* None without slots."""

    node_id: int
    node_name: str
    type: str
    active: bool
    upstream_id: int | None
    location: str
    priority: int
    conninfo: str
    repluser: str
    slot_name: str | None
    config_file: str


RECORDS_QUERY = (
    "SELECT node_id, node_name, type, active, upstream_node_id AS upstream_id, location, priority, conninfo, repluser,"
    " slot_name, config_file FROM repmgr.nodes ORDER BY node_id"
)


def records(server: Server) -> tuple[Record, ...]:
    """All rows of repmgr.nodes on *server*. Raises as Server.rows()."""
    return tuple(Record(**row) for row in server.rows(RECORDS_QUERY))


def recorded(server: Server, node_id: int) -> tuple[str, bool, int | None] | None:
    """What repmgr.nodes on *server* says of *node_id*: type, whether active, the upstream's ID; None where it is not there."""
    query = "SELECT type, active, upstream_node_id AS upstream FROM repmgr.nodes WHERE node_id = %s"
    return next(((row["type"], row["active"], row["upstream"]) for row in server.rows(query, (node_id,))), None)


# As update_node_record_set_primary() in repmgr's dbutils.c, and the event of `standby promote`.
_RECORD_PRIMARY = """
WITH old AS (UPDATE repmgr.nodes SET active = false WHERE type = 'primary' AND active AND node_id <> %(node)s),
     event AS (INSERT INTO repmgr.events (node_id, event, successful, details)
               VALUES (%(node)s, 'standby_promote', true, 'promoted by pgherd'))
UPDATE repmgr.nodes SET type = 'primary', upstream_node_id = NULL, active = true WHERE node_id = %(node)s
"""


def record_primary(server: Server, node_id: int) -> None:
    """Write on the new primary *server* that node *node_id* is it, and that no other is. Raises as Server.run()."""
    server.run(_RECORD_PRIMARY.replace("%(node)s", str(int(node_id))))


def record_standby(server: Server, node_id: int, upstream_id: int) -> None:
    """Write on the primary *server* that *node_id* is a live standby below *upstream_id*."""
    server.run(
        "UPDATE repmgr.nodes SET type = 'standby', upstream_node_id = %s, active = true WHERE node_id = %s",
        (upstream_id, node_id),
    )


_RECORD_REMOVED = """
WITH moved AS (UPDATE repmgr.nodes SET upstream_node_id = %s WHERE upstream_node_id = %s)
INSERT INTO repmgr.events (node_id, event, successful, details)
SELECT node_id, type || '_unregister', true, 'removed by pgherd' FROM repmgr.nodes WHERE node_id = %s
"""


def record_removed(server: Server, node_id: int, primary_id: int) -> None:
    """Take *node_id* out of the metadata on the primary *server*, as ``repmgr standby unregister`` does, which needs the node
    itself to answer. A row that still names it as upstream names *primary_id*: its own node's agent corrects that."""
    server.run(_RECORD_REMOVED, (primary_id, node_id, node_id))
    server.run("DELETE FROM repmgr.nodes WHERE node_id = %s", (node_id,))


def wanted_record(cluster: Cluster, node: Node, kind: str, upstream_id: int | None, layout: Layout) -> Record:
    """The row that *node* should have as *kind* (``primary``, ``standby``, ``witness``) below *upstream_id*.

    repmgr gives every node a slot name when slots are on, the primary and the witness too.
    """
    return Record(
        node_id=node.id,
        node_name=node.name,
        type=kind,
        active=True,
        upstream_id=upstream_id,
        location=node.location,
        priority=0 if kind == "witness" else node.priority,
        conninfo=node_conninfo(cluster, node),
        repluser=REPMGR_ROLE if kind == "witness" else AGENT_ROLE,
        slot_name=node.slot if cluster.replication_slots else None,
        config_file=layout.repmgr,
    )


class Repmgr:
    """The program, run as the operating system's user postgres, with this node's repmgr.conf."""

    def __init__(self, runner: Runner, layout: Layout, config: str = "") -> None:
        self._runner = runner
        self._program = f"{layout.programs}/repmgr"
        self._config = config or layout.repmgr

    def _run(self, attempted: str, *words: str, timeout: float = 60.0, cure: str = "") -> Result:
        done = self._runner.run([self._program, "-f", self._config, *words], user="postgres", timeout=timeout)
        return done.expect(attempted, cure=cure)

    def clone(self, source: str, upstream_id: int, timeout: float = 86400.0) -> None:
        """Copy the server at conninfo *source* into the configured data directory, as a standby of *upstream_id*.

        Makes the slot on the upstream and writes primary_conninfo and standby.signal. Raises CommandError.
        """
        words = ("-d", source, "standby", "clone", f"--upstream-node-id={upstream_id}", "--fast-checkpoint")
        self._run("clone", *words, timeout=timeout)

    def register_primary(self) -> None:
        """Write this node's row as the primary, over one that is there. Refused while another primary answers."""
        self._run("register as primary", "primary", "register", "--force")

    def register_standby(self, upstream_id: int, wait: int = 30) -> None:
        """Write this running standby's row, over one that is there, and wait *wait* seconds until it has it itself; 0 for not at
        all."""
        words = ["standby", "register", "--force", f"--upstream-node-id={upstream_id}"]
        words += [f"--wait-sync={wait}"] if wait else []
        self._run("register as standby", *words, timeout=wait + 60.0)

    def register_witness(self, primary: str) -> None:
        """Write this witness' row on the primary at conninfo *primary*, and copy all rows from there to here."""
        self._run("register as witness", "-d", primary, "witness", "register", "--force")

    def follow(self, upstream_id: int, timeout: float = 120.0) -> None:
        """Make this running standby stream from *upstream_id*: slot, primary_conninfo, reload, row; old slot gone.

        PostgreSQL 13 and later need no restart for it.
        """
        words = ("standby", "follow", f"--upstream-node-id={upstream_id}")
        self._run(f"follow node {upstream_id}", *words, timeout=timeout)
