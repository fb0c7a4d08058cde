# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who once answered is found again while nobody looks up names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pgherd.errors import Unreachable
from pgherd.ports import sql
from pgherd.ports.addresses import Addresses, is_name


def test_an_address_is_tried_and_left_out_once_where_that_failed() -> None:
    known = Addresses()
    assert known.of("pg-0.pg") == ""
    known.reached("pg-0.pg", "10.0.0.1")
    assert known.of("pg-0.pg") == "10.0.0.1"
    known.failed("pg-0.pg", "10.0.0.1")
    # By its name now: it may have come back elsewhere.
    assert known.of("pg-0.pg") == ""
    # Which nobody could look up.
    known.failed("pg-0.pg", "")
    assert known.of("pg-0.pg") == "10.0.0.1"
    known.failed("pg-0.pg", "10.0.0.1")
    known.reached("pg-0.pg", "10.0.0.2")
    assert known.of("pg-0.pg") == "10.0.0.2"
    assert known.of("pg-1.pg") == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("pg1", True), ("pg-0.pg.db.svc.k8s", True), ("10.0.0.1", False), ("fd00::1", False)]
    + [(host, False) for host in ("", "/run/postgresql", "pg1,pg2", "@socket")],
)
def test_what_is_a_name(host: str, expected: bool) -> None:
    assert is_name(host) is expected


def test_sessions_go_where_the_last_one_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq checks the certificate for the name all the same: both are given."""
    import psycopg

    given: list[str] = []

    def connect(conninfo: str, **_more: Any) -> SimpleNamespace:
        given.append(conninfo)
        if "refused" in conninfo:
            raise psycopg.OperationalError("no")
        return SimpleNamespace(info=SimpleNamespace(hostaddr="10.0.0.7"))

    monkeypatch.setattr(psycopg, "connect", connect)
    monkeypatch.setattr(sql, "KNOWN", Addresses())

    def go(**more: str) -> str:
        sql.open_connection("pg1", {"host": "pg-1.pg", **more})
        return given[-1]

    assert "hostaddr" not in go()
    assert {"host=pg-1.pg", "hostaddr=10.0.0.7"} <= {*go().split()}
    with pytest.raises(Unreachable):
        go(dbname="refused")
    assert "hostaddr=10.0.0.7" in given[-1]
    assert "hostaddr" not in go()
    assert "hostaddr=10.0.0.9" in go(hostaddr="10.0.0.9")
