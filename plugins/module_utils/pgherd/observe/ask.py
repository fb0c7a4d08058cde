# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What one PostgreSQL server is asked, in five statements, each of which may fail without hiding the others."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Callable

from ..errors import PgherdError, Unreachable
from ..model import CA_FILE, MONITOR_PASSFILE, MONITOR_ROLE, REPMGR_DATABASE, Cluster, Node, build
from ..ports.sql import Row, Server
from .server_state import parse, statement
from .views import Copy, Event, NodeView, PostgresView, Registered, RepmgrView, Sender, Slot

Open = Callable[[str, Mapping[str, Any], float], AbstractContextManager[Server]]

# Seconds for one connection and for each statement; libpq's connect_timeout knows no less than 2.
STEP_LIMIT = 2.0
EVENTS = 20
# What reason() says of who did not answer in time.
LATE = "no answer in time"

# What server_state.py asks, and what people are shown besides.
STATE = statement(
    """
       current_setting('server_version_num')::int AS version,
       extract(epoch FROM pg_postmaster_start_time())::float8 AS started_at,
       CASE WHEN pg_is_in_recovery() AND pg_last_xact_replay_timestamp() IS NOT NULL THEN greatest(0,
            extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8) END AS replay_age,
       coalesce(w.slot_name, '') AS receiver_slot,
       current_setting('synchronous_standby_names') AS synchronous_standby_names"""
)

# greatest() would make 0 of what is not known. to_jsonb() reaches columns that only some versions have (inactive_since: 17)
# without a second statement. A standby never calls a slot 'unreserved': GetWALAvailability() goes by what the server wrote as a
# primary, and not by what it has received. So its slots are held to the limits here.
DETAILS = """
WITH here AS (SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                          ELSE pg_current_wal_lsn() END AS lsn,
                     CASE WHEN pg_is_in_recovery() AND current_setting('max_slot_wal_keep_size') <> '-1'
                          THEN greatest(pg_size_bytes(current_setting('max_slot_wal_keep_size')),
                                        pg_size_bytes(current_setting('wal_keep_size'))) END AS kept)
SELECT coalesce((SELECT jsonb_agg(name ORDER BY name) FROM pg_settings WHERE pending_restart), '[]') AS pending_restart,
       coalesce((SELECT jsonb_agg(name ORDER BY name) FROM pg_settings
                  WHERE sourcefile LIKE '%/postgresql.auto.conf'), '[]') AS altered,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'application_name', application_name, 'role', usename, 'state', state, 'sync_state', sync_state,
           'client', coalesce(host(client_addr), ''),
           'lag_bytes', CASE WHEN replay_lsn IS NOT NULL THEN greatest(0, pg_wal_lsn_diff(here.lsn, replay_lsn))::int8 END,
           'lag_seconds', extract(epoch FROM replay_lag)::float8,
           'reply_age', extract(epoch FROM clock_timestamp() - reply_time)::float8) ORDER BY application_name)
           FROM pg_stat_replication, here WHERE state IS NOT NULL), '[]') AS senders,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'name', slot_name, 'type', slot_type, 'active', active, 'wal_status',
           CASE WHEN wal_status <> 'lost' AND pg_wal_lsn_diff(here.lsn, restart_lsn) > here.kept THEN 'unreserved'
                ELSE wal_status END,
           'retained_bytes',
           CASE WHEN restart_lsn IS NOT NULL THEN greatest(0, pg_wal_lsn_diff(here.lsn, restart_lsn))::int8 END,
           'inactive_since', extract(epoch FROM (to_jsonb(s)->>'inactive_since')::timestamptz)::float8)
           ORDER BY slot_name) FROM pg_replication_slots s, here WHERE NOT temporary), '[]') AS slots,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'application_name', a.application_name, 'client', coalesce(host(a.client_addr), ''),
           'done_bytes', coalesce(p.backup_streamed, 0), 'total_bytes', p.backup_total))
           FROM pg_stat_progress_basebackup p JOIN pg_stat_activity a USING (pid)), '[]') AS copies,
       (SELECT extract(epoch FROM coalesce(last_archived_time, stats_reset))::float8 FROM pg_stat_archiver
         WHERE last_failed_time > coalesce(last_archived_time, '-infinity')) AS archive_failing_since
"""

# When passwords end, by role. A statement of its own: who may not read pg_roles is not to be blind for the rest.
PASSWORDS = """
SELECT coalesce(jsonb_object_agg(rolname, extract(epoch FROM rolvaliduntil)::float8), '{}') AS ends
  FROM pg_catalog.pg_roles WHERE rolcanlogin AND pg_catalog.isfinite(rolvaliduntil)
"""

# By database the version of its default collation that its indexes were built with, and the one of this host's libraries. The
# former is the primary's, the latter each host's own; both are NULL for C and for template0. Looking at pg_collation would take
# a session in each database.
COLLATIONS = """
SELECT coalesce(jsonb_object_agg(datname, jsonb_build_array(datcollversion, here)), '{}') AS versions
  FROM (SELECT datname, datcollversion, pg_catalog.pg_database_collation_actual_version(oid) AS here
          FROM pg_catalog.pg_database WHERE datcollversion IS NOT NULL) d
 WHERE here <> datcollversion
"""

