# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module pg_roles on a primary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from driving import Host, Task, check, contract, play, sql

pytestmark = pytest.mark.more

ROLE = (
    "SELECT rolcanlogin, rolreplication, rolcreatedb, rolconnlimit, setconfig, rolpassword LIKE 'SCRAM-SHA-256$%' AS scram,"
    " array(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1)"
    " AS member_of FROM pg_authid r LEFT JOIN pg_db_role_setting ON setrole = r.oid AND setdatabase = 0"
    " WHERE rolname = '{}'"
)
# What a shell, a passfile, an SQL literal and a conninfo would each stumble over, and a word to look for in outputs.
WORD = "7kq2leaks"
PASSWORD = f'te\u00dft it\'s \\ "q":$1 %s {WORD}'


def roles(**options: Any) -> Task:
    return {"pgherd.cluster.pg_roles": options}


def row(**more: Any) -> list[dict[str, Any]]:
    plain = {"rolcanlogin": True, "rolreplication": False, "rolcreatedb": False, "rolconnlimit": -1}
    return [{**plain, "setconfig": None, "scram": None, "member_of": [], **more}]


@pytest.fixture
def shop(primary: Host) -> Iterator[None]:
    """Database test_shop with schema s, tables a and b, function f, and roles test_reader and test_owner (of a)."""
    objects = (
        "CREATE SCHEMA s; CREATE TABLE s.a (); CREATE TABLE s.b (); ALTER TABLE s.a OWNER TO test_owner;"
        " CREATE FUNCTION s.f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION s.f FROM PUBLIC"
    )
    results = primary.play(
        sql("CREATE DATABASE test_shop"),
        sql("CREATE ROLE test_owner; CREATE ROLE test_reader"),
        sql(objects, "test_shop"),
    )
    assert [result["rc"] for result in results] == [0, 0, 0]
    yield
    # parameters belong to no database, so the database's end leaves what was granted on them
    primary.play(
        sql("DROP DATABASE test_shop"), sql("DROP OWNED BY test_reader"), sql("DROP ROLE test_owner, test_reader")
    )


def test_role(primary: Host) -> None:
    effect = ROLE.format("test_role")
    first = {"name": "test_role", "replication": True, "connection_limit": 3, "memberships": ["pg_monitor"]}
    first["settings"] = {"work_mem": "8MB", "search_path": 'test_s, "$user"', "jit": False}
    made = contract(
        primary,
        roles(roles=[first], passwords={"test_role": PASSWORD}),
        effect,
        [],
        row(
            rolreplication=True,
            rolconnlimit=3,
            setconfig=["work_mem=8MB", 'search_path=test_s, "$user"', "jit=off"],
            scram=True,
            member_of=["pg_monitor"],
        ),
    )
    assert made["after"]["role test_role"]["password"] == "(set)"
    second = {"name": "test_role", "createdb": True, "memberships": ["pg_read_all_data"]}
    second["settings"] = {"work_mem": None, "jit": True}
    contract(
        primary,
        roles(roles=[second]),
        effect,
        primary.read(effect),
        row(
            rolcreatedb=True,
            setconfig=['search_path=test_s, "$user"', "jit=on"],
            scram=True,
            member_of=["pg_read_all_data"],
        ),
    )
    left_alone = {"name": "test_role", "createdb": True}
    assert primary.play(roles(roles=[left_alone]))[0]["changed"] is False
    contract(primary, roles(absent=["test_role"]), effect, primary.read(effect), [])


def login(password: str) -> Task:
    """A task that logs in over TCP as test_login."""
    argv = ["psql", "-XAtqw", "-h", "{{ lab_addresses[0] }}", "-U", "test_login", "-d", "postgres", "-c", "SELECT 1"]
    return {"ansible.builtin.command": {"argv": argv}, "environment": {"PGPASSWORD": password}}


def test_password(primary: Host) -> None:
    """The server takes the password that was set, and no other; it shows nowhere, not even in -vvv."""
    role = [{"name": "test_login"}]
    effect = "SELECT rolpassword IS NOT NULL AS has FROM pg_authid WHERE rolname = 'test_login'"
    contract(primary, roles(roles=role, passwords={"test_login": "first"}), effect, [], [{"has": True}])
    another = roles(roles=role, passwords={"test_login": PASSWORD})
    results, printed = play(primary.name, [check(another), another, another], verbosity=3)
    foretold, changed, again = results[primary.name]
    assert (foretold["changed"], changed["changed"], again["changed"]) == (True, True, False)
    assert changed["steps"] == ["alter role test_login: password"]
    assert changed["after"]["role test_login"]["password"] == "(another)"
    assert "test_login" in printed
    assert WORD not in printed
    assert "SCRAM-SHA-256" not in printed
    accepted, refused = primary.play(login(PASSWORD), login("first"))
    assert accepted["stdout"] == "1"
    assert "password authentication failed" in refused["stderr"]
    primary.play(roles(absent=["test_login"]))


