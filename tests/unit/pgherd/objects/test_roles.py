# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Roles and grants: what is planned for which finding, and that no secret shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import ConfigError, Conflict, SqlError
from pgherd.objects.grants import ObjectState
from pgherd.objects.roles import FoundRoles, Grant, Role, RoleExecutor, RoleState, observe, plan
from pgherd.objects.scram import make_verifier
from scripted import ScriptedServer

PLAIN = {"login": True, "replication": False, "createdb": False, "createrole": False, "superuser": False}
FOUND = RoleState({**PLAIN, "connection_limit": -1}, verifier=make_verifier("secret"))
TABLES = frozenset({"SELECT", "INSERT", "UPDATE"})


def statements(*args: Any, **options: Any) -> list[str]:
    return [step.args["statement"] for step in plan(*args, **options).steps]


def table(name: str, *held: str, owned: bool = False) -> ObjectState:
    return ObjectState(name, "TABLE", owned, frozenset(held), TABLES)


def test_a_new_role_has_its_verifier_from_the_start() -> None:
    role = Role("app", replication=True, connection_limit=5, memberships=("pg_monitor",), settings={"work_mem": "8MB"})
    todo = plan([role], [], {"app": "secret"}, FoundRoles(), missing_ok=True)
    create, setting, member = (step.args["statement"] for step in todo.steps)
    assert create.startswith(
        'CREATE ROLE "app" LOGIN REPLICATION NOCREATEDB NOCREATEROLE NOSUPERUSER CONNECTION LIMIT 5 PASSWORD'
        " 'SCRAM-SHA-256$4096:"
    )
    assert setting == """ALTER ROLE "app" SET "work_mem" = '8MB'"""
    assert member == 'GRANT "pg_monitor" TO "app"'
    assert todo.before == {"role app": "absent"}
    assert todo.after["role app"]["password"] == "(set)"
    assert "SCRAM" not in repr(todo) + str(todo.after) + str(todo.describe())


def test_groups_are_made_before_their_members() -> None:
    roles = [Role("app", memberships=("team",)), Role("team", login=False)]
    words = [statement.split()[0] for statement in statements(roles, [], {}, FoundRoles())]
    assert words == ["CREATE", "CREATE", "GRANT"]


@pytest.mark.parametrize(
    ("role", "found", "expected"),
    [
        (Role("r"), FOUND, []),
        (Role("r", memberships=None), replace(FOUND, memberships=(("team", "postgres"),)), []),
        (Role("r", settings={"Work_Mem": "8MB"}), replace(FOUND, settings={"work_mem": "8MB"}), []),
        (Role("r", settings={"search_path": "a,b"}), replace(FOUND, settings={"search_path": "a, b"}), []),
        (Role("r"), replace(FOUND, settings={"work_mem": "8MB"}), []),
        (Role("r"), replace(FOUND, ends=True), []),
        (Role("r", endless=True), FOUND, []),
        (Role("r", endless=True), replace(FOUND, ends=True), ["ALTER ROLE \"r\" VALID UNTIL 'infinity'"]),
        (Role("r", login=False), FOUND, ['ALTER ROLE "r" NOLOGIN']),
        (Role("r", createdb=True, connection_limit=2), FOUND, ['ALTER ROLE "r" CREATEDB CONNECTION LIMIT 2']),
        (Role('o"r'), FOUND, []),
        (Role("r", memberships=("team",)), FOUND, ['GRANT "team" TO "r"']),
        (
            Role("r"),
            replace(FOUND, memberships=(("team", "a"), ("team", None))),
            ['REVOKE "team" FROM "r" GRANTED BY "a"', 'REVOKE "team" FROM "r"'],
        ),
        (
            Role("r", settings={"search_path": 'a, "$user"', "work_mem": None, "jit": None}),
            replace(FOUND, settings={"work_mem": "8MB"}),
            ["""ALTER ROLE "r" SET "search_path" = 'a', '$user'""", 'ALTER ROLE "r" RESET "work_mem"'],
        ),
        (
            Role("r", settings={"log_line_prefix": "it's, \\ %m"}),
            FOUND,
            ["""ALTER ROLE "r" SET "log_line_prefix" =  E'it''s, \\\\ %m'"""],
        ),
        (Role("r", settings={"search_path": ""}), FOUND, ["""ALTER ROLE "r" SET "search_path" = ''"""]),
    ],
)
def test_changes_of_a_role(role: Role, found: RoleState, expected: list[str]) -> None:
    state = FoundRoles({role.name: found, "team": FOUND})
    todo = plan([role], [], {}, state)
    assert [step.args["statement"] for step in todo.steps] == expected
    assert (todo.before == todo.after) is not todo.changed


