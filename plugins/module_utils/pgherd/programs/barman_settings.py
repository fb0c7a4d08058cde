# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Values of Barman's settings, 3.4 to 3.13. Pure.

Barman ignores a value that it cannot read, with a warning that only its log has: backups go on with the default, for ever and on
a disk that fills (invoke_parser() of barman/config.py, retention_policies.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .own_settings import problems

VARIABLE = "cluster_barman_settings"
_CONNECTION = "it leads to whichever node is primary, by the inventory"
_OURS = "units and agents of the host count on it"
# By name: what is to be done in its place.
OURS: dict[str, str] = {
    "conninfo": _CONNECTION,
    "streaming_conninfo": _CONNECTION,
    "barman_user": _OURS,
    "configuration_files_directory": _OURS,
    "streaming_archiver": "WAL is received as it is written",
    "active": "take the host out of the group barman",
    "disabled": "take the host out of the group barman",
}
_BOOLEAN = ("true|t|yes|1|on|false|f|no|0|off", "on or off")
_NUMBER = (r"\d+", "a whole number")
_AGE = (r"\d+\s+(day|week|month|hour)s?", "such as 2 DAYS")
_POLICY = (
    r"|redundancy\s+[1-9]\d*|recovery\s+window\s+of\s+[1-9]\d*\s+(day|week|month)s?",
    "REDUNDANCY 3 or RECOVERY WINDOW OF 7 DAYS, or empty to keep all",
)
# By name: what matches the whole value, in any case, and how to write it.
_VALUES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("archiver", "immediate_checkpoint", "network_compression", "lock_directory_cleanup"), _BOOLEAN),
    **dict.fromkeys(
        (
            "minimum_redundancy",
            "basebackup_retry_times",
            "basebackup_retry_sleep",
            "check_timeout",
            "parallel_jobs",
            "archiver_batch_size",
            "streaming_archiver_batch_size",
            "max_incoming_wals_queue",
            "bandwidth_limit",
        ),
        _NUMBER,
    ),
    **dict.fromkeys(("last_backup_maximum_age", "last_wal_maximum_age"), _AGE),
    "last_backup_minimum_size": (r"\d+\s*([kmgtpezy]i?)?b?", "such as 10 Gi"),
    "retention_policy": _POLICY,
    "retention_policy_mode": ("auto", "auto"),
    "wal_retention_policy": ("main", "main"),
    "reuse_backup": ("copy|link|off", "copy, link or off"),
    "create_slot": ("auto|manual", "auto or manual"),
    "slot_name": ("[0-9a-z_]{1,63}", "at most 63 lower-case letters, digits and _"),
    "log_level": ("notset|debug|info|warning|error|critical", "INFO, say"),
}


def retention_problems(variable: str, value: Any) -> Iterator[str]:
    """What is wrong with a retention policy."""
    yield from _wrong(variable, value, _POLICY)


def setting_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each of a user's *settings* that Barman would ignore or that is not theirs to make. None leaves one out.
    No sentence shows a value."""
    given = {name: value for name, value in settings.items() if value is not None}
    yield from problems(VARIABLE, OURS, given)
    for name, value in given.items():
        if name in _VALUES:
            yield from _wrong(f"{VARIABLE}: {name}", value, _VALUES[name])


def _wrong(what: str, value: Any, form: tuple[str, str]) -> Iterator[str]:
    pattern, words = form
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(pattern, text, re.IGNORECASE):
        yield f"{what} is not what Barman can read; write it as {words}."
