# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What sessions of the cluster's own roles begin with, whatever the server's defaults are: also those of repmgrd, Pgpool-II and
Barman, whose connections are not opened by the core.

ALTER ROLE ... SET goes before postgresql.conf, ALTER SYSTEM, ALTER ROLE ALL SET and ALTER DATABASE ... SET, and after the options
at the start of a session; a superuser may set what the role itself may not (process_settings() in postinit.c). It does nothing
for physical replication, which has no database.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ports.sql import FIXED, option, session_options

# By a role an empty list becomes one of an empty name, which no session survives (tried on PostgreSQL 15). The time zone is
# what a program shows to people.
_NOT_BY_ROLE = ("local_preload_libraries", "TimeZone")

# What only a superuser may set for a session.
_SUPERUSERS = {
    "session_replication_role": "origin",
    # Where programs look for a word in a message.
    "lc_messages": "C",
}
# A misspelt library ends every session. By a role it is one that is always there, for none.
_NO_LIBRARY, _ANY_LIBRARY = {"session_preload_libraries": ""}, {"session_preload_libraries": "plpgsql"}

# An audit is of what applications do. The agents alone ask several thousand characters twice a second, each of every node.
_SILENT = {
    "log_statement": "none",
    "log_duration": "off",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_statement_stats": "off",
    "log_parser_stats": "off",
    "log_planner_stats": "off",
    "log_executor_stats": "off",
    # Of extensions; without them nobody reads it.
    "pgaudit.log": "none",
    "auto_explain.log_min_duration": "-1",
}

# A trigger at login that fails, as one does that writes on a standby, ends the session.
_TIME_17, _TRIGGERS_17 = {"transaction_timeout": "0"}, {"event_triggers": "off"}


def own_settings(postgres_version: int) -> dict[str, str]:
    """For each of the cluster's own roles that has sessions in a database: settings to ALTER ROLE ... SET."""
    fixed = {name: value for name, value in FIXED.items() if name not in _NOT_BY_ROLE}
    return {
        **fixed,
        "statement_timeout": "0",
        **_SUPERUSERS,
        **_ANY_LIBRARY,
        **_SILENT,
        **_since(postgres_version, _TIME_17, _TRIGGERS_17),
    }


def superusers_options(postgres_version: int) -> str:
    """libpq's *options* for a superuser's session of ours that makes nothing in others' databases, beside session_options()."""
    return _options({**_SUPERUSERS, **_NO_LIBRARY, **_since(postgres_version, _TIME_17, _TRIGGERS_17)})


def makers_options(postgres_version: int) -> str:
    """All of libpq's *options* for a superuser's session that makes roles, databases and extensions: without waiting for standbys
    that may not be there yet. Event triggers run, as their owners mean it."""
    local = {"synchronous_commit": "local", **_SUPERUSERS, **_NO_LIBRARY, **_since(postgres_version, _TIME_17)}
    return session_options(_options(local))


def _options(settings: Mapping[str, str]) -> str:
    return " ".join(option(name, value) for name, value in settings.items())


def _since(postgres_version: int, *settings: dict[str, str]) -> dict[str, str]:
    """All of *settings* from PostgreSQL 17 on."""
    return {name: value for some in settings for name, value in some.items()} if postgres_version >= 17 else {}
