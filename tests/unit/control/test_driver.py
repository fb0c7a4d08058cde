# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The core with a driver, which is not there where its other tests run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from pgherd.errors import Unreachable
from pgherd.ports import sql
from pgherd.ports.addresses import Addresses
from pgherd.ports.sql import session_options


@pytest.mark.parametrize(
    ("given", "last"),
    [({}, "-c statement_timeout=5000"), ({"options": "-c statement_timeout=7"}, "-c statement_timeout=7")],
)
def test_every_session_begins_so(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], last: str) -> None:
    asked: list[str] = []

    def connect(text: str, **_more: Any) -> SimpleNamespace:
        asked.append(text)
        return SimpleNamespace(info=SimpleNamespace(hostaddr=""))

    monkeypatch.setattr(psycopg, "connect", connect)
    sql.open_connection("pg1", {"host": "pg1", "replication": "true", **given})
    assert sql.parse_conninfo(asked[0])["options"] == session_options(last)


def test_sessions_go_where_the_last_one_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq checks the certificate for the name all the same: both are given."""
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
