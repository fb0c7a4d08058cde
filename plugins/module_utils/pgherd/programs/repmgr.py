# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is known of repmgr 5.3 and 5.5: its role, tables, commands and exit codes; its output: repmgr_output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..model import CA_FILE, POSTGRES_PASSFILE, REPMGR_DATABASE, REPMGR_ROLE, Cluster, Node
from ..objects.roles import PUBLIC, Grant, Role
from ..ports.run import Result, Runner
from ..ports.sql import Server, conninfo

# errcode.h. ERR_NODE_STATUS says that a check found something: data, not a failure.
EXIT_CODES = {
    0: "success",
    1: "bad configuration or refused",
    4: "the server did not restart",
    5: "a local command failed",
    6: "no database connection",
    7: "a query failed",
    8: "promotion failed",
    14: "base backup failed",
    15: "internal error",
    18: "switchover failed",
    20: "the node's record did not arrive on the standby",
    22: "switchover incomplete",
    23: "follow failed",
    24: "rejoin failed",
    25: "the check found a problem",
    26: "repmgrd could not be paused or unpaused",
    27: "repmgrd could not be started or stopped",
}
NODE_STATUS = 25
# What the role may change with ALTER SYSTEM, and the functions it may call besides, see grants().
SETTINGS = ("primary_conninfo", "primary_slot_name", "default_transaction_read_only")
RELOAD = ("pg_reload_conf()",)
REWIND = (
    "pg_ls_dir(text,boolean,boolean)",
    "pg_stat_file(text,boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text,bigint,bigint,boolean)",
)


def binary_directory(version: int) -> str:
    """Where Debian puts the programs of one major version, repmgr's among them."""
    return f"/usr/lib/postgresql/{version}/bin"


def configuration_file(version: int) -> str:
    """repmgr.conf; its path is part of a node's record in ``repmgr.nodes``."""
    return f"/etc/repmgr/{version}/repmgr.conf"


def node_parameters(cluster: Cluster, node: Node) -> dict[str, Any]:
    """How every node, and each standby's WAL receiver, connects to *node*. Holds no password: the passfile does.

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
        "passfile": POSTGRES_PASSFILE,
        "keepalives": 1,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": 3000,
    }


def node_conninfo(cluster: Cluster, node: Node) -> str:
    """The same as text. repmgr keeps it in ``repmgr.nodes`` and copies it, without the database and with its own
    ``application_name``, into ``primary_conninfo`` of whoever follows *node*."""
    return conninfo(node_parameters(cluster, node))


def streaming_conninfo(cluster: Cluster, node: Node, upstream: Node) -> str:
    """The primary_conninfo with which *node* streams from *upstream*. The database is for slot synchronisation
    (PostgreSQL 17); streaming itself leaves it aside."""
    return conninfo({**node_parameters(cluster, upstream), "application_name": node.name})


def roles() -> list[Role]:
    """The role that repmgr, repmgrd and all WAL receivers connect as.

    pg_checkpoint is for switchover and rejoin; pg_monitor for replication lag, archive backlog and settings of others;
    pg_signal_backend for ending the sessions of a primary that must not serve any more.
    """
    memberships = ("pg_checkpoint", "pg_monitor", "pg_signal_backend")
    return [Role(REPMGR_ROLE, replication=True, memberships=memberships)]


def grants(postgres_version: int) -> list[Grant]:
    """What the role needs beside owning its database, where the superuser made the extension.

    TRUNCATE is for ``witness register``, pg_promote() for ``standby promote``, pg_wal_replay_resume() for a candidate
    whose replay is paused. The settings are what the agent changes: whom a standby follows (a seal takes that away), and
    whether a fenced primary takes writes. pg_rewind reads the source's files through REWIND (its manual page, "Notes").
    The extension gives its functions, among them what pauses repmgrd, to PUBLIC: taken away last.
    """
    tables = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    return [
        Grant(REPMGR_ROLE, "SCHEMA", "repmgr", ("USAGE",), REPMGR_DATABASE),
        Grant(REPMGR_ROLE, "ALL TABLES IN SCHEMA", "repmgr", tables, REPMGR_DATABASE),
        Grant(REPMGR_ROLE, "FUNCTION", "pg_promote(boolean,integer)", ("EXECUTE",), REPMGR_DATABASE),
        Grant(REPMGR_ROLE, "FUNCTION", "pg_wal_replay_resume()", ("EXECUTE",), REPMGR_DATABASE),
        *(Grant(REPMGR_ROLE, "PARAMETER", name, ("ALTER SYSTEM",)) for name in SETTINGS),
        *(Grant(REPMGR_ROLE, "FUNCTION", name, ("EXECUTE",), REPMGR_DATABASE) for name in (*RELOAD, *REWIND)),
        Grant(REPMGR_ROLE, "ALL FUNCTIONS IN SCHEMA", "repmgr", ("EXECUTE",), REPMGR_DATABASE),
        Grant(PUBLIC, "ALL FUNCTIONS IN SCHEMA", "repmgr", (), REPMGR_DATABASE),
    ]


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


def wanted_record(cluster: Cluster, node: Node, kind: str, upstream_id: int | None, version: int) -> Record:
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
        repluser=REPMGR_ROLE,
        slot_name=node.slot if cluster.replication_slots else None,
        config_file=configuration_file(version),
    )


class Repmgr:
    """The program, run as the operating system's user postgres, with this node's repmgr.conf."""

    def __init__(self, runner: Runner, version: int, config: str = "") -> None:
        self._runner = runner
        self._program = f"{binary_directory(version)}/repmgr"
        self._config = config or configuration_file(version)

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
        """Write this running standby's row, over one that is there, and wait *wait* seconds until it has it itself."""
        words = ("standby", "register", "--force", f"--upstream-node-id={upstream_id}", f"--wait-sync={wait}")
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
