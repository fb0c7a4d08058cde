# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What each node says when it matters who is primary, in one statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model import Cluster, Node, build, lsn_to_int
from ..ports.sql import Row
from ..programs.repmgr import node_parameters

# Whoever seals a node holds this session lock on it ("pgherd" in ASCII, as one number): two promotions at once exclude
# each other, and the lock ends with the session when its holder dies.
SEAL_LOCK = 0x706768657264
# Whoever holds this one on a primary asks its agent to stop it; the session's application_name says for whom.
STOP_LOCK = 0x706768657265
ASKING = "pgherd handover to "
# Rows of synchronous commits must not wait for standbys that may be what is missing. A session whose other end is gone,
# or frozen, ends within seconds, or a minute, and with it the lock that it holds.
OPTIONS = (
    "-c synchronous_commit=local -c statement_timeout=10000 -c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1"
    " -c tcp_keepalives_count=3 -c idle_session_timeout=60000"
)
SOCKETS = "/var/run/postgresql"

# The timeline of the WAL file that holds a standby's last byte. Without a receiver nothing else tells it: what the control
# file says is that of the last restartpoint (tried: 1 on a sealed standby whose last WAL is of timeline 2).
_LAST_FILE = """
(SELECT max(('x' || left(name, 8))::bit(32)::int)
   FROM pg_ls_waldir(),
        (SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn - 1)::int8 AS byte,
                pg_size_bytes(current_setting('wal_segment_size')) AS bytes) p
  WHERE substr(name, 9) = lpad(upper(to_hex(byte >> 32)), 8, '0')
                       || lpad(upper(to_hex((byte & 4294967295) / bytes)), 8, '0'))
"""

# As observe/ask.py's STATE, and what a promotion must know besides. A standby without primary_conninfo is sealed. One that
# has received nothing since its start has not read all its own WAL before it waits for more. The lock's number is split
# over two columns of pg_locks. get_upstream_last_seen() counts since repmgrd last got an answer.
QUERY = f"""
SELECT pg_is_in_recovery() AS in_recovery,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(coalesce(w.received_tli, {_LAST_FILE}), c.timeline_id, r.min_recovery_end_timeline)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
       s.system_identifier::text AS system_id,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END AS write_lsn,
       CASE WHEN NOT pg_is_in_recovery()
            THEN EXISTS (SELECT FROM pg_stat_activity WHERE lower(wait_event) IN ('walwrite', 'walsync'))
            ELSE false END AS wal_waits,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()::text END AS receive_lsn,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS replay_lsn,
       current_setting('primary_conninfo') <> '' AS has_upstream,
       coalesce(substring(current_setting('primary_conninfo') FROM '\\mhost=''?([^'' ]+)'), '') AS pointed_at,
       NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn() IS NOT NULL
           OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                         AND wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream')) AS settled,
       coalesce(w.sender_host, '') AS upstream,
       coalesce(w.status, '') AS receiver,
       (SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
           AND (classid::int8 << 32) + objid::int8 = {SEAL_LOCK}) AS locked,
       current_setting('default_transaction_read_only')::bool AS read_only,
       coalesce(repmgr.repmgrd_is_running(), false) AS repmgrd,
       coalesce(repmgr.get_upstream_last_seen(), -1) AS upstream_seen_age,
       coalesce((SELECT min(application_name) FROM pg_locks JOIN pg_stat_activity a USING (pid)
                  WHERE locktype = 'advisory' AND granted
                    AND (classid::int8 << 32) + objid::int8 = {STOP_LOCK}), '') AS stop_asked,
       (SELECT coalesce(jsonb_object_agg(application_name, reply_time), '{{}}') FROM pg_stat_replication
         WHERE state = 'streaming')::text AS senders,
       (SELECT coalesce(jsonb_object_agg(slot_name, jsonb_build_array(restart_lsn, active)), '{{}}')
          FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary)::text AS slots,
       (SELECT coalesce(jsonb_object_agg(slot_name, jsonb_build_array(to_jsonb(l)->'failover', to_jsonb(l)->'synced',
                                                                      active)), '{{}}')
          FROM pg_replication_slots l WHERE slot_type = 'logical' AND NOT temporary)::text AS logical,
       coalesce(current_setting('sync_replication_slots', true), 'off') = 'on'
           AND current_setting('primary_conninfo') <> '' AND current_setting('primary_conninfo') !~ '\\mdbname='
           AS lacks_database
  FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r
  LEFT JOIN pg_stat_wal_receiver w ON true
"""  # noqa: S608


