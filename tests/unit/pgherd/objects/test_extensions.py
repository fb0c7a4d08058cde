# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Extensions: what is planned for which finding, and that nothing comes between the look and the script."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.errors import ConfigError, Conflict, PgherdError, SqlError
from pgherd.objects.extensions import (
    Extension,
    ExtensionExecutor,
    FoundExtension,
    FoundExtensions,
    observe,
    plan,
    waiting,
)
from scripted import ScriptedServer

HSTORE = Extension("hstore", "shop")
OWN = replace(HSTORE, schema="own")
CUBE = Extension("cube", "shop")
DISTANCE = Extension("earthdistance", "shop")
STRANGE = tuple(f"function public.{name}() of role app" for name in "abcd")
NEEDS = FoundExtension(requires=("cube",), needs=("cube",))


@pytest.mark.parametrize(
    ("extensions", "found", "expected"),
    [
        ([], {}, []),
        ([HSTORE], {HSTORE: FoundExtension(installed="public")}, []),
        ([HSTORE], {HSTORE: FoundExtension(installed="elsewhere", available=False, strange=STRANGE)}, []),
        ([OWN], {OWN: FoundExtension(installed="own")}, []),
        ([HSTORE], {HSTORE: FoundExtension()}, ["create extension hstore in database shop"]),
        ([HSTORE, HSTORE], {HSTORE: FoundExtension()}, ["create extension hstore in database shop"]),
        ([OWN], {OWN: FoundExtension()}, ["create extension hstore in database shop"]),
        (
            [OWN, replace(CUBE, schema="own")],
            {OWN: FoundExtension(has_schema=False), replace(CUBE, schema="own"): FoundExtension(has_schema=False)},
            [
                "create schema own in database shop",
                "create extension hstore in database shop",
                "create extension cube in database shop",
            ],
        ),
        # CREATE EXTENSION makes it.
        ([HSTORE], {HSTORE: FoundExtension(fixed="h", has_schema=False)}, ["create extension hstore in database shop"]),
        (
            [CUBE, DISTANCE],
            {CUBE: FoundExtension(), DISTANCE: NEEDS},
            ["create extension cube in database shop", "create extension earthdistance in database shop"],
        ),
    ],
)
def test_what_is_missing_is_made(
    extensions: list[Extension], found: dict[Extension, FoundExtension], expected: list[str]
) -> None:
    todo = plan(extensions, FoundExtensions(found))
    assert todo.describe() == expected
    assert (todo.before == todo.after) is not todo.changed
    assert [f"create {key}" for key in todo.before] == expected


@pytest.mark.parametrize(
    ("extension", "found", "shown"),
    [
        (HSTORE, FoundExtension(), "public"),
        (HSTORE, FoundExtension(fixed="h"), "h"),
        (OWN, FoundExtension(fixed="own"), "own"),
        (OWN, None, "own"),
    ],
)
def test_the_schema_is_the_one_named_or_the_control_files_or_public(
    extension: Extension, found: FoundExtension | None, shown: str
) -> None:
    todo = plan([extension], FoundExtensions({extension: found}), missing_ok=True)
    assert dict(todo.after) == {"extension hstore in database shop": f"in schema {shown}"}


@pytest.mark.parametrize(
    ("extension", "found", "says"),
    [
        (
            HSTORE,
            FoundExtension(strange=STRANGE[:1]),
            r"wanted only superusers' objects .*, found function public\.a\(\) of role app\. Name a schema that postgres owns",
        ),
        (
            HSTORE,
            FoundExtension(fixed="h", strange=STRANGE),
            "no other schema than h: have these moved out, or dropped",
        ),
        (
            DISTANCE,
            replace(NEEDS, needs=(), strange=STRANGE),
            r"What it requires \(cube\) has to be in such a schema too",
        ),
        (HSTORE, FoundExtension(strange=STRANGE), r"a\(\) of role app, .*b\(\) .*c\(\) of role app and 1 more\."),
        (
            OWN,
            FoundExtension(installed="public"),
            'wanted schema own, found schema public.*ALTER EXTENSION "hstore" SET SCHEMA "own"',
        ),
        (
            OWN,
            FoundExtension(fixed="h"),
            "wanted schema own, found schema h, the only one that its control file allows",
        ),
    ],
)
@pytest.mark.parametrize("missing_ok", [True, False])
def test_what_contradicts_is_a_conflict_in_check_mode_too(
    extension: Extension, found: FoundExtension, says: str, missing_ok: bool
) -> None:
    with pytest.raises(Conflict, match=says):
        plan([extension], FoundExtensions({extension: found}), missing_ok)


