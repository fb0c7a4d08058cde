# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a PostgreSQL server says of itself, whoever asks: the columns that every statement to a node begins with, and the value
that they become. An agent asks for more (node_state.py), and so does the status (ask.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model import lsn_to_int
from ..objects.identity import INCARNATION_SQL, MEMBERS_SQL, Incarnation, parse_members
from ..ports.sql import Row
from ..programs.postgres import FENCED, LIMITS_SQL, PAUSED_SQL

# The timeline of the WAL file that holds a standby's last byte. Without a receiver nothing else tells it: what the control
# file says is that of the last restartpoint (tried: 1 on a sealed standby whose last WAL is of timeline 2). Read only then.
# A receiver brings the history of a timeline before its WAL. What has none here is of one that a rewind took away: pg_rewind
# keeps files that it has read (tried with 17).
_LAST_FILE = """
(SELECT max(('x' || left(name, 8))::bit(32)::int)
   FROM pg_ls_waldir(),
        (SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn - 1)::int8 AS byte,
                pg_size_bytes(current_setting('wal_segment_size')) AS bytes) p
  WHERE substr(name, 9) = lpad(upper(to_hex(byte >> 32)), 8, '0')
                       || lpad(upper(to_hex((byte & 4294967295) / bytes)), 8, '0')
    AND left(name, 8) || '.history' IN (SELECT name FROM pg_ls_waldir()))
"""

# received_tli and pg_walfile_name() are the live timelines; the control file's lags behind after a promotion.
_COLUMNS = f"""
       pg_is_in_recovery() AS in_recovery,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(coalesce(w.received_tli, {_LAST_FILE}), c.timeline_id, r.min_recovery_end_timeline)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
       s.system_identifier::text AS system_id,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END AS write_lsn,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()::text END AS receive_lsn,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS replay_lsn,
       {PAUSED_SQL} AS replay_paused,
       {LIMITS_SQL}::text AS limits,
       coalesce(w.sender_host, '') AS upstream,
       coalesce(w.status, '') AS receiver,
       {FENCED} AS read_only,
       {INCARNATION_SQL} AS shown,
       {MEMBERS_SQL} AS members"""


def statement(more: str) -> str:
    """The statement that asks for all that, and for the columns *more*, of the server, its WAL receiver *w*, its control file's
    checkpoint *c* and recovery *r*. It needs pg_monitor, and nothing that only one version of PostgreSQL or one database has."""
    return f"""
SELECT {_COLUMNS},
       {more}
  FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r
  LEFT JOIN pg_stat_wal_receiver w ON true
"""  # noqa: S608


@dataclass(frozen=True)
class ServerState:
    """*timeline* is the live one: of the WAL being written on a primary, of the newest WAL that is held on a standby. *upstream*
    is the host that its WAL receiver is connected to, *receiver* that receiver's status (``streaming``, ``waiting``...), ''
    without one.
    *read_only*: whether new transactions are, which is how a primary is fenced. *replay_paused*: by a person, or since a limit is
    too low. *limits*: see programs/postgres.py. *incarnation*, *replaces*: which data directory it is; *members*: which one is
    admitted under each node's name by its table, None where that is not there (observe/identity.py)."""

    in_recovery: bool
    timeline: int
    system_id: str
    write_lsn: str | None = None
    receive_lsn: str | None = None
    replay_lsn: str | None = None
    upstream: str = ""
    receiver: str = ""
    read_only: bool = False
    replay_paused: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    incarnation: str = ""
    replaces: tuple[str, ...] = ()
    members: Mapping[str, str] | None = None

    @property
    def position(self) -> int:
        """The newest WAL it holds, in bytes. A standby that was restarted has replayed more than it has received since."""
        known = (self.write_lsn, self.receive_lsn, self.replay_lsn)
        return max((lsn_to_int(lsn) for lsn in known if lsn), default=0)

    @property
    def streaming(self) -> bool:
        """Whether its WAL receiver streams."""
        return self.receiver == "streaming"


def parse(row: Row) -> dict[str, Any]:
    """The columns of a statement() as fields of a ServerState, with the others as they came."""
    own = Incarnation.parse(row.get("shown") or "")
    return {
        **row,
        "incarnation": own.id,
        "replaces": own.replaces,
        "members": parse_members(row.get("members")),
        "limits": json.loads(row.get("limits") or "{}"),
    }
