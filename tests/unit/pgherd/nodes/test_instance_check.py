# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What PostgreSQL says of configuration files that it cannot take, and the way back."""

from __future__ import annotations

import getpass
import grp
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.layout import debian
from pgherd.nodes.instance_check import put_back
from pgherd.nodes.trial import said

CONF = "# Written\nport = 5432\nwork_mem = 'lots'\nMax_Connections = 'many'\nhuge_pages = 'perhaps'\nwrok_mem = 1\n"
# postgres --config-file=F -c log_line_prefix= -C port, PostgreSQL 17
LOG = """\
LOG:  invalid value for parameter "max_connections": "many"
LOG:  invalid value for parameter "huge_pages": "perhaps"
HINT:  Available values: off, on, try.
LOG:  unrecognized configuration parameter "wrok_mem" in file "/etc/x/postgresql.conf" line 6
FATAL:  configuration file "/etc/x/postgresql.conf" contains errors
"""


def test_each_sentence_has_its_line() -> None:
    assert said(LOG, "/etc/x/postgresql.conf", CONF) == [
        '/etc/x/postgresql.conf line 4: invalid value for parameter "max_connections": "many"',
        '/etc/x/postgresql.conf line 5: invalid value for parameter "huge_pages": "perhaps" '
        "(Available values: off, on, try)",
        'unrecognized configuration parameter "wrok_mem" in file "/etc/x/postgresql.conf" line 6',
    ]


def test_what_is_no_parameter_is_said_as_it_is() -> None:
    log = 'LOG:  syntax error in file "/etc/x/postgresql.conf" line 45, near token "z"\n'
    assert said(log, "/etc/x/postgresql.conf", CONF) == [log[6:-1]]
    assert said("", "/etc/x/postgresql.conf", CONF) == []


def test_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(debian(17), configuration=str(tmp_path))
    conf = tmp_path / "postgresql.conf"
    conf.write_text("broken")
    owner = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getegid()).gr_name, "mode": "0640"}
    previous = {
        str(conf): {"kind": "file", "content": "port = 5432\n", **owner},
        str(tmp_path / "pg_hba.conf"): {"kind": "absent"},
        "/etc/passwd": {"kind": "file", "content": "", **owner},
    }
    assert put_back(there, previous)
    assert (conf.read_text(), f"{conf.stat().st_mode & 0o777:04o}") == ("port = 5432\n", "0640")
    assert not (tmp_path / "pg_hba.conf").exists()
    assert not put_back(there, {})
