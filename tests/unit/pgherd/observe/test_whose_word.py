# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whose word counts: in what agents read out of a server, and in what others may set for our sessions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pgherd.observe.node_state import QUERY, SEAL_LOCK, STOP_LOCK
from pgherd.ports.sql import FIXED, session_options
from pgherd.programs.sessions import local_parameters, parameters
from states import cluster
from test_primary_duty import duty_of, primary, survey

THREE = cluster(3, witness=True)
TEXT = " ".join(QUERY.split())


def test_locks_count_by_role_database_and_kind() -> None:
    """One statement of any role in any database stopped a primary: proved on living hosts."""
    for lock in (SEAL_LOCK, STOP_LOCK):
        (first, *others) = re.findall(rf"FROM pg_locks l JOIN(?:(?!FROM pg_locks l).)*? = {lock} AND [^)]*\)", TEXT)
        for place in (first, *others):
            assert "l.objsubid = 1" in place
            assert "l.mode = 'ExclusiveLock'" in place
            assert "l.database = (SELECT oid FROM pg_database WHERE datname = current_database())" in place
            assert "a.usename IN ('pgherd_agent', 'repmgr')" in place
    assert TEXT.count("pg_locks") == 3
    assert re.search(rf"= {STOP_LOCK} AND [^)]*\)\) h WHERE h.pid IN \(SELECT pid FROM", TEXT)


def test_streams_count_by_role() -> None:
    assert "WHERE trusted AND state = 'streaming'" in TEXT
    assert "r.rolreplication AND s.usename IN ('pgherd_agent', 'repmgr')" in TEXT


@pytest.mark.parametrize(
    ("asked", "to"),
    [
        ("pgherd handover to pg2", "pg2"),
        ("pgherd handover to pg1", ""),
        ("pgherd handover to w1", ""),
        ("pgherd handover to x", ""),
        ("psql", ""),
        ("", ""),
    ],
)
def test_a_primary_stops_for_who_may_take_its_place(asked: str, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    duty: Any = duty_of("pg1", None)  # type: ignore[arg-type]
    for now in (1.0, 1.5):
        seen = primary("pg1", stop_asked=asked)
        found = duty.look(now, seen, survey(seen))
        assert (found.successor, found.verdict.action == "rival") == (to, bool(to))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == (1 if asked and not to else 0)


def test_who_an_agent_is(tmp_path: Path) -> None:
    """On data nodes its own role; a witness knows only repmgr's, and so does a host without the passfile."""
    here, none = tmp_path / "agent.pgpass", str(tmp_path / "none")
    here.write_text("")
    data, witness = THREE.node("pg2"), THREE.node("w1")
    for node, path, user in ((data, str(here), "pgherd_agent"), (data, none, "repmgr"), (witness, str(here), "repmgr")):
        found = parameters(THREE, node, path)
        assert found["user"] == user
        assert found["passfile"] == (path if user == "pgherd_agent" else "/var/lib/postgresql/.pgpass")
        assert found["channel_binding"] == "require"
        local = local_parameters(THREE, node, path)
        assert (local["user"], local["sslmode"], local["channel_binding"]) == (user, "disable", "disable")


def test_what_others_set_is_not_in_force() -> None:
    text = session_options("-c work_mem=1MB", search_path="public")
    assert text.startswith("-c search_path=public -c role=none -c default_transaction_isolation=read\\ committed ")
    assert text.endswith(" -c work_mem=1MB")
    assert session_options() == " ".join(
        f"-c {name}={value}".replace("read c", "read\\ c") for name, value in FIXED.items()
    )
    assert FIXED["search_path"] == "pg_catalog,pg_temp"
