# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whom the tests of the modules run on, and that they leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployed import described, everywhere, until
from driving import Host


@pytest.fixture(scope="session")
def hosts() -> list[tuple[Host, bool]]:
    """The data nodes, each with whether it is a primary: asked of the servers, whatever the inventory says."""
    facts = "SELECT current_setting('server_version_num')::int / 10000 AS version, pg_is_in_recovery() AS standby"
    answers = {
        name: rows[0] for name, rows in everywhere(described().data_nodes, lambda host: host.rows(facts)).items()
    }
    return [(Host(name, answer["version"]), not answer["standby"]) for name, answer in sorted(answers.items())]


@pytest.fixture(scope="session")
def primary(hosts: list[tuple[Host, bool]]) -> Host:
    """The one primary."""
    (found,) = [host for host, is_primary in hosts if is_primary]
    return found


@pytest.fixture(scope="session")
def standby(hosts: list[tuple[Host, bool]]) -> Host:
    """One of the standbys."""
    return next(host for host, is_primary in hosts if not is_primary)


_LEFT = (
    "SELECT 'slot' AS kind, slot_name::text AS name FROM pg_replication_slots WHERE slot_name LIKE 'test\\_%'"
    " UNION ALL SELECT 'role', rolname FROM pg_roles WHERE rolname LIKE 'test\\_%'"
    " UNION ALL SELECT 'database', datname FROM pg_database WHERE datname LIKE 'test\\_%'"
)


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind(primary: Host, standby: Host) -> Iterator[None]:
    """Remove what an interrupted run left; and fail when this one leaves something."""
    slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'test\\_%'"
    standby.sql(slots)
    for statement in (
        slots,
        "DROP DATABASE IF EXISTS test_shop",
        "DROP TABLESPACE IF EXISTS test_side",
        "DO $$ DECLARE r name; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'test\\_%' LOOP"
        " EXECUTE format('DROP OWNED BY %I', r); EXECUTE format('DROP ROLE %I', r); END LOOP; END $$",
    ):
        primary.sql(statement)
    yield
    for host in (primary, standby):
        # A standby may be a moment behind.
        until(f"nothing of ours on {host.name}", lambda host=host: _left(host))


def _left(host: Host) -> bool:
    return host.read(_LEFT) == []
