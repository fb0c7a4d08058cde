# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings of postgresql.conf that are the cluster's own, and values without which it could not do what it promises. Pure.

docs/settings.md has both tables for people; a unit test holds the names there against these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .own_settings import problems

VARIABLE = "cluster_postgres_settings"
_DEBIAN = "its place is Debian's"
_REPMGR = "repmgr sets it on each standby"
_FILES = "set cluster_ca_certificate and cluster_ca_key for an authority of your own"
_LISTEN = "PostgreSQL listens everywhere, and pg_hba.conf says who may come; set cluster_networks or cluster_hba"
_INCLUDE = "write the settings themselves here, or into a file of the host's variables"
_STREAM = "standbys follow the primary by streaming alone, and what else they replayed no election would count"
# By name, in lower case: what is to be done in its place.
OURS: dict[str, str] = {
    "port": "set cluster_port",
    "data_directory": "set cluster_data_directory",
    "config_file": _DEBIAN,
    "hba_file": "set cluster_hba",
    "ident_file": _DEBIAN,
    "external_pid_file": _DEBIAN,
    "include": _INCLUDE,
    "include_dir": _INCLUDE,
    "include_if_exists": _INCLUDE,
    "listen_addresses": _LISTEN,
    "unix_socket_directories": "everything on the host looks in /var/run/postgresql",
    "cluster_name": "it is the node's name, by which others know it",
    "ssl": "all sessions between hosts use TLS",
    "ssl_ca_file": _FILES,
    "ssl_cert_file": _FILES,
    "ssl_key_file": _FILES,
    "synchronous_standby_names": "set cluster_durability and cluster_sync_standbys",
    "primary_conninfo": _REPMGR,
    "primary_slot_name": _REPMGR,
    "promote_trigger_file": "a promotion has to count who holds what; run the playbook switchover or promote",
    "restore_command": _STREAM,
    "recovery_target": _STREAM,
    "recovery_target_action": _STREAM,
    "recovery_target_inclusive": _STREAM,
    "recovery_target_lsn": _STREAM,
    "recovery_target_name": _STREAM,
    "recovery_target_time": _STREAM,
    "recovery_target_timeline": _STREAM,
    "recovery_target_xid": _STREAM,
}
_OFF = re.compile(r"f(a(l(s(e)?)?)?)?|n(o)?|of(f)?|0", re.IGNORECASE)


def is_off(value: Any) -> bool:
    """Whether PostgreSQL takes a *value* for false, by any beginning of its words (parse_bool_with_len() in bool.c)."""
    return value is False or value == 0 or bool(_OFF.fullmatch(str(value).strip()))


def _on(value: Any) -> bool:
    return not is_off(value)


def _other_than(*words: str) -> Callable[[Any], bool]:
    return lambda value: str(value).strip().lower() not in words


def _foreign(value: Any) -> bool:
    return not re.match(r"(C|POSIX|en)(?![A-Za-z])", str(value).strip())


# By name: whether a value is refused, what is said of it, and why.
REFUSED: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "hot_standby": (is_off, "off", "nobody could ask a standby how far it is"),
    "wal_level": (_other_than("replica", "logical"), "other than replica or logical", "no standby could follow"),
    "fsync": (is_off, "off", "a host that loses power loses what was acknowledged, or the whole data directory"),
    "full_page_writes": (is_off, "off", "a host that loses power may keep torn pages"),
    "data_sync_retry": (_on, "on", "a write that failed once would be taken for written"),
    "password_encryption": (_other_than("scram-sha-256"), "other than scram-sha-256", "pg_hba.conf takes nothing else"),
    "allow_alter_system": (is_off, "off", "repmgr points standbys at their upstream by ALTER SYSTEM"),
    "default_transaction_read_only": (_on, "on", "it is how a primary is fenced (set it for a role or a database)"),
    "lc_messages": (_foreign, "in another language", "the cluster looks for PostgreSQL's words in messages"),
    "db_user_namespace": (_on, "on", "every role's name would mean another one"),
}


def setting_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each of a user's *settings* of postgresql.conf that is not theirs to make. None shows a value."""
    yield from problems(VARIABLE, OURS, settings)
    for given, value in settings.items():
        name = str(given).lower()
        if name.startswith("pgherd."):
            yield f"{VARIABLE}: {name} is not to be set there: it belongs to pgherd."
        elif name in REFUSED and value is not None and REFUSED[name][0](value):
            _wrong, words, reason = REFUSED[name]
            yield f"{VARIABLE}: {name} {words} is refused, since {reason}; take it out."