@pytest.mark.parametrize(
    ("verifier", "shown"),
    [(make_verifier("old"), "(another)"), (None, "(set)"), ("md5d41d8cd98f00b204e9800998ecf8427e", "(another)")],
)
def test_a_changed_password_shows_as_such(verifier: str | None, shown: str) -> None:
    todo = plan([Role("r")], [], {"r": "secret"}, FoundRoles({"r": replace(FOUND, verifier=verifier)}))
    assert todo.describe() == ["alter role r: password"]
    assert todo.before["role r"]["password"] == ("(set)" if verifier else "(none)")
    assert todo.after["role r"]["password"] == shown
    assert "secret" not in todo.steps[0].args["statement"]


def test_an_unchanged_password_is_no_change() -> None:
    state = FoundRoles({"r": FOUND})
    assert not plan([Role("r")], [], {"r": "secret"}, state).changed
    assert not plan([Role("r")], [], {"r": str(FOUND.verifier)}, state).changed


def test_a_verifier_goes_as_it_is() -> None:
    verifier = make_verifier("x")
    assert statements([Role("r")], [], {"r": verifier}, FoundRoles({"r": FOUND})) == [
        f"ALTER ROLE \"r\" PASSWORD '{verifier}'"
    ]


def test_at_least_takes_nothing_away() -> None:
    """Until the last agent of an earlier release is gone."""
    found = RoleState({**PLAIN, "replication": True, "connection_limit": -1}, None, (("team", None), ("old", None)))
    wanted = Role("r", memberships=("team", "more"), at_least=True)
    known = {"r": found, "team": FOUND, "old": FOUND, "more": FOUND}
    assert statements([wanted], [], {}, FoundRoles(known)) == ['GRANT "more" TO "r"']
    todo = statements([replace(wanted, at_least=False)], [], {}, FoundRoles(known))
    assert todo == ['ALTER ROLE "r" NOREPLICATION', 'GRANT "more" TO "r"', 'REVOKE "old" FROM "r"']
    assert statements([replace(wanted, replication=True)], [], {}, FoundRoles({"team": FOUND, "more": FOUND}))[0] == (
        'CREATE ROLE "r" LOGIN REPLICATION NOCREATEDB NOCREATEROLE NOSUPERUSER CONNECTION LIMIT -1'
    )


def test_from_dict_takes_what_yaml_gives() -> None:
    data = {"name": "r", "memberships": None, "settings": {"jit": False, "work_mem": 64, "a.b": None}}
    assert Role.from_dict(data) == Role("r", memberships=None, settings={"jit": "off", "work_mem": "64", "a.b": None})
    grant = {"role": "r", "kind": "TABLE", "object": "t", "privileges": ["SELECT"]}
    assert Grant.from_dict(grant) == Grant("r", "TABLE", "t", ("SELECT",))


SELECT = Grant("r", "TABLE", "t", ("select",), "shop")
ALL_TABLES = Grant("r", "ALL TABLES IN SCHEMA", "public", ("SELECT",), "shop")


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ({SELECT: (table("t", "SELECT"),)}, []),
        ({SELECT: (table("t"),)}, ['GRANT SELECT ON TABLE t TO "r"']),
        ({SELECT: (table("t", "INSERT", "SELECT"),)}, ['REVOKE INSERT ON TABLE t FROM "r"']),
        ({SELECT: (table("t", *TABLES, owned=True),)}, []),
        ({replace(SELECT, privileges=()): (table("t", "INSERT"),)}, ['REVOKE INSERT ON TABLE t FROM "r"']),
        ({replace(SELECT, privileges=("ALL",)): (table("t"),)}, ['GRANT INSERT, SELECT, UPDATE ON TABLE t TO "r"']),
        ({replace(SELECT, role="PUBLIC"): (table("t"),)}, ["GRANT SELECT ON TABLE t TO PUBLIC"]),
        # Both meet in t: neither takes away what the other gives.
        (
            {
                replace(SELECT, privileges=("INSERT",)): (table("t", "SELECT"),),
                ALL_TABLES: (table("t", "SELECT"), table("u")),
            },
            ['GRANT INSERT ON TABLE t TO "r"', 'GRANT SELECT ON TABLE u TO "r"'],
        ),
        ({ALL_TABLES: (table("t"), table("u"))}, ['GRANT SELECT ON TABLE t, u TO "r"']),
        ({ALL_TABLES: ()}, []),
    ],
)
def test_grants_are_exact(objects: dict[Grant, Any], expected: list[str]) -> None:
    todo = plan([], list(objects), {}, FoundRoles({"r": FOUND}, objects))
    assert [step.args["statement"] for step in todo.steps] == expected
    assert all(step.args["database"] == "shop" for step in todo.steps)
    assert (todo.before == todo.after) is not todo.changed


