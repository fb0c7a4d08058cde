# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""postgresql.conf and pg_hba.conf as rendered from the cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.errors import ConfigError
from pgherd.model import SYSTEM_ROLES, Barman, Cluster, Node, Origins, Pgpool
from pgherd.options import Options
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.host.files.postgres import files
from pgherd.render.conf_postgres import hba, preload, settings
from pgherd.render.quoting import passfile, single_quoted

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1", origins=Origins(known="10.0.0.1")),
        Node("pg2", 2, "postgres", "pg2", "pg1", origins=Origins(known="10.0.0.2")),
        Node("pg3", 3, "postgres", "pg3", "pg1"),
        Node("w1", 4, "witness", "w1", "pg1", priority=0, origins=Origins(known="10.0.0.4")),
    ),
    (Pgpool("pool1", "pool1", origins=Origins(known="10.0.0.8")),),
    (Barman("backup1", "backup1", origins=Origins(known="10.0.0.9")),),
    options=Options.of(
        {
            "pgpool_max_clients": 64,
            "wal_keep_size": "512MB",
            "users": [{"name": "app"}, {"name": "My User"}],
            "networks": ["192.168.0.0/16"],
            "hba": ["host x y z md5"],
        }
    ),
)
PG1, W1 = CLUSTER.node("pg1"), CLUSTER.node("w1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "on"),
        (7, "7"),
        ("4MB", "'4MB'"),
        ("a,b:c", "'a,b:c'"),
        ("it's", "'it''s'"),
        ("C:\\x", "'C:\\\\x'"),
        ("", "''"),
    ],
)
def test_single_quoted(value: object, text: str) -> None:
    assert single_quoted(value) == text


def test_passfile_escapes() -> None:
    assert passfile([("*", 5432, "*", "app", "a:b\\c")]) == "*:5432:*:app:a\\:b\\\\c\n"


def test_user_settings_win_and_preload_adds_up() -> None:
    node = replace(
        PG1, settings={"work_mem": "64MB", "max_connections": 7, "shared_preload_libraries": "pgaudit, repmgr"}
    )
    found = settings(CLUSTER, node, 17)
    assert (found["work_mem"], found["max_connections"]) == ("64MB", 7)
    assert found["shared_preload_libraries"] == "repmgr,pgaudit"
    with_extension = replace(
        CLUSTER,
        options=Options.of({**vars(CLUSTER.options), "extensions": [{"name": "pg_stat_statements", "preload": True}]}),
    )
    assert preload(with_extension, PG1) == ["repmgr", "pg_stat_statements"]
    assert preload(with_extension, W1) == ["repmgr"]


def test_durability() -> None:
    assert settings(CLUSTER, PG1, 17)["synchronous_standby_names"] == 'ANY 1 ("pg1", "pg2", "pg3")'
    assert settings(replace(CLUSTER, durability="async"), PG1, 17)["synchronous_standby_names"] == ""
    assert "synchronous_standby_names" not in settings(CLUSTER, W1, 17)


def test_slots_or_kept_wal() -> None:
    assert settings(CLUSTER, PG1, 17)["wal_keep_size"] == "512MB"
    without = settings(
        replace(
            CLUSTER, replication_slots=False, options=Options.of({**vars(CLUSTER.options), "wal_keep_size": "1GB"})
        ),
        PG1,
        17,
    )
    assert without["wal_keep_size"] == "1GB"
    assert "max_slot_wal_keep_size" not in without


def logical(cluster: Cluster = CLUSTER, name: str = "pg1", version: int = 17, **given: object) -> tuple[object, object]:
    node = replace(cluster.node(name), settings={"wal_level": "logical", **given})
    nodes = tuple(node if one.name == name else one for one in cluster.nodes)
    found = settings(replace(cluster, nodes=nodes), node, version)
    return found.get("sync_replication_slots"), found.get("synchronized_standby_slots")


TREE = replace(CLUSTER, nodes=(*CLUSTER.nodes, Node("pg5", 5, "postgres", "pg5", "pg2")))
FAVOURED = replace(CLUSTER, nodes=(*CLUSTER.nodes[:2], replace(CLUSTER.nodes[2], priority=200), CLUSTER.nodes[3]))


@pytest.mark.parametrize(
    ("what", "found", "expected"),
    [
        ("W = 1: one other", logical(), (True, "repmgr_slot_2")),
        ("never its own", logical(name="pg2"), (True, "repmgr_slot_1")),
        ("W = 2: both", logical(replace(CLUSTER, sync_standbys=2)), (True, "repmgr_slot_2,repmgr_slot_3")),
        ("the one that is likelier to be next", logical(FAVOURED), (True, "repmgr_slot_3")),
        ("nobody is sure to be next", logical(replace(CLUSTER, durability="async")), (True, None)),
        ("a standby's standby", logical(TREE, "pg5"), (None, None)),
        ("PostgreSQL 16", logical(version=16), (None, None)),
        ("no logical WAL", logical(wal_level="replica"), (None, None)),
        ("no feedback", logical(hot_standby_feedback=False), (None, None)),
        ("no slots at all", logical(replace(CLUSTER, replication_slots=False)), (None, None)),
        ("a witness", logical(name="w1"), (None, None)),
        ("the user's word goes before", logical(synchronized_standby_slots=""), (True, "")),
    ],
)
def test_logical_slots_survive(what: str, found: tuple[object, object], expected: tuple[object, object]) -> None:
    assert found == expected, what


def test_room_for_every_stream() -> None:
    many = replace(CLUSTER, nodes=tuple(Node(f"n{i}", i, "postgres", f"n{i}") for i in range(1, 20)))
    assert settings(many, many.nodes[0], 17)["max_wal_senders"] >= 19 + 1
    assert settings(many, many.nodes[0], 17)["max_replication_slots"] >= 19 + 1


