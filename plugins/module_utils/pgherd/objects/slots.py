# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Replication slots of one server, PostgreSQL 15 to 17.

Temporary slots are not offered: they end with the session that made them, so nobody could state one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Conflict, PgherdError, SqlError
from ..plan import Plan, Step
from ..ports.sql import Server, quote
from . import orders

# Columns of pg_replication_slots that are shown, where the server's version has them. Not safe_wal_size: it moves with
# every byte of WAL, so that a slot nobody touched would look changed.
_COLUMNS = (
    "plugin",
    "database",
    "temporary",
    "active",
    "active_pid",
    "restart_lsn",
    "confirmed_flush_lsn",
    "wal_status",
    "two_phase",
    "failover",
    "synced",
    "conflicting",
    "invalidation_reason",
    "inactive_since",
)
_OF_OTHER_TYPE = {"physical": ("two_phase", "failover"), "logical": ("reserve",)}


@dataclass(frozen=True)
class WantedSlot:
    """A slot that should be there.

    *reserve*: a physical slot keeps WAL from now on, not only from its first use. The rest is for logical slots:
    *failover* (PostgreSQL 17) has it copied to standbys that synchronise slots.
    """

    name: str
    type: str = "physical"
    plugin: str = "pgoutput"
    database: str = "postgres"
    reserve: bool = False
    two_phase: bool = False
    failover: bool = False


@dataclass(frozen=True)
class FoundSlots:
    """What observe() found; the default is an empty server of unknown version.

    *slot* is the slot of the name in question, None without one; *application* the name of who uses it. *free* is how
    many slots the server still has room for.
    """

    version: int = 0
    in_recovery: bool = False
    wal_level: str = ""
    free: int = 1
    slot: Mapping[str, Any] | None = None
    application: str = ""


def observe(server: Server, name: str) -> FoundSlots:
    """Read the server's facts and the slot called *name*. Raises SqlError."""
    facts = server.rows(
        "SELECT current_setting('server_version_num')::int / 10000 AS version, pg_is_in_recovery() AS in_recovery,"
        " current_setting('wal_level') AS wal_level,"
        " current_setting('max_replication_slots')::int - (SELECT count(*)::int FROM pg_replication_slots) AS free"
    )[0]
    rows = server.rows(
        "SELECT to_jsonb(s) AS slot, coalesce(a.application_name, '') AS application FROM pg_replication_slots AS s"
        " LEFT JOIN pg_stat_activity AS a ON a.pid = s.active_pid WHERE s.slot_name = %s",
        [name],
    )
    if not rows:
        return FoundSlots(**facts)
    row = rows[0]["slot"]
    shown = {key: row[key] for key in _COLUMNS if key in row}
    return FoundSlots(
        **facts, slot={"name": name, "type": row["slot_type"], **shown}, application=rows[0]["application"]
    )


def present(wanted: WantedSlot, state: FoundSlots) -> Plan:
    """What makes *wanted* so.

    A slot that is there is kept, but a physical one that holds nothing and never can again (wal_status lost), or holds
    nothing yet where *reserve* is wanted, is replaced. Raises Conflict when a slot of that name is another, ConfigError
    and PgherdError for what this server cannot do.
    """
    if not re.fullmatch(r"[a-z0-9_]{1,63}", wanted.name):
        raise ConfigError([f"Slot name {wanted.name!r}: use up to 63 lower case letters, digits and underscores."])
    foreign = [key for key in _OF_OTHER_TYPE[wanted.type] if getattr(wanted, key)]
    if foreign:
        raise ConfigError([f"Slot {wanted.name}: a {wanted.type} slot has no {foreign[0]}. Leave it out."])
    create = Step("create", f"create {wanted.type} slot {wanted.name}", {"slot": wanted})
    drop = Step("drop", f"drop slot {wanted.name}", {"name": wanted.name})
    found = state.slot
    if found is None:
        _check_server(wanted, state)
        return Plan(_subject(wanted.name), {}, _foretold(wanted, state), (create,))
    _check_same(wanted, found)
    if wanted.type == "logical" and found.get("failover", False) != wanted.failover:
        _check_failover(wanted, state, found)
        words = "on" if wanted.failover else "off"
        step = Step(
            "set_failover",
            f"turn failover of slot {wanted.name} {words}",
            {"name": wanted.name, "failover": wanted.failover},
        )
        return Plan(_subject(wanted.name), found, {**found, "failover": wanted.failover}, (step,))
    lost = found.get("wal_status") == "lost"
    if lost and wanted.type == "logical":
        raise Conflict(
            f"logical slot {wanted.name}",
            "one that can be read",
            f"one that is lost ({found.get('invalidation_reason') or 'the WAL it needs is gone'})",
            "What its reader missed cannot be had from a new slot: drop it, and build the reader anew.",
        )
    if lost or (wanted.type == "physical" and wanted.reserve and found["restart_lsn"] is None):
        _check_idle(f"replace slot {wanted.name}", state, found)
        return Plan(_subject(wanted.name), found, _foretold(wanted, state), (drop, create))
    return Plan(_subject(wanted.name), found, found)


def absent(name: str, state: FoundSlots, kind: str | None = None) -> Plan:
    """What removes the slot called *name*; only one of *kind*, where that is said.

    Raises Conflict when the slot is in use, of another kind, or copied from the primary.
    """
    found = state.slot
    if found is None:
        return Plan(_subject(name), {}, {})
    if kind and found["type"] != kind:
        raise Conflict(f"drop slot {name}", kind, found["type"], "Say its kind, or leave the kind out.")
    _check_idle(f"drop slot {name}", state, found)
    if state.in_recovery and found.get("synced"):
        raise Conflict(
            f"drop slot {name}", "a slot of this standby", "one copied from the primary", "Drop it on the primary."
        )
    return Plan(_subject(name), found, {}, (Step("drop", f"drop slot {name}", {"name": name}),))


