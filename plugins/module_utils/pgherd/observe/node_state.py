# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What each node says when it matters who is primary, in one statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import TRUSTED_ROLES, build
from ..ports.sql import Row, Server
from .server_state import ServerState, parse, statement

# Whoever seals a node holds this session lock on it ("pgherd" in ASCII, as one number): two promotions at once exclude
# each other, and the lock ends with the session when its holder dies.
SEAL_LOCK = 0x706768657264
# Whoever holds this one on a primary asks its agent to stop it; the session's application_name says for whom.
STOP_LOCK = 0x706768657265
ASKING = "pgherd handover to "
# What a standby's startup process waits for (wait_event_names.txt): more WAL, or by somebody's word, recovery_min_apply_delay or
# pg_wal_replay_pause(). It has a receiver started only when it has replayed all it has.
WANTS_WAL = ("RecoveryWalStream", "RecoveryRetrieveRetryInterval")
TOLD_TO_WAIT = ("RecoveryApplyDelay", "RecoveryPause")

# Any role may take an advisory lock in its own database, call its session what it likes, and stream under another's name where it
# may stream at all. So a lock counts in this database and by the agents' sessions, and a stream by the roles of standbys.
_ROLES = ", ".join(f"'{role}'" for role in TRUSTED_ROLES)
_HERE = "(SELECT oid FROM pg_database WHERE datname = current_database())"


def _holders(lock: int) -> str:
    """The sessions that hold *lock* and may ask for something by it: a relation with the columns of pg_stat_activity."""
    return f"""(SELECT a.* FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.objsubid = 1 AND l.database = {_HERE}
           AND (l.classid::int8 << 32) + l.objid::int8 = {lock} AND a.usename IN ({_ROLES}))"""  # noqa: S608


# Who streams, and whether its word counts. repmgr's role loses REPLICATION with its last standby (programs/repmgr.py, spent()).
SENDERS = f"""
(SELECT s.pid, s.usename, s.application_name, s.state, s.sync_state, s.flush_lsn, s.reply_time, r.rolsuper,
        coalesce(r.rolreplication AND s.usename IN ({_ROLES}), false) AS trusted,
        (SELECT slot_name FROM pg_replication_slots WHERE active_pid = s.pid) AS slot
   FROM pg_stat_replication s LEFT JOIN pg_roles r ON r.oid = s.usesysid)"""  # noqa: S608

# What server_state.py asks, and what a promotion must know besides. A standby without primary_conninfo is sealed. One that
# has received nothing since its start has not read all its own WAL before it waits for more. Who asks a primary to stop holds
# the seal's lock on it too. get_upstream_last_seen() counts since repmgrd last got an answer.
QUERY = statement(
    f"""
       CASE WHEN NOT pg_is_in_recovery()
            THEN EXISTS (SELECT FROM pg_stat_activity WHERE lower(wait_event) IN ('walwrite', 'walsync'))
            ELSE false END AS wal_waits,
       current_setting('primary_conninfo') <> '' AS has_upstream,
       coalesce(substring(current_setting('primary_conninfo') FROM '\\mhost=''?([^'' ]+)'), '') AS pointed_at,
       NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn() IS NOT NULL
           OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                         AND wait_event IN {WANTS_WAL}) AS settled,
       coalesce((SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), '') AS startup,
       (SELECT count(*)::int FROM {_holders(SEAL_LOCK)} h WHERE h.pid <> pg_backend_pid()) AS locked,
       coalesce(repmgr.repmgrd_is_running(), false) AS repmgrd,
       coalesce(repmgr.get_upstream_last_seen(), -1) AS upstream_seen_age,
       coalesce((SELECT min(h.application_name) FROM {_holders(STOP_LOCK)} h
                  WHERE h.pid IN (SELECT pid FROM {_holders(SEAL_LOCK)} b)), '') AS stop_asked,
       (SELECT coalesce(jsonb_object_agg(application_name, reply_time), '{{}}') FROM {SENDERS} s
         WHERE trusted AND state = 'streaming')::text AS senders,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(pid, usename, application_name, coalesce(slot, ''))), '[]')
          FROM {SENDERS} s WHERE NOT trusted)::text AS strangers,
       (SELECT coalesce(jsonb_object_agg(slot_name, jsonb_build_array(restart_lsn, active)), '{{}}')
          FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary)::text AS slots,
       (SELECT coalesce(jsonb_object_agg(slot_name, jsonb_build_array(to_jsonb(l)->'failover', to_jsonb(l)->'synced',
                                                                      active)), '{{}}')
          FROM pg_replication_slots l WHERE slot_type = 'logical' AND NOT temporary)::text AS logical,
       coalesce(current_setting('sync_replication_slots', true), 'off') = 'on'
           AND current_setting('primary_conninfo') <> '' AND current_setting('primary_conninfo') !~ '\\mdbname='
           AS lacks_database,
       trim('''' FROM coalesce(substring(current_setting('primary_conninfo')
                                      FROM '\\mapplication_name=(''[^'']*''|[^ ]+)'), '')) AS called,
       (SELECT coalesce(jsonb_object_agg(a.application_name, s.flush_lsn), '{{}}')
          FROM pg_stat_get_wal_senders() s JOIN pg_stat_get_activity(NULL) a USING (pid) JOIN pg_roles o ON o.oid = a.usesysid
         WHERE s.flush_lsn IS NOT NULL AND o.rolreplication AND o.rolname IN ({_ROLES}))::text AS flushed"""  # noqa: S608
)