def test_one_more_host_needs_no_restart() -> None:
    one, two = settings(CLUSTER, PG1, 17), settings(replace(CLUSTER, pgpools=CLUSTER.pgpools * 2), PG1, 17)
    grown = settings(replace(CLUSTER, nodes=(*CLUSTER.nodes, Node("pg5", 5, "postgres", "pg5", "pg1"))), PG1, 17)
    for name in ("max_connections", "max_wal_senders", "max_replication_slots"):
        assert one[name] == two[name] == grown[name]


def test_hba_is_tls_and_scram_only() -> None:
    for line in hba(replace(CLUSTER, options=Options.of({**vars(CLUSTER.options), "hba": []})), PG1):
        kind, *_rest, method = line.split()
        assert kind in ("local", "hostssl") or method == "reject", line
        assert method in ("scram-sha-256", "reject") or line.startswith("local all postgres peer"), line
        assert "trust" not in line


def test_hba_opens_what_the_topology_needs() -> None:
    lines = hba(CLUSTER, PG1)
    for peer in ("10.0.0.2/32", "pg3"):
        assert f'hostssl "repmgr" "pgherd_agent" {peer} scram-sha-256' in lines
        assert f'hostssl replication "pgherd_agent","repmgr" {peer} scram-sha-256' in lines
    assert 'hostssl "repmgr" "repmgr" 10.0.0.4/32 scram-sha-256' in lines
    assert 'hostssl all "app","My User" 10.0.0.8/32 scram-sha-256' in lines
    assert 'hostssl replication "streaming_barman" 10.0.0.9/32 scram-sha-256' in lines


def test_a_witness_only_votes() -> None:
    """It may not stream, and nobody is an agent there or from there."""
    assert not [line for line in hba(CLUSTER, PG1) if "10.0.0.4" in line and ("replication" in line or "agent" in line)]
    assert not [line for line in hba(CLUSTER, W1) if "pgherd_agent" in line and not line.endswith("reject")]


@pytest.mark.parametrize("name", ["pg1", "w1"])
def test_no_line_for_all_databases_reaches_repmgrs(name: str) -> None:
    lines = hba(CLUSTER, CLUSTER.node(name))
    end = lines.index('host "repmgr" all all reject')
    before = [line.split()[1] for line in lines[:end] if not line.startswith("local")]
    assert set(before) <= {'"repmgr"', "replication", '"postgres","repmgr"'}
    assert not [line for line in lines[end + 1 :] if line.split()[1] != "all" and "repmgr" in line.split()[1]]


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("all", '"all"'),
        ("+staff", '"+staff"'),
        ("@file", '"@file"'),
        ('o"dd', '"o""dd"'),
        ("replication", '"replication"'),
    ],
)
def test_a_name_means_itself(user: str, text: str) -> None:
    lines = hba(replace(CLUSTER, options=Options.of({**vars(CLUSTER.options), "users": [{"name": user}]})), PG1)
    assert f"hostssl all {text} 10.0.0.8/32 scram-sha-256" in lines


def test_a_name_that_is_always_a_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match="begins with a slash"):
        hba(replace(CLUSTER, options=Options.of({**vars(CLUSTER.options), "users": [{"name": "/."}]})), PG1)


@pytest.mark.parametrize(
    ("version", "most", "places"),
    [(15, None, None), (16, None, 16), (17, None, 16), (17, 100, 10), (17, "60", 6), (17, 7, 0)],
)
def test_own_places(version: int, most: object, places: int | None) -> None:
    """Clients cannot take them; a server with few connections must start all the same."""
    node = replace(PG1, settings={} if most is None else {"max_connections": most})
    assert settings(CLUSTER, node, version).get("reserved_connections") == places
    assert settings(CLUSTER, replace(PG1, settings={"reserved_connections": 3}), 17)["reserved_connections"] == 3


def test_system_roles_cannot_come_from_client_networks() -> None:
    lines = hba(CLUSTER, PG1)
    reject = next(line for line in lines if line.startswith("host all ") and line.endswith("reject"))
    assert all(f'"{role}"' in reject for role in (*SYSTEM_ROLES, "postgres"))
    assert (
        lines.index(reject)
        < lines.index("host x y z md5")
        < lines.index("hostssl all all 192.168.0.0/16 scram-sha-256")
    )


def test_witness_lets_nobody_else_in() -> None:
    text = "\n".join(hba(CLUSTER, W1))
    assert "192.168" not in text
    assert "app" not in text
    assert "barman 10.0.0.9" not in text


def test_files_are_for_the_version() -> None:
    paths = [file.path for file in files(CLUSTER, "pg1", HostFacts(15), {})]
    assert "/etc/postgresql/15/main/postgresql.conf" in paths
    assert "/etc/systemd/system/postgresql@15-main.service.d/pgherd.conf" in paths


@pytest.mark.parametrize("name", ["pg1", "w1"])
def test_a_node_may_reach_itself_over_loopback_as_by_its_own_address(name: str) -> None:
    """Where its own name leads there, as Debian's installer writes it; the same roles in the same way, and nobody else."""
    node = CLUSTER.node(name)
    lines = hba(CLUSTER, node)
    for place in ("127.0.0.1/32", "::1/128"):
        found = [line.replace(place, f"{node.origins.known}/32") for line in lines if f" {place} " in line]
        assert found == [line for line in lines if f" {node.origins.known}/32 " in line]
        assert len(found) == (4 if node.kind == "postgres" else 2)