class SlotExecutor:
    """Runs the steps of the plans. *walsender* opens a session in the replication protocol (replication=database), only
    called where failover is altered. *timeout* in seconds bounds the making of a logical slot."""

    def __init__(self, server: Server, walsender: Callable[[], Server], timeout: float = 60.0) -> None:
        self._server = server
        self._walsender = walsender
        self._timeout = timeout

    def create(self, slot: WantedSlot) -> None:
        """Make *slot*. Raises SqlError, with a cure where a logical slot was not ready in time: then none is left."""
        if slot.type == "physical":
            orders.create_slot(self._server, slot.name, slot.reserve)
            return
        # The parameter failover exists from PostgreSQL 17 on.
        more = ", failover => true" if slot.failover else ""
        self._server.rows("SELECT set_config('statement_timeout', %s, false)", [str(int(self._timeout * 1000))])
        try:
            self._server.rows(
                f"SELECT pg_create_logical_replication_slot(%s, %s, twophase => %s{more})",
                [slot.name, slot.plugin, slot.two_phase],
            )
        except SqlError as error:
            if error.sqlstate != "57014":
                raise SqlError(f"create logical slot {slot.name}", error.node, error.said, error.sqlstate) from error
            raise SqlError(
                f"create logical slot {slot.name}",
                error.node,
                f"no consistent point in {self._timeout:g} s.",
                error.sqlstate,
                "A primary waits for its open transactions to end. A standby waits for news of them, which an idle"
                " primary does not send: run SELECT pg_log_standby_snapshot() there meanwhile.",
            ) from error

    def drop(self, name: str) -> None:
        """Drop the slot called *name*. Raises SqlError."""
        orders.drop_slot(self._server, name)

    def set_failover(self, name: str, failover: bool) -> None:
        """Turn failover of a logical slot on or off: there is a replication command for it, but no SQL function."""
        self._walsender().run(f"ALTER_REPLICATION_SLOT {quote(name)} (FAILOVER {str(failover).lower()})")


def _subject(name: str) -> str:
    return f"slot {name}"


def _foretold(wanted: WantedSlot, state: FoundSlots) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": wanted.name, "type": wanted.type, "active": False, "temporary": False}
    if wanted.type == "logical":
        shown.update(plugin=wanted.plugin, database=wanted.database, two_phase=wanted.two_phase)
        if state.version >= 17:
            shown["failover"] = wanted.failover
    return shown


def _check_server(wanted: WantedSlot, state: FoundSlots) -> None:
    """Raise when the server cannot have such a new slot. Says so in check mode too, where the server is not asked."""
    attempted = f"create {wanted.type} slot {wanted.name}"
    if state == FoundSlots():
        return
    if state.free <= 0:
        raise PgherdError(f"{attempted}: all slots are taken.", "Raise max_replication_slots and restart the server.")
    level = "logical" if wanted.type == "logical" else "replica"
    if state.wal_level not in ("logical", level):
        raise Conflict(
            attempted,
            f"wal_level {level}",
            f"wal_level {state.wal_level}",
            f"Set wal_level to {level} and restart the server, a primary before its standbys.",
        )
    if wanted.type == "physical":
        return
    if state.in_recovery and state.version < 16:
        raise PgherdError(
            f"{attempted}: a logical slot on a standby needs PostgreSQL 16 or later, this is {state.version}.",
            "Create it on the primary.",
        )
    _check_failover(wanted, state, {})


def _check_same(wanted: WantedSlot, found: Mapping[str, Any]) -> None:
    """Raise Conflict when the slot found is another than the one wanted."""
    properties = {"type": wanted.type, "temporary": False}
    if wanted.type == found["type"] == "logical":
        properties.update(plugin=wanted.plugin, database=wanted.database, two_phase=wanted.two_phase)
    different = {key: value for key, value in properties.items() if found[key] != value}
    if different:
        raise Conflict(
            f"slot {wanted.name} is another slot",
            ", ".join(f"{key} {value}" for key, value in different.items()),
            ", ".join(f"{key} {found[key]}" for key in different),
            "Take another name, or drop it first if nobody needs it.",
        )


def _check_failover(wanted: WantedSlot, state: FoundSlots, found: Mapping[str, Any]) -> None:
    """Raise when failover of a logical slot cannot be as wanted here. *found* is empty for a new one."""
    attempted = f"failover of slot {wanted.name}"
    if state.version < 17 and wanted.failover:
        raise PgherdError(f"{attempted}: needs PostgreSQL 17 or later, this is {state.version}.", "Leave it out.")
    if state.in_recovery and (found or wanted.failover):
        raise Conflict(
            attempted,
            wanted.failover,
            found.get("failover", "a standby"),
            "State it on the primary: its slots with failover are copied from there.",
        )
    if found:
        # The command waits for the user of the slot, without any time limit.
        _check_idle(f"alter {attempted}", state, found)


def _check_idle(attempted: str, state: FoundSlots, found: Mapping[str, Any]) -> None:
    if found["active"]:
        raise Conflict(
            attempted,
            "a slot that nobody uses",
            f"one in use by process {found['active_pid']} ({state.application or 'application unknown'})",
            "Stop its user first.",
        )
