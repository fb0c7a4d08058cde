# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The core with a driver, which is not there where its other tests run."""

from __future__ import annotations

import psycopg
import pytest
from pgherd.ports import sql
from pgherd.ports.sql import session_options


@pytest.mark.parametrize(
    ("given", "last"),
    [({}, "-c statement_timeout=5000"), ({"options": "-c statement_timeout=7"}, "-c statement_timeout=7")],
)
def test_every_session_begins_so(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], last: str) -> None:
    asked: list[str] = []
    monkeypatch.setattr(psycopg, "connect", lambda text, **_more: asked.append(text))
    sql.open_connection("pg1", {"host": "pg1", "replication": "true", **given})
    assert sql.parse_conninfo(asked[0])["options"] == session_options(last)