@pytest.mark.parametrize(
    ("extensions", "found", "says"),
    [
        ([HSTORE], {HSTORE: None}, "there is no such database"),
        ([HSTORE], {}, "there is no such database"),
        ([HSTORE], {HSTORE: FoundExtension(available=False)}, "the server has no files of it; install its package"),
        ([DISTANCE], {DISTANCE: NEEDS}, "requires extension cube: state that before it"),
        ([DISTANCE, CUBE], {DISTANCE: NEEDS, CUBE: FoundExtension()}, "requires extension cube"),
        (
            [replace(CUBE, database="b"), DISTANCE],
            {DISTANCE: NEEDS, replace(CUBE, database="b"): FoundExtension()},
            "requires",
        ),
        ([HSTORE, OWN], {HSTORE: FoundExtension(), OWN: FoundExtension()}, "stated twice, with different schemas"),
    ],
)
def test_mistakes_are_told_in_words(
    extensions: list[Extension], found: dict[Extension, FoundExtension | None], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        plan(extensions, FoundExtensions(found))


def test_a_forecast_allows_for_what_an_earlier_step_would_bring() -> None:
    for state in (
        FoundExtensions(),
        FoundExtensions({HSTORE: None}),
        FoundExtensions({HSTORE: FoundExtension(available=False)}),
    ):
        assert plan([HSTORE], state, missing_ok=True).describe() == ["create extension hstore in database shop"]


ROW = {"installed": None, "available": True, "fixed": None, "requires": ["cube"], "needs": []}


def test_observe_looks_in_the_extensions_schema_and_in_those_of_what_it_requires() -> None:
    row = {"name": "function public.f()", "role": "a\x1bb"}
    main = ScriptedServer("pg1", [("FROM pg_database", [{"datname": "postgres"}, {"datname": "shop"}])])
    shop = ScriptedServer(
        "pg1",
        [
            ("FROM pg_extension e", [ROW]),
            ("FROM pg_namespace WHERE nspname", [{}]),
            ("NOT rolsuper", [row]),
            ("FROM pg_extension e", [{**ROW, "installed": "own"}]),
            ("FROM pg_extension e", [{**ROW, "available": False}]),
            ("FROM pg_extension e", [{**ROW, "fixed": "c"}]),
            ("FROM pg_namespace WHERE nspname", []),
            ("NOT rolsuper", []),
        ],
    )
    missing, elsewhere = Extension("missing", "shop"), Extension("hstore", "nowhere")
    state = observe(
        lambda database: {"postgres": main, "shop": shop}[database], [HSTORE, OWN, missing, CUBE, elsewhere]
    )
    assert state.extensions == {
        HSTORE: FoundExtension(requires=("cube",), strange=("function public.f() of role a?b",)),
        OWN: FoundExtension(installed="own", requires=("cube",)),
        missing: FoundExtension(available=False, requires=("cube",)),
        CUBE: FoundExtension(fixed="c", requires=("cube",), has_schema=False),
        elsewhere: None,
    }
    assert [params for query, params in shop.said if "NOT rolsuper" in query] == [("public", ["cube"]), ("c", ["cube"])]


BEGIN: list[tuple[str, Any]] = [("^BEGIN$", []), ("^SET LOCAL synchronous_commit = local$", [])]
LOCKS: list[tuple[str, Any]] = [
    *BEGIN,
    ("^SET LOCAL lock_timeout = '10s'$", []),
    ("^SET LOCAL statement_timeout", []),
    ("^LOCK TABLE .* IN SHARE MODE$", []),
]
OPEN = [{"xid": "7", "who": "a transaction of role app (process 70)"}, {"xid": "8", "who": "another"}]


def create(extension: Extension, found: FoundExtension, *conversation: tuple[str, Any]) -> ScriptedServer:
    server = ScriptedServer("pg1", conversation)
    ExtensionExecutor(lambda _database: server).create(extension, found)
    return server


@pytest.mark.parametrize(
    ("extension", "found", "statement", "looked"),
    [
        (HSTORE, FoundExtension(), '^CREATE EXTENSION "hstore" SCHEMA "public"$', "public"),
        (OWN, FoundExtension(), '^CREATE EXTENSION "hstore" SCHEMA "own"$', "own"),
        # It need not exist, which SCHEMA would ask for.
        (HSTORE, FoundExtension(fixed="h", has_schema=False), '^CREATE EXTENSION "hstore"$', "h"),
    ],
)
def test_the_look_is_repeated_under_the_lock_in_the_scripts_transaction(
    extension: Extension, found: FoundExtension, statement: str, looked: str
) -> None:
    found = replace(found, requires=("cube",))
    open_then, look = ("pid IS DISTINCT FROM", []), ("NOT rolsuper", [])
    server = create(extension, found, *LOCKS, open_then, look, (statement, []), ("^COMMIT$", []))
    assert server.said[-3][1] == (looked, ["cube"])


def test_what_has_come_since_the_plan_is_refused() -> None:
    row = {"name": "function public.f()", "role": "app"}
    conversation = [*LOCKS, ("pid IS DISTINCT FROM", []), ("NOT rolsuper", [row]), ("^ROLLBACK$", [])]
    with pytest.raises(Conflict, match=r"found function public\.f\(\) of role app"):
        create(HSTORE, FoundExtension(), *conversation)


def test_the_look_waits_for_transactions_whose_objects_nobody_sees_yet() -> None:
    wait = [("pg_sleep", []), ("= ANY", [{"xid": "8"}]), ("pg_sleep", []), ("= ANY", [])]
    end = [("NOT rolsuper", []), ("^CREATE EXTENSION", []), ("^COMMIT$", [])]
    server = create(HSTORE, FoundExtension(), *LOCKS, ("pid IS DISTINCT FROM", OPEN), *wait, *end)
    assert [params for query, params in server.said if "= ANY" in query][:2] == [(["7", "8"],), (["8"],)]


def test_a_transaction_that_does_not_end_is_named() -> None:
    wait = [("pg_sleep", []), ("= ANY", OPEN)] * 50
    says = (
        r"create extension hstore .* on pg1: a transaction of role app \(process 70\) has not ended in 10 s.* run again"
    )
    with pytest.raises(PgherdError, match=says):
        create(HSTORE, FoundExtension(), *LOCKS, ("pid IS DISTINCT FROM", OPEN), *wait, ("^ROLLBACK$", []))


def test_a_lock_that_does_not_come_is_a_sentence() -> None:
    timeout = SqlError("LOCK", "pg1", "canceling statement due to lock timeout", "55P03")
    with pytest.raises(SqlError, match=r"another session has the database's catalogue locked for 10 s now\. Run again"):
        create(HSTORE, FoundExtension(), *LOCKS[:-1], ("^LOCK TABLE", timeout), ("^ROLLBACK$", []))


def test_a_scripts_error_names_the_extension() -> None:
    failed = SqlError("CREATE", "pg1", "could not open file", "58P01")
    look = [("pid IS DISTINCT FROM", []), ("NOT rolsuper", []), ("^CREATE", failed)]
    with pytest.raises(SqlError, match=r"^create extension hstore in database shop on pg1: could not open file$"):
        create(HSTORE, FoundExtension(), *LOCKS, *look, ("^ROLLBACK$", SqlError("ROLLBACK", "pg1", "gone")))


def test_a_schema_is_the_superusers_and_all_may_use_it() -> None:
    made = [('^CREATE SCHEMA "o""n"$', []), ('^GRANT USAGE ON SCHEMA "o""n" TO PUBLIC$', []), ("^COMMIT$", [])]
    server = ScriptedServer("pg1", [*BEGIN, *made])
    ExtensionExecutor(lambda _database: server).create_schema("shop", 'o"n')


AUDIT = Extension("pgaudit", "shop", preload=True)
LATER = FoundExtension(loaded=False)


@pytest.mark.parametrize(
    ("extensions", "found", "made", "later"),
    [
        ([AUDIT], {AUDIT: LATER}, [], [AUDIT]),
        ([AUDIT], {AUDIT: FoundExtension()}, ["create extension pgaudit in database shop"], []),
        # It was there before, or came with a dump.
        ([AUDIT], {AUDIT: FoundExtension(installed="public", loaded=False)}, [], []),
        (
            [AUDIT, HSTORE],
            {AUDIT: LATER, HSTORE: FoundExtension()},
            ["create extension hstore in database shop"],
            [AUDIT],
        ),
        # What requires one that waits waits too, in the same database.
        (
            [replace(CUBE, preload=True), DISTANCE],
            {replace(CUBE, preload=True): LATER, DISTANCE: NEEDS},
            [],
            [replace(CUBE, preload=True), DISTANCE],
        ),
        (
            [replace(CUBE, preload=True, database="other"), CUBE, DISTANCE],
            {replace(CUBE, preload=True, database="other"): LATER, CUBE: FoundExtension(), DISTANCE: NEEDS},
            ["create extension cube in database shop", "create extension earthdistance in database shop"],
            [replace(CUBE, preload=True, database="other")],
        ),
        # Nothing is known of it: a forecast.
        ([AUDIT], {AUDIT: None}, None, []),
    ],
)
def test_what_needs_a_restart_waits_for_it(
    extensions: list[Extension],
    found: dict[Extension, FoundExtension | None],
    made: list[str] | None,
    later: list[Extension],
) -> None:
    state = FoundExtensions(found)
    assert waiting(extensions, state) == later
    if made is not None:
        assert plan(extensions, state).describe() == made


@pytest.mark.parametrize(
    ("setting", "loaded"),
    [
        ("repmgr,pgaudit", True),
        ('repmgr, "pgaudit"', True),
        ("repmgr,$libdir/pgaudit", True),
        ("repmgr", False),
        ("repmgr,pgaudit_analyze", False),
        ("", False),
    ],
)
def test_whether_its_library_is_loaded_is_asked_of_the_server(setting: str, loaded: bool) -> None:
    row = {"installed": None, "available": False, "fixed": None, "requires": [], "needs": []}
    script = [
        ("SELECT datname FROM pg_database", [{"datname": "shop"}]),
        ("FROM pg_extension", [row]),
        (r"current_setting\('shared_preload_libraries'\)", [{"libraries": setting}]),
    ]
    server = ScriptedServer("pg1", script)
    assert observe(lambda database: server, [AUDIT]) == FoundExtensions(
        {AUDIT: FoundExtension(available=False, loaded=loaded)}
    )
