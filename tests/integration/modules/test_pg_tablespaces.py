# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module pg_tablespaces on a primary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from driving import Host, Task, contract

pytestmark = pytest.mark.more

EFFECT = (
    "SELECT spcname AS name, pg_tablespace_location(oid) AS location, spcowner::regrole::text AS owner FROM pg_tablespace"
    " WHERE spcname LIKE 'test\\_%' ORDER BY 1"
)
WHERE = "/srv/test_side"


def tablespaces(owner: str | None = None, location: str = WHERE) -> Task:
    stated = {"name": "test_side", "location": location, **({"owner": owner} if owner else {})}
    return {"pgherd.cluster.pg_tablespaces": {"tablespaces": [stated]}}


@pytest.fixture
def place(primary: Host, hosts: list[tuple[Host, bool]]) -> Iterator[None]:
    """Its directory on every node, since a standby replays the statement."""
    for host, _is_primary in hosts:
        host.run("install", "-d", "-o", "postgres", "-g", "postgres", WHERE)
    primary.sql("CREATE ROLE test_owner")
    yield
    primary.sql("DROP TABLESPACE IF EXISTS test_side")
    primary.sql("DROP ROLE test_owner")


@pytest.mark.usefixtures("place")
def test_tablespaces(primary: Host) -> None:
    """Made, given away, refused elsewhere; in check mode nothing is made."""
    row = {"name": "test_side", "location": WHERE, "owner": "postgres"}
    contract(primary, tablespaces(), EFFECT, [], [row])
    contract(primary, tablespaces("test_owner"), EFFECT, [row], [{**row, "owner": "test_owner"}])
    (elsewhere,) = primary.refusals(tablespaces(location="/srv/test_other"))
    assert "wanted the location /srv/test_other, found /srv/test_side" in elsewhere