@pytest.mark.parametrize(
    ("roles", "grants", "passwords", "objects", "says"),
    [
        ([Role("r"), Role("r")], [], {}, {}, "Role r is stated twice"),
        ([Role("r", memberships=("nobody",))], [], {}, {}, "member of nobody, which does not exist"),
        ([], [], {"x": "secret"}, {}, "password for role x, which is not stated"),
        ([], [SELECT], {}, {SELECT: None}, "TABLE t does not exist in database shop"),
        ([], [ALL_TABLES], {}, {ALL_TABLES: None}, "SCHEMA public does not exist in database shop"),
        ([], [replace(SELECT, role="x")], {}, {replace(SELECT, role="x"): ()}, "role x does not exist"),
        (
            [],
            [replace(SELECT, privileges=("EXECUTE",))],
            {},
            {replace(SELECT, privileges=("EXECUTE",)): (table("t"),)},
            "a TABLE has no privilege EXECUTE, only INSERT, SELECT, UPDATE",
        ),
    ],
)
def test_mistakes_are_told_in_words(
    roles: list[Role], grants: list[Grant], passwords: dict[str, str], objects: dict[Grant, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        plan(roles, grants, passwords, FoundRoles({"r": FOUND}, objects))
    assert "secret" not in str(raised.value)


def test_what_belongs_to_the_server_is_stated_from_anywhere() -> None:
    grants = [Grant("r", "PARAMETER", "work_mem", ("SET",), "shop"), Grant("r", "DATABASE", "shop", ("ALL",), "shop")]
    assert {step.args["database"] for step in plan([], grants, {}, FoundRoles(), missing_ok=True).steps} == {"postgres"}


def test_a_forecast_allows_for_what_an_earlier_step_would_make() -> None:
    assert statements([], [SELECT], {}, FoundRoles(), missing_ok=True) == ['GRANT SELECT ON TABLE t TO "r"']


def test_absent() -> None:
    state = FoundRoles({"r": FOUND}, depends={"r": {"shop": False, "": False}})
    assert not plan([], [], {}, FoundRoles(), absent=["r"]).changed
    steps = [(step.args["database"], step.args["statement"]) for step in plan([], [], {}, state, absent=["r"]).steps]
    assert steps == [("postgres", 'DROP OWNED BY "r"'), ("shop", 'DROP OWNED BY "r"'), ("postgres", 'DROP ROLE "r"')]
    with pytest.raises(Conflict, match="objects of it in shop"):
        plan([], [], {}, replace(state, depends={"r": {"shop": True}}), absent=["r"])
    with pytest.raises(ConfigError, match="stated and absent at once"):
        plan([Role("r")], [], {}, state, absent=["r"])


def test_observe() -> None:
    verifier = make_verifier("secret")
    row = {**PLAIN, "name": "r", "connection_limit": -1, "verifier": verifier, "settings": ["a=b=c"]}
    found = {"object": "t", "owned": None, "held": ["SELECT"], "every": ["SELECT", "INSERT"]}
    elsewhere = Grant("r", "TABLE", "t", ("SELECT",), "missing")
    main = ScriptedServer(
        "pg1",
        [
            ("FROM pg_authid r", [{**row, "memberships": [["team", "postgres"]]}]),
            ("FROM pg_shdepend", [{"name": "old", "database": "shop", "owns": True}]),
            ("FROM pg_database", [{"datname": "postgres"}, {"datname": "shop"}]),
        ],
    )
    shop = ScriptedServer("pg1", [("to_regclass", [found]), ("relkind", []), ("to_regnamespace", [{"found": True}])])
    state = observe(
        lambda database: {"postgres": main, "shop": shop}[database],
        [Role("r", memberships=("team",))],
        [SELECT, ALL_TABLES, elsewhere],
        ["old"],
    )
    role = state.roles["r"]
    assert (role.verifier, role.memberships, role.settings) == (verifier, (("team", "postgres"),), {"a": "b=c"})
    assert verifier not in repr(state)
    assert state.objects == {
        SELECT: (ObjectState("t", "TABLE", False, frozenset({"SELECT"}), frozenset({"SELECT", "INSERT"})),),
        ALL_TABLES: (),
        elsewhere: None,
    }
    assert state.depends == {"old": {"shop": True}}
    assert main.said[0][1] == (["old", "r", "team"],)


def test_an_unknown_kind_is_told_before_asking() -> None:
    with pytest.raises(ConfigError, match="kind TABEL"):
        observe(lambda _database: ScriptedServer("pg1", []), [], [replace(SELECT, kind="TABEL")])


def test_execute_commits_locally_and_hides_the_statement() -> None:
    failed = SqlError('ALTER ROLE "r" PASSWORD \'SCRAM-SHA-256$4096:abc', "pg1", "permission denied", "42501")
    server = ScriptedServer("pg1", [("^SET synchronous_commit = local$", []), ("GRANT", []), ("ALTER", failed)])
    runs = RoleExecutor(lambda _database: server)
    runs.execute("postgres", "GRANT", "grant")
    with pytest.raises(SqlError, match=r"^alter role r on pg1: permission denied$") as raised:
        runs.execute("postgres", "ALTER", "alter role r")
    assert raised.value.__suppress_context__