@dataclass(frozen=True)
class LogicalSlot:
    """*failover*: it is to be copied to standbys; *synced*: it was copied from a primary (both PostgreSQL 17)."""

    failover: bool
    synced: bool
    active: bool


@dataclass(frozen=True)
class Stranger:
    """A stream of another role than the standbys': *pid* of its sender, *role*, what it calls itself, and its *slot* ('')."""

    pid: int
    role: str
    name: str
    slot: str = ""


@dataclass(frozen=True)
class NodeState(ServerState):
    """The answer of the node called *name*, when it matters who is primary. *pointed_at* is the host in its primary_conninfo.
    *settled*: whether *position* is all it has; a standby that has just been started reads on in its own WAL for a while.
    *startup*: what its startup process waits for. *wal_waits*: processes wait until WAL is written or flushed, or until another
    has done so. *locked*: others' sessions that hold the seal's lock. *upstream_seen_age*: seconds since its repmgrd last reached
    its upstream, -1 when never. *stop_asked*: who asks it to stop for a switchover, as ASKING and a name. *senders*: who streams
    from it, with the time in its last answer as text (another clock's, good only for seeing that it changes). *strangers*:
    streams of other roles. *slots*: physical ones, with their restart_lsn and whether they are in use. *logical*: the others, as
    LogicalSlot. *lacks_database*: it is to copy slots, and its primary_conninfo names no database to ask for them. *called*: the
    name under which it would stream; *flushed*: by name of a sender what it has confirmed."""

    name: str = ""
    wal_waits: bool = False
    has_upstream: bool = True
    pointed_at: str = ""
    settled: bool = True
    startup: str = WANTS_WAL[0]
    locked: int = 0
    repmgrd: bool = True
    upstream_seen_age: int = -1
    stop_asked: str = ""
    senders: Mapping[str, str] = field(default_factory=dict)
    strangers: tuple[Stranger, ...] = ()
    slots: Mapping[str, tuple[str | None, bool]] = field(default_factory=dict)
    logical: Mapping[str, LogicalSlot] = field(default_factory=dict)
    lacks_database: bool = False
    called: str = ""
    flushed: Mapping[str, str] = field(default_factory=dict)

    @property
    def reached(self) -> tuple[int, int]:
        """How far it is: timeline, then bytes."""
        return self.timeline, self.position

    @property
    def wants_wal(self) -> bool:
        """Whether it has replayed what it has, and waits for more."""
        return self.startup in WANTS_WAL

    @property
    def told_to_wait(self) -> bool:
        """Whether it waits to replay what it has because somebody wants that. It asks for no more meanwhile."""
        return self.startup in TOLD_TO_WAIT

    @property
    def sealed(self) -> bool:
        """Whether it is a standby that was told to follow nobody."""
        return self.in_recovery and not self.has_upstream


@dataclass(frozen=True)
class Survey:
    """All nodes' answers of about one moment, and why others gave none."""

    states: Mapping[str, NodeState] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    def without(self, *names: str) -> Survey:
        """The same without the nodes *names*."""
        return Survey(
            {name: state for name, state in self.states.items() if name not in names},
            {name: why for name, why in self.silent.items() if name not in names},
        )


def parse_state(name: str, row: Row) -> NodeState:
    """The answer of the node called *name*."""
    more = {
        "name": name,
        "senders": json.loads(row["senders"]),
        "strangers": tuple(Stranger(*said) for said in json.loads(row["strangers"])),
        "slots": {slot: (lsn, bool(active)) for slot, (lsn, active) in json.loads(row["slots"]).items()},
        "logical": {slot: LogicalSlot(*map(bool, said)) for slot, said in json.loads(row["logical"]).items()},
        "flushed": json.loads(row.get("flushed") or "{}"),
    }
    return build(NodeState, {**parse(row), **more})


def ask(name: str, server: Server) -> NodeState:
    """What the node called *name* says now."""
    return parse_state(name, server.rows(QUERY)[0])
