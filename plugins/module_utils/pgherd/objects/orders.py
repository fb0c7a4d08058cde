# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What nodes are told and asked by SQL in more than one place, each said once. All raise as Server.rows() and Server.run()."""

from __future__ import annotations

from typing import Optional

from ..errors import SqlError
from ..model import SYSTEM_ROLES
from ..ports.sql import Server, literal

# Whether a slot is there, and can hold WAL: one that is *useless* has lost some (max_slot_wal_keep_size), and nobody reads it.
_KEEPS = (
    "SELECT NOT active AND coalesce(wal_status = 'lost', false) AS useless FROM pg_replication_slots"
    " WHERE slot_name = %s"
)
_USED = "SELECT active FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'"
_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid))::int AS ended
  FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND NOT rolsuper AND NOT rolname = ANY(%s)
"""
_UNDEFINED_OBJECT = "42704"


def reload(server: Server) -> None:
    """Have the server read its files again. It does so after this has returned."""
    server.run("SELECT pg_reload_conf()")


def point(server: Server, conninfo: str, slot: Optional[str] = None) -> None:
    """Have the standby stream from *conninfo* ('' for nobody) through *slot* ('' for none, None for the one it has)."""
    server.run(f"ALTER SYSTEM SET primary_conninfo = {literal(conninfo)}")
    if slot is not None:
        server.run(f"ALTER SYSTEM SET primary_slot_name = {literal(slot)}")
    reload(server)


def set_read_only(server: Server, shut: bool) -> None:
    """Have the server refuse writes in new transactions, where *shut*, or take them."""
    server.run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if shut else 'off'}")
    reload(server)


def forget_read_only(server: Server) -> None:
    """Have writes taken from the next reload on. It writes and flushes a file, whether they were refused or not."""
    server.run("ALTER SYSTEM RESET default_transaction_read_only")


def end_sessions(server: Server) -> int:
    """End all clients' sessions but those of superusers and of the cluster's own roles; how many there were."""
    return int(server.rows(_END_SESSIONS, (list(SYSTEM_ROLES),))[0]["ended"])


def create_slot(server: Server, slot: str, reserve: bool = True) -> None:
    """Make the physical *slot*, holding WAL from now on where *reserve*. Raises SqlError where it is there."""
    server.rows("SELECT pg_create_physical_replication_slot(%s, %s)", (slot, reserve))


def drop_slot(server: Server, slot: str) -> None:
    """Drop *slot*. Raises SqlError where it is in use, or not there."""
    server.rows("SELECT pg_drop_replication_slot(%s)", (slot,))


def make_slot(server: Server, slot: str) -> None:
    """Make the physical *slot*, holding WAL from now on, unless it is there. One that has lost WAL would keep none ever again."""
    found = server.rows(_KEEPS, (slot,))
    if found and found[0]["useless"]:
        drop_slot(server, slot)
    if not found or found[0]["useless"]:
        create_slot(server, slot)


def drop_idle_slot(server: Server, slot: str) -> bool:
    """Drop the physical *slot* where it is there and nobody uses it; whether there is none now."""
    found = server.rows(_USED, (slot,))
    if found and found[0]["active"]:
        return False
    if found:
        try:
            drop_slot(server, slot)
        except SqlError as error:
            # The agent there was quicker.
            if error.sqlstate != _UNDEFINED_OBJECT:
                raise
    return True


def streams(server: Server) -> bool:
    """Whether the server's WAL receiver streams."""
    return bool(server.rows("SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'"))
