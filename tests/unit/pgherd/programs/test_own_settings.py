# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings that are the cluster's own are refused by name, with what to do in their place; and lists are written as lists."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory.build import build
from pgherd.inventory.settings import contradictions, pgpool_sessions, streams
from pgherd.inventory.values import value_problems
from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.options import Options
from pgherd.places.host.files import postgres as host_postgres
from pgherd.programs import barman_settings, pgpool_settings, postgres_settings, repmgr_settings
from pgherd.programs.own_settings import normal
from pgherd.render import conf_postgres, conf_repmgr
from test_inventory import DEFAULTS, tree

ROOT = Path(__file__).resolve().parents[4]
CANARY = "canary-8d1c"
TABLES = {
    "cluster_postgres_settings": postgres_settings.OURS,
    "cluster_pgpool_settings": pgpool_settings.OURS,
    "cluster_repmgr_settings": repmgr_settings.OURS,
    "cluster_barman_settings": barman_settings.OURS,
}
ALL = [(variable, name, cure) for variable, names in TABLES.items() for name, cure in names.items()]


@pytest.mark.parametrize(("variable", "name", "cure"), ALL)
def test_what_is_ours_is_refused_by_name(variable: str, name: str, cure: str) -> None:
    expected = f"{variable}: {name} is not to be set there: {cure}."
    assert value_problems(variable, {name: CANARY, "description": "%m"}) == [expected]
    # Programs read names in any case.
    assert value_problems(variable, {name.title(): CANARY}) == [expected]
    with pytest.raises(ConfigError) as caught:
        build(tree(), {**DEFAULTS, variable: {name: CANARY}})
    assert str(caught.value) == expected


def test_each_cure_that_is_a_variable_is_one() -> None:
    known = (ROOT / "roles/cluster/meta/argument_specs.yml").read_text(encoding="utf-8")
    named = {
        word.rstrip(",;.") for _variable, _name, cure in ALL for word in cure.split() if word.startswith("cluster_")
    }
    assert len(named) > 5
    assert not [name for name in named if f"\n      {name}:" not in known]


def test_who_a_node_is_is_ours() -> None:
    """A list of names that must stand in the tables, whatever else comes and goes."""
    must = "port data_directory hba_file listen_addresses unix_socket_directories ssl_key_file cluster_name include_dir"
    must += " synchronous_standby_names primary_conninfo primary_slot_name restore_command recovery_target_timeline"
    assert set(must.split()) <= set(postgres_settings.OURS)
    wanted = conf_repmgr.settings(
        Cluster("a", (Node("a", 1, "postgres", "a"),), options=Options.of({})), Node("a", 1, "postgres", "a"), 17
    )
    assert {"node_id", "node_name", "conninfo", "data_directory", "promote_command"} <= set(repmgr_settings.OURS) & set(
        wanted
    )


def test_people_can_read_which() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    section = page.partition("## What is not yours to set\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    patterns = [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row)]
    names = [*(name for names in TABLES.values() for name in names), *postgres_settings.REFUSED]
    assert [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)] == []
    numbers = ["max_wal_senders", "max_replication_slots", "max_connections"]
    others = ["pgherd.x", "backend_hostname0", "synchronous_commit", "wal_log_hints", *numbers]
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in [*names, *others])] == []


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("hot_standby", [False, "off", "no"], [True, "on"]),
        ("wal_level", ["minimal", "archive"], ["replica", "logical", "LOGICAL"]),
        ("fsync", [False, "OFF", "fa", 0, "0"], [True, "on", "yes", 1]),
        ("full_page_writes", [False, "false"], ["true"]),
        ("data_sync_retry", [True, "on"], [False, "off"]),
        ("password_encryption", ["md5"], ["scram-sha-256"]),
        ("allow_alter_system", [False], [True]),
        ("default_transaction_read_only", [True, "on"], [False, "off"]),
        ("lc_messages", ["de_DE.UTF-8", "", "english"], ["C", "C.UTF-8", "POSIX", "en_US.UTF-8", "en_GB"]),
        ("db_user_namespace", [True], ["off"]),
    ],
)
def test_values_that_break_a_promise(name: str, wrong: list[Any], right: list[Any]) -> None:
    for value in wrong:
        (said,) = value_problems("cluster_postgres_settings", {name: value})
        assert said.startswith(f"cluster_postgres_settings: {name} ")
        assert " is refused, since " in said
    for value in right:
        assert value_problems("cluster_postgres_settings", {name: value}) == []