REPMGR = """
SELECT coalesce((SELECT jsonb_agg(jsonb_build_object(
           'id', node_id, 'name', node_name, 'type', type, 'active', active, 'upstream_id', upstream_node_id,
           'priority', priority, 'location', location) ORDER BY node_id) FROM repmgr.nodes), '[]') AS nodes,
       repmgr.repmgrd_is_running() AS running,
       repmgr.repmgrd_is_paused() AS paused,
       nullif(repmgr.get_upstream_last_seen(), -1)::float8 AS upstream_seen_age,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
           'node_id', node_id, 'event', event, 'successful', successful, 'details', coalesce(details, ''),
           'at', extract(epoch FROM event_timestamp)::float8) ORDER BY event_timestamp DESC)
           FROM (SELECT * FROM repmgr.events ORDER BY event_timestamp DESC LIMIT %s) e), '[]') AS events
"""


def parameters(host: str, port: int, database: str = REPMGR_DATABASE) -> dict[str, Any]:
    """libpq parameters with which one part of a cluster observes another: the monitoring role, over verified TLS."""
    return {
        "host": host,
        "port": port,
        "dbname": database,
        "user": MONITOR_ROLE,
        "passfile": MONITOR_PASSFILE,
        "sslmode": "verify-full",
        "sslrootcert": CA_FILE,
        "channel_binding": "require",
    }


def pool_parameters(host: str, port: int) -> dict[str, Any]:
    """The same for a pgpool, which has no channel binding: it is known by its certificate alone."""
    return {**parameters(host, port, "postgres"), "channel_binding": "prefer"}


def ask_node(cluster: Cluster, node: Node, open_: Open) -> NodeView:
    """Ask one node. Raises nothing: what could not be read has its reason in the view.

    The database repmgr is tried first, since it answers everything; without it PostgreSQL can still speak for itself.
    """
    seen_at = time.time()
    addresses: tuple[str, ...] = ()
    try:
        addresses = resolve(node.address, cluster.port)
        try:
            with open_(node.name, parameters(node.address, cluster.port), STEP_LIMIT) as server:
                postgres = ask_postgres(server)
                repmgr, why = _ask_repmgr(server)
        except Unreachable as error:
            if f'database "{REPMGR_DATABASE}" does not exist' not in str(error):
                raise
            with open_(node.name, parameters(node.address, cluster.port, "postgres"), STEP_LIMIT) as server:
                postgres, repmgr, why = ask_postgres(server), None, reason(error)
    except PgherdError as error:
        return NodeView(
            node.name,
            node.kind,
            node.id,
            seen_at,
            why=reason(error),
            repmgr_why="PostgreSQL did not answer",
            addresses=addresses,
        )
    return NodeView(node.name, node.kind, node.id, seen_at, postgres, "", repmgr, why, addresses)


def ask_postgres(server: Server) -> PostgresView:
    """What PostgreSQL says of itself. Raises as Server.rows() when it cannot say even its state; lists that cannot be
    read are empty, with the reason in details_why."""
    state = server.rows(STATE)[0]
    try:
        details = _details(server.rows(DETAILS)[0])
        details["password_ends"] = _passwords(server)
        details["collations"] = _collations(server)
    except PgherdError as error:
        details = {"details_why": reason(error)}
    return parse_view({**state, **details})


def parse_view(row: Row) -> PostgresView:
    """What the columns of STATE say, and of DETAILS where they are there."""
    return build(PostgresView, parse(row))


def _passwords(server: Server) -> dict[str, float] | None:
    try:
        return dict(server.rows(PASSWORDS)[0]["ends"])
    except PgherdError:
        return None


def _collations(server: Server) -> dict[str, tuple[str, ...]] | None:
    try:
        return {name: tuple(versions) for name, versions in server.rows(COLLATIONS)[0]["versions"].items()}
    except PgherdError:
        return None


def _details(row: Row) -> dict[str, Any]:
    return {
        **row,
        "pending_restart": tuple(row["pending_restart"]),
        "altered": tuple(row["altered"]),
        "senders": tuple(build(Sender, item) for item in row["senders"]),
        "slots": tuple(build(Slot, item) for item in row["slots"]),
        "copies": tuple(build(Copy, item) for item in row["copies"]),
    }


def _ask_repmgr(server: Server) -> tuple[RepmgrView | None, str]:
    """What repmgr's metadata says, or why it could not be read."""
    try:
        row = server.rows(REPMGR, (EVENTS,))[0]
    except PgherdError as error:
        return None, reason(error)
    nodes = tuple(build(Registered, item) for item in row["nodes"])
    events = tuple(build(Event, item) for item in row["events"])
    return build(RepmgrView, {**row, "nodes": nodes, "events": events}), ""


def resolve(host: str, port: int) -> tuple[str, ...]:
    """The addresses of *host*. Raises Unreachable when its name does not resolve."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"the name {host} does not resolve: {error.strerror}") from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def reason(error: Exception) -> str:
    """One short line of what came back: libpq's own words, without its address and its advice."""
    text = " ".join(str(error).split())
    text = re.sub(r"^connect to \S+: ", "", text)
    # psycopg 3.1 leaves out all up to the first colon, which in an IPv6 address is no end of anything.
    text = re.sub(r".*?(?:connection to server at|connection failed:) [^,]*, port \d+ failed: (FATAL: )?", "", text)
    text = re.sub(r"^connection failed: (FATAL: )?", "", text)
    text = re.sub(r"^(connection )?timeout expired.*", LATE, text)
    return re.split(r" Is the server running| - Multiple connection attempts", text)[0].strip().rstrip(".")
