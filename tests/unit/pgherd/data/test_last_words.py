# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a server's log says of why it does not start, and which of that a copy of the data would mend."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd import layout
from pgherd.data import last_words
from pgherd.data.last_words import broken, last, said

P = "2026-11-29 01:02:03.004 UTC [123] "
BEFORE = f"""{P}LOG:  database system was shut down in recovery at 2026-11-29 01:00:00 UTC
2026-11-29 01:02:03.004 UTC [9] app@app FATAL:  the database system is starting up
"""

# What PostgreSQL 15 and 17 write, by what was wrong; what is shown of it; whether the data are broken.
CASES = [
    (
        "a certificate",
        f"""{P}FATAL:  could not load server certificate file "/nonexistent.crt": No such file or directory
{P}LOG:  database system is shut down
""",
        'FATAL: could not load server certificate file "/nonexistent.crt": No such file or directory',
        False,
    ),
    (
        "a library",
        f"""{P}FATAL:  could not access file "no_such_library": No such file or directory
""",
        'FATAL: could not access file "no_such_library": No such file or directory',
        False,
    ),
    (
        "a setting",
        f"""{P}LOG:  unrecognized configuration parameter "no_such_setting" in file "/x/postgresql.auto.conf" line 3
{P}FATAL:  configuration file "/x/postgresql.auto.conf" contains errors
""",
        'unrecognized configuration parameter "no_such_setting" in file "/x/postgresql.auto.conf" line 3; '
        'FATAL: configuration file "/x/postgresql.auto.conf" contains errors',
        False,
    ),
    (
        "a port",
        f"""{P}LOG:  could not bind IPv4 address "0.0.0.0": Address already in use
{P}HINT:  Is another postmaster already running on port 5432? If not, wait a few seconds and retry.
{P}WARNING:  could not create listen socket for "*"
{P}FATAL:  could not create any TCP/IP sockets
""",
        "FATAL: could not create any TCP/IP sockets",
        False,
    ),
    (
        "a limit",
        f"""{P}FATAL:  recovery aborted because of insufficient parameter settings
{P}DETAIL:  max_connections = 20 is a lower setting than on the primary server, where its value was 300.
{P}HINT:  You can restart the server after making the necessary configuration changes.
{P}LOG:  startup process (PID 77) exited with exit code 1
""",
        "FATAL: recovery aborted because of insufficient parameter settings; max_connections = 20 is a lower setting than on "
        "the primary server, where its value was 300.; You can restart the server after making the necessary configuration "
        "changes.",
        False,
    ),
    (
        "memory",
        f"""{P}FATAL:  could not map anonymous shared memory: Cannot allocate memory
{P}HINT:  This error usually means that PostgreSQL's request for a shared memory segment exceeded available memory.
""",
        "FATAL: could not map anonymous shared memory: Cannot allocate memory; This error usually means that PostgreSQL's "
        "request for a shared memory segment exceeded available memory.",
        False,
    ),
    (
        "the primary's certificate, for its receiver",
        f"""{P}FATAL:  could not connect to the primary server: connection to server at "pg1", port 5432 failed: SSL error
""",
        'FATAL: could not connect to the primary server: connection to server at "pg1", port 5432 failed: SSL error',
        False,
    ),
    (
        "no room",
        f"""{P}PANIC:  could not write to file "pg_wal/xlogtemp.33": No space left on device
""",
        'PANIC: could not write to file "pg_wal/xlogtemp.33": No space left on device',
        False,
    ),
    (
        "its WAL",
        f"""{P}LOG:  invalid checkpoint record
{P}PANIC:  could not locate a valid checkpoint record at 0/703A058
""",
        "invalid checkpoint record; PANIC: could not locate a valid checkpoint record at 0/703A058",
        True,
    ),
    (
        "its control file",
        f"""{P}FATAL:  incorrect checksum in control file
""",
        "FATAL: incorrect checksum in control file",
        True,
    ),
    (
        "a part of its data",
        f"""{P}FATAL:  could not open file "pg_xact/0000": No such file or directory
""",
        'FATAL: could not open file "pg_xact/0000": No such file or directory',
        True,
    ),
    (
        "nothing",
        f"""{P}LOG:  database system is ready to accept read-only connections
""",
        "",
        False,
    ),
    (
        "only its clients",
        f"""{P}FATAL:  terminating connection due to administrator command
""",
        "",
        False,
    ),
]


@pytest.mark.parametrize(("what", "log", "words", "useless"), CASES, ids=[case[0] for case in CASES])
def test_what_is_said(what: str, log: str, words: str, useless: bool) -> None:
    found = last(BEFORE + log)
    assert found == words[: last_words.SHOWN]
    assert broken(found) is useless


def test_another_prefix() -> None:
    assert last("2026 [7] 'repmgr': postgres@repmgr, FATAL:  no way\n") == "FATAL: no way"


def test_the_log_that_is_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Debian's and the collector's the later one; nothing where it is of yesterday."""
    debian = tmp_path / "debian.log"
    there = replace(layout.debian(17), data=str(tmp_path), log=str(debian))
    assert said(there) == ""
    debian.write_text(f"{P}FATAL:  first\n")
    now = debian.stat().st_mtime
    assert said(there, now) == "FATAL: first"
    assert said(there, now + last_words.FRESH + 1) == ""
    (tmp_path / "log").mkdir()
    (tmp_path / "current_logfiles").write_text("stderr log/postgresql.log\n")
    (tmp_path / "log/postgresql.log").write_text(f"{P}FATAL:  second\n")
    assert said(there) == "FATAL: second"
    os.utime(tmp_path / "log/postgresql.log", (1, 1))
    assert said(there) == "FATAL: first"
