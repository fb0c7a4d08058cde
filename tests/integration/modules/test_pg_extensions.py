# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module pg_extensions on a primary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from driving import Host, Task, check, contract, psql, sql

EFFECT = (
    "SELECT extname AS name, nspname AS schema, extowner::regrole::text AS owner, nspowner::regrole::text AS schemas"
    " FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname <> 'plpgsql' ORDER BY 1"
)
SUPERUSERS = "SELECT rolname FROM pg_roles WHERE rolsuper AND rolname LIKE 'test\\_%'"
# It fits a varchar better than pg_catalog's, which takes text.
TRAP = (
    "CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE plpgsql AS $$"
    " BEGIN ALTER ROLE test_owner SUPERUSER; RETURN 'x'; END $$"
)
CONTROL = "default_version = '1'\nrelocatable = true\n"
CARELESS = "CREATE FUNCTION test_mine() RETURNS int LANGUAGE sql AS 'SELECT 1';\nSELECT lower('x'::varchar);\n"


def extensions(*names: str, schema: str | None = None, database: str = "test_shop") -> Task:
    stated = [{"name": name, "database": database, **({"schema": schema} if schema else {})} for name in names]
    return {"pgherd.cluster.pg_extensions": {"extensions": stated}}


def as_owner(*statements: str) -> Task:
    """What a client of the owner's could do: psql sends it as one transaction."""
    return sql("; ".join(["SET ROLE test_owner", *statements]), "test_shop")


@pytest.fixture
def shop(primary: Host) -> Iterator[None]:
    """Database test_shop, which test_owner owns."""
    made = primary.play(sql("CREATE ROLE test_owner"), sql("CREATE DATABASE test_shop OWNER test_owner"))
    assert [result["rc"] for result in made] == [0, 0]
    yield
    primary.play(sql("DROP DATABASE test_shop WITH (FORCE)"), sql("DROP ROLE test_owner"))


@pytest.fixture
def careless(primary: Host) -> Iterator[None]:
    """The files of an extension whose script leaves out a schema."""
    directory = f"/usr/share/postgresql/{primary.version}/extension"
    files = {f"{directory}/test_careless.control": CONTROL, f"{directory}/test_careless--1.sql": CARELESS}
    for path, text in files.items():
        primary.run("sh", "-c", 'printf %s "$1" > "$2"; chmod 0644 "$2"', "sh", text, path)
    yield
    primary.run("rm", *files)


def row(name: str, schema: str, schemas: str = "postgres") -> dict[str, str]:
    return {"name": name, "schema": schema, "owner": "postgres", "schemas": schemas}


@pytest.mark.more
@pytest.mark.usefixtures("shop")
def test_extensions(primary: Host) -> None:
    """In public, and in a schema that is made; one that requires another; what contradicts is told."""
    hstore = row("hstore", "public", "pg_database_owner")
    contract(primary, extensions("hstore"), EFFECT, [], [hstore], "test_shop")
    own = extensions("cube", "earthdistance", schema="test_own")
    after = [row("cube", "test_own"), row("earthdistance", "test_own"), hstore]
    made = contract(primary, own, EFFECT, [hstore], after, "test_shop")
    assert made["steps"][0] == "create schema test_own in database test_shop"
    used = primary.play(as_owner("SELECT test_own.cube(1)"))
    assert used[0]["rc"] == 0
    moved, unknown, nowhere = primary.refusals(
        extensions("hstore", schema="test_own"),
        extensions("test_nowhere"),
        extensions("hstore", database="test_nowhere"),
    )
    assert "wanted schema test_own, found schema public" in moved
    assert "the server has no files of it" in unknown
    assert "there is no such database" in nowhere
    assert primary.play(check(extensions("hstore", database="test_nowhere")))[0]["changed"] is True


@pytest.mark.usefixtures("shop", "careless")
def test_an_owners_function_is_not_called_by_a_script(primary: Host) -> None:
    """Whether it stands there already, or its transaction ends while the module looks."""
    task = extensions("test_careless")
    planted = {**as_owner(TRAP, "SELECT pg_sleep(5)"), "async": 60, "poll": 0}
    writing = "SELECT pid FROM pg_stat_activity WHERE datname = 'test_shop' AND backend_xid IS NOT NULL"
    seen = {**psql(writing), "register": "writing", "until": "writing.stdout != ''", "retries": 60, "delay": 0.1}
    begun, *_seen, unseen = primary.play(planted, seen, task)
    primary.run("rm", "-f", begun["results_file"])
    says = "found function public.lower(character varying) of role test_owner"
    assert (unseen.get("failed"), says in unseen["msg"]) == (True, True), unseen
    foretold, refused = primary.refusals(check(task), task)
    assert says in foretold
    assert says in refused
    assert primary.read(SUPERUSERS) == []
    own = extensions("test_careless", schema="test_own")
    contract(primary, own, EFFECT, [], [row("test_careless", "test_own")], "test_shop")
    assert primary.read(SUPERUSERS) == []


@pytest.mark.usefixtures("shop", "careless")
def test_the_trap_is_one(primary: Host) -> None:
    """What the module refuses would have worked."""
    made = primary.play(as_owner(TRAP), sql("CREATE EXTENSION test_careless SCHEMA public", "test_shop"))
    assert [result["rc"] for result in made] == [0, 0]
    assert primary.read(SUPERUSERS) == [{"rolname": "test_owner"}]