@dataclass(frozen=True)
class LogicalSlot:
    """*failover*: it is to be copied to standbys; *synced*: it was copied from a primary (both PostgreSQL 17)."""

    failover: bool
    synced: bool
    active: bool


@dataclass(frozen=True)
class Voice:
    """One node's answer. *pointed_at* is the host in its primary_conninfo. *settled*: whether *position* is all it has; a
    standby that has just been started reads on in its own WAL for a while. *upstream* is the host its WAL receiver is
    connected to, *receiver* that receiver's status or ''.
    *wal_waits*: processes wait until WAL is written or flushed, or until another has done so.
    *locked*: others' sessions that hold the seal's lock. *upstream_seen_age*: seconds since its repmgrd last reached its
    upstream, -1 when never. *stop_asked*: who asks it to stop for a switchover, as ASKING and a name. *senders*: who
    streams from it, with the time in its last answer as text (another clock's, good
    only for seeing that it changes). *slots*: physical ones, with their restart_lsn and whether they are in use.
    *logical*: the others, as LogicalSlot. *lacks_database*: it is to copy slots, and its primary_conninfo names no database
    to ask for them."""

    name: str
    in_recovery: bool
    timeline: int
    system_id: str
    write_lsn: str | None = None
    wal_waits: bool = False
    receive_lsn: str | None = None
    replay_lsn: str | None = None
    has_upstream: bool = True
    pointed_at: str = ""
    settled: bool = True
    upstream: str = ""
    receiver: str = ""
    locked: int = 0
    read_only: bool = False
    repmgrd: bool = True
    upstream_seen_age: int = -1
    stop_asked: str = ""
    senders: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, tuple[str | None, bool]] = field(default_factory=dict)
    logical: Mapping[str, LogicalSlot] = field(default_factory=dict)
    lacks_database: bool = False

    @property
    def position(self) -> int:
        """The newest WAL it holds, in bytes. A standby that was restarted has replayed more than it has received since."""
        known = (self.write_lsn, self.receive_lsn, self.replay_lsn)
        return max((lsn_to_int(lsn) for lsn in known if lsn), default=0)

    @property
    def reached(self) -> tuple[int, int]:
        """How far it is: timeline, then bytes."""
        return self.timeline, self.position

    @property
    def streaming(self) -> bool:
        """Whether its WAL receiver streams."""
        return self.receiver == "streaming"

    @property
    def sealed(self) -> bool:
        """Whether it is a standby that was told to follow nobody."""
        return self.in_recovery and not self.has_upstream


@dataclass(frozen=True)
class Round:
    """All nodes' answers of about one moment, and why others gave none."""

    voices: Mapping[str, Voice] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    def without(self, *names: str) -> Round:
        """The same without the nodes *names*."""
        return Round(
            {name: voice for name, voice in self.voices.items() if name not in names},
            {name: why for name, why in self.silent.items() if name not in names},
        )


def node_at(cluster: Cluster, host: str) -> str:
    """The name of the node that *host* is, '' when it is none."""
    return next((node.name for node in cluster.nodes if host and host in (node.name, node.address, node.ip)), "")


def voice(name: str, row: Row) -> Voice:
    """The answer of the node called *name*."""
    found = {**row, "name": name, "senders": json.loads(row["senders"])}
    slots = {slot: (lsn, bool(active)) for slot, (lsn, active) in json.loads(row["slots"]).items()}
    logical = {slot: LogicalSlot(*map(bool, said)) for slot, said in json.loads(row["logical"]).items()}
    return build(Voice, {**found, "slots": slots, "logical": logical})


def parameters(cluster: Cluster, node: Node, passfile: str = "") -> dict[str, Any]:
    """libpq parameters of repmgr's role on *node*, from any other node."""
    given = {**node_parameters(cluster, node), "options": OPTIONS, "application_name": "pgherd"}
    return {**given, "passfile": passfile} if passfile else given


def local_parameters(cluster: Cluster, node: Node, passfile: str = "") -> dict[str, Any]:
    """The same on this host, through the socket: it needs no name service and no network."""
    return {**parameters(cluster, node, passfile), "host": SOCKETS, "sslmode": "disable"}