HELD = (
    "SELECT name, privilege_type AS may FROM ("
    " SELECT relname::text AS name, relacl AS acl FROM pg_class WHERE relnamespace = to_regnamespace('s')"
    " UNION ALL SELECT proname, proacl FROM pg_proc WHERE pronamespace = to_regnamespace('s')"
    " UNION ALL SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 's'"
    " UNION ALL SELECT datname, datacl FROM pg_database WHERE datname = 'test_shop'"
    " UNION ALL SELECT parname, paracl FROM pg_parameter_acl) AS o, aclexplode(acl)"
    " WHERE grantee = to_regrole('test_reader') ORDER BY 1, 2"
)


def grant(kind: str, name: str, *privileges: str, role: str = "test_reader") -> dict[str, Any]:
    return {"role": role, "kind": kind, "object": name, "privileges": privileges, "database": "test_shop"}


def held(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "may": privilege} for name, privilege in pairs]


@pytest.mark.usefixtures("shop")
def test_grants(primary: Host) -> None:
    first = [
        grant("DATABASE", "test_shop", "CONNECT", "TEMP"),
        grant("SCHEMA", "s", "USAGE"),
        grant("ALL TABLES IN SCHEMA", "s", "SELECT"),
        grant("TABLE", "s.b", "INSERT"),
        grant("FUNCTION", "s.f(int, text)", "EXECUTE"),
        grant("PARAMETER", "Primary_Conninfo", "ALTER SYSTEM"),
        # the owner has it all already, and nobody takes it away
        grant("TABLE", "s.a", "SELECT", role="test_owner"),
    ]
    have = held(
        ("a", "SELECT"),
        ("b", "INSERT"),
        ("b", "SELECT"),
        ("f", "EXECUTE"),
        ("primary_conninfo", "ALTER SYSTEM"),
        ("s", "USAGE"),
        ("test_shop", "CONNECT"),
        ("test_shop", "TEMPORARY"),
    )
    contract(primary, roles(grants=first), HELD, [], have, "test_shop")
    owner = primary.read("SELECT has_table_privilege('test_owner', 's.a', 'DELETE') AS may", "test_shop")
    assert owner == [{"may": True}]
    second = [grant("DATABASE", "test_shop", "CONNECT"), grant("TABLE", "s.a", "UPDATE"), grant("SCHEMA", "s", "ALL")]
    fewer = held(
        ("a", "UPDATE"),
        ("b", "INSERT"),
        ("b", "SELECT"),
        ("f", "EXECUTE"),
        ("primary_conninfo", "ALTER SYSTEM"),
        ("s", "CREATE"),
        ("s", "USAGE"),
        ("test_shop", "CONNECT"),
    )
    contract(primary, roles(grants=second), HELD, have, fewer, "test_shop")
    third = [
        grant("ALL TABLES IN SCHEMA", "s"),
        grant("ALL FUNCTIONS IN SCHEMA", "s"),
        grant("SCHEMA", "s"),
        grant("DATABASE", "test_shop"),
        grant("PARAMETER", "primary_conninfo"),
    ]
    contract(primary, roles(grants=third), HELD, fewer, [], "test_shop")

    mistakes_are_told_in_words(primary)


def mistakes_are_told_in_words(primary: Host) -> None:
    """In the same database, which is dear to make."""
    missing = roles(grants=[grant("TABLE", "s.nowhere", "SELECT"), grant("FUNCTION", "s.f(int)", "EXECUTE")])
    # In check mode an earlier task may be about to make it.
    assert primary.play(check(missing))[0]["changed"] is True
    both, nobody, wrong, owner = primary.refusals(
        missing,
        roles(grants=[grant("TABLE", "s.a", "SELECT", role="test_nobody")]),
        roles(grants=[grant("FUNCTION", "s.f(int, text)", "SELECT")]),
        roles(absent=["test_owner"]),
    )
    assert "TABLE s.nowhere does not exist in database test_shop: create it first" in both
    assert "FUNCTION s.f(int) does not exist in database test_shop" in both
    assert "role test_nobody does not exist" in nobody
    assert "a FUNCTION has no privilege SELECT, only EXECUTE" in wrong
    assert "objects of it in test_shop. Give them away first" in owner


def test_a_role_with_privileges_goes(primary: Host) -> None:
    """Made in one task with its grants, and dropped with them, in other databases too."""
    grants = [grant("DATABASE", "template1", "CONNECT", role="test_gone")]
    grants += [{**grant("SCHEMA", "public", "CREATE", role="test_gone"), "database": "template1"}]
    assert primary.play(roles(roles=[{"name": "test_gone"}], grants=grants))[0]["changed"] is True
    effect = "SELECT rolname FROM pg_roles WHERE rolname = 'test_gone'"
    gone = contract(primary, roles(absent=["test_gone"]), effect, [{"rolname": "test_gone"}], [])
    assert "revoke what test_gone may in template1" in gone["steps"]


def test_check_mode_where_no_server_is_yet(primary: Host) -> None:
    task = roles(roles=[{"name": "test_nowhere"}], passwords={"test_nowhere": WORD}, login_port=1)
    foretold, refused = primary.play(check(task), task)
    assert (foretold["changed"], foretold["steps"]) == (True, ["create role test_nowhere"])
    assert (refused["failed"], "connect to" in refused["msg"]) == (True, True)