def test_each_refused_value_has_a_case() -> None:
    cases = {case[0] for case in test_values_that_break_a_promise.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert cases == set(postgres_settings.REFUSED)


@pytest.mark.parametrize(
    ("variable", "settings", "sentence"),
    [
        ("cluster_postgres_settings", {"work_mem": None}, "work_mem has no value that a file could hold"),
        ("cluster_postgres_settings", {"work_mem": {"a": 1}}, "work_mem has no value that a file could hold"),
        ("cluster_postgres_settings", {"search_path": [["a"]]}, "search_path is a list of other things than words"),
        ("cluster_postgres_settings", {"a": [True]}, "a is a list of other things than words"),
        ("cluster_postgres_settings", {"Work_Mem": 4, "work_mem": 8}, "Work_Mem and work_mem are one setting"),
        ("cluster_postgres_settings", {"pgherd.identity": CANARY}, "it belongs to pgherd"),
        (
            "cluster_pgpool_settings",
            {"backend_weight0": 1},
            "backend_weight0 is not to be set there: set cluster_pgpool_weights",
        ),
        ("cluster_pgpool_settings", {"backend_hostname3": CANARY}, "it comes from the inventory"),
        ("cluster_pgpool_settings", {"client_idle_limit": None}, "client_idle_limit has no value"),
        ("cluster_repmgr_settings", {"log_level": ["a"]}, "log_level is a list"),
    ],
)
def test_values_that_no_file_holds(variable: str, settings: dict[str, Any], sentence: str) -> None:
    (said,) = value_problems(variable, settings)
    assert sentence in said
    assert CANARY not in said


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (["pg_stat_statements", "auto_explain"], "repmgr,pg_stat_statements,auto_explain"),
        ("pg_stat_statements, auto_explain", "repmgr,pg_stat_statements,auto_explain"),
        ("pg_stat_statements", "repmgr,pg_stat_statements"),
        ([], "repmgr"),
    ],
)
@pytest.mark.parametrize("name", ["shared_preload_libraries", "Shared_Preload_Libraries"])
def test_libraries_are_added_to_ours(name: str, value: Any, written: str) -> None:
    assert value_problems("cluster_postgres_settings", {name: value}) == []
    node = replace(CLUSTER.nodes[0], settings={name: value})
    assert conf_postgres.settings(CLUSTER, node, 17)["shared_preload_libraries"] == written


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (True, "x = on\n"),
        (False, "x = off\n"),
        (4, "x = 4\n"),
        (0.5, "x = 0.5\n"),
        ("4MB", "x = '4MB'\n"),
        (["ddl", "role"], "x = 'ddl,role'\n"),
        ([1, 2], "x = '1,2'\n"),
        ("it's", "x = 'it''s'\n"),
    ],
)
def test_values_as_the_file_has_them(value: Any, line: str) -> None:
    from pgherd.places.host.files.facts import HostFacts

    cluster = replace(CLUSTER, nodes=(replace(CLUSTER.nodes[0], settings={"X": value}),))
    (conf,) = (
        file for file in host_postgres.files(cluster, "pg1", HostFacts(17), {}) if file.path.endswith("postgresql.conf")
    )
    assert line in conf.content
    assert normal({"X": value}) == {"x": value if not isinstance(value, list) else ",".join(map(str, value))}


CLUSTER = Cluster(
    "demo",
    tuple(Node(f"pg{one}", one, "postgres", f"pg{one}", "" if one == 1 else "pg1") for one in (1, 2, 3)),
    pgpools=(Pgpool("pool1", "pool1"), Pgpool("pool2", "pool2")),
    barmans=(Barman("backup1", "backup1"),),
    options=Options.of({"pgpool_max_clients": 64, "data_checksums": True, "wal_keep_size": "512MB"}),
)


@pytest.mark.parametrize(
    ("first", "second", "sessions", "connections"),
    [
        ({}, {}, 128, 300),
        # B20: what is in force, and not the variable alone.
        ({"max_pool": 4}, {"max_pool": 4}, 512, 600),
        ({"num_init_children": 200, "max_pool": 4}, {}, 864, 1000),
        ({"num_init_children": "200"}, {"Max_Pool": "2"}, 328, 400),
        # pgpool refuses it.
        ({"max_pool": "many"}, {}, 128, 300),
        ({"num_init_children": 260}, {}, 324, 400),
    ],
)
def test_places_for_what_the_pgpools_may_hold(
    first: dict[str, Any], second: dict[str, Any], sessions: int, connections: int
) -> None:
    cluster = replace(
        CLUSTER, pgpools=(Pgpool("pool1", "pool1", settings=first), Pgpool("pool2", "pool2", settings=second))
    )
    assert pgpool_sessions(cluster) == sessions
    assert conf_postgres.settings(cluster, cluster.nodes[0], 17)["max_connections"] == connections
    assert contradictions(cluster) == []


def with_settings(*given: dict[str, Any], **changes: Any) -> Cluster:
    nodes = tuple(
        replace(node, settings=settings) for node, settings in zip(CLUSTER.nodes, given * (3 if len(given) == 1 else 1))
    )
    return replace(CLUSTER, nodes=nodes, **changes)


# Without checksums.
BARE = replace(CLUSTER.options, data_checksums=False)


@pytest.mark.parametrize(
    ("cluster", "sentence"),
    [
        (with_settings({"max_connections": 168}), ""),
        (with_settings({"max_connections": 167}), "cluster_postgres_settings: max_connections is less than 168, which are 128"),
        (with_settings({"max_connections": "many"}), ""),
        (with_settings({}, {"max_connections": 100}, {}), "pg2: cluster_postgres_settings: max_connections is less than 168"),
        (with_settings({"max_connections": 20}, pgpools=()), "max_connections is less than 40, which are 0"),
        (with_settings({"max_wal_senders": streams(CLUSTER)}), ""),
        (with_settings({"max_wal_senders": 9}), "max_wal_senders is less than 10, which this cluster may need"),
        (with_settings({"max_replication_slots": "3"}), "max_replication_slots is less than 10"),
        (with_settings({"synchronous_commit": "remote_apply"}), ""),
        (with_settings({"synchronous_commit": False}), "synchronous_commit is on or remote_apply for all under"),
        (with_settings({"synchronous_commit": "local"}), "synchronous_commit is on or remote_apply"),
        (with_settings({"synchronous_commit": "Remote_Write"}), "synchronous_commit is on or remote_apply"),
        (with_settings({"synchronous_commit": "off"}, durability="async"), ""),
        (with_settings({"wal_log_hints": False}), ""),
        (with_settings({"wal_log_hints": "off"}, options=BARE), "leaves pg_rewind nothing"),
        (with_settings({}, options=BARE), ""),
    ],
)  # fmt: skip
def test_settings_against_the_rest_of_the_cluster(cluster: Cluster, sentence: str) -> None:
    found = contradictions(cluster)
    assert len(found) == bool(sentence), found
    assert sentence in "".join(found)
