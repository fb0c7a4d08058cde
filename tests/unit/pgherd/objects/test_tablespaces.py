# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Tablespaces: what is planned for what is there, and what is said to the server."""

from __future__ import annotations

import pytest
from pgherd.errors import ConfigError, Conflict
from pgherd.objects.tablespaces import FoundTablespaces, Tablespace, TablespaceExecutor, observe, plan
from scripted import ScriptedServer

SIDE = Tablespace("side", "/srv/side", "app")
DEFAULT = Tablespace("pg_default", "", "postgres")


def there(*found: Tablespace) -> FoundTablespaces:
    return FoundTablespaces({tablespace.name: tablespace for tablespace in (DEFAULT, *found)})


@pytest.mark.parametrize(
    ("what", "wanted", "found", "steps"),
    [
        ("on an empty server", SIDE, FoundTablespaces(), ["create tablespace side at /srv/side"]),
        ("not there", SIDE, there(), ["create tablespace side at /srv/side"]),
        ("as stated", SIDE, there(SIDE), []),
        ("a slash more", Tablespace("side", "/srv/side/", "app"), there(SIDE), []),
        ("another's", SIDE, there(Tablespace("side", "/srv/side", "postgres")), ["give tablespace side to app"]),
        ("anybody's", Tablespace("side", "/srv/side"), there(SIDE), []),
    ],
)
def test_what_is_planned(what: str, wanted: Tablespace, found: FoundTablespaces, steps: list[str]) -> None:
    todo = plan([wanted], found)
    assert [step.what for step in todo.steps] == steps, what
    assert (todo.before != todo.after) is bool(steps), what


@pytest.mark.parametrize(("what", "location"), [("elsewhere", "/srv/other"), ("one of PostgreSQL's own", "")])
def test_one_that_lies_elsewhere_is_a_conflict(what: str, location: str) -> None:
    with pytest.raises(Conflict, match="/srv/side, found"):
        plan([SIDE], there(Tablespace("side", location, "app")))


def test_one_that_is_stated_twice() -> None:
    assert len(plan([SIDE, SIDE], FoundTablespaces()).steps) == 1
    with pytest.raises(ConfigError, match="twice"):
        plan([SIDE, Tablespace("side", "/srv/other")], FoundTablespaces())


def test_what_is_said() -> None:
    rows = [{"name": "pg_default", "location": "", "owner": "postgres"}]
    other = Tablespace("o'dd \"one", "/srv/o'dd")
    server = ScriptedServer(
        "pg1",
        [
            ("FROM pg_tablespace", rows),
            ("synchronous_commit = local", []),
            ('^CREATE TABLESPACE "side" OWNER "app" LOCATION \'/srv/side\'$', []),
            ("synchronous_commit = local", []),
            ("^CREATE TABLESPACE \"o'dd \"\"one\" LOCATION '/srv/o''dd'$", []),
            ("synchronous_commit = local", []),
            ('^ALTER TABLESPACE "side" OWNER TO "app"$', []),
        ],
    )
    found = observe(lambda _database: server)
    assert found == FoundTablespaces({"pg_default": DEFAULT})
    executor = TablespaceExecutor(lambda _database: server)
    executor.create(SIDE)
    executor.create(other)
    executor.own(SIDE)
