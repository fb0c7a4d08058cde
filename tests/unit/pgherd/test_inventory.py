# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""From inventory to Cluster, and one sentence for each mistake."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory import OF_ONE_RUN, Host, build, one_value, unknown_host_keys, unknown_variables
from pgherd.model import Cluster

DEFAULTS: dict[str, Any] = {
    "cluster_name": "demo",
    "cluster_port": 5432,
    "cluster_pgpool_port": 9999,
    "cluster_pcp_port": 9898,
    "cluster_durability": "strict",
    "cluster_sync_standbys": 1,
    "cluster_replication_slots": True,
    "cluster_postgres_settings": {},
    "cluster_pgpool_settings": {},
    "cluster_barman_settings": {},
    "cluster_users": [],
    "cluster_wipe": [],
    "cluster_agent_port": 8765,
    "cluster_agent_listen": [],
    "cluster_agent_plain_port": 8766,
    "cluster_agent_plain_listen": [],
    "cluster_passwords": {"app": "hidden"},
}


def node(name: str, node_id: Any = None, upstream: str = "", group: str = "postgres", **variables: Any) -> Host:
    given = {"node_id": node_id, "upstream": upstream, **variables}
    return Host(name, (group,), {key: value for key, value in given.items() if value not in (None, "")})


def tree() -> list[Host]:
    """The five-node tree of the demo with two pgpools and a barman."""
    return [
        node("pg1", 1, ansible_host="10.0.0.1"),
        node("pg2", 2, "pg1", address="pg2.example.org"),
        node("pg3", 3, "pg2"),
        node("pg4", 4, "pg1"),
        node("pg5", 5, "pg4"),
        Host("pool1", ("pgpool",)),
        Host("pool2", ("pgpool",)),
        Host("backup1", ("barman",)),
    ]


def refused(hosts: list[Host], **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(hosts, {**DEFAULTS, **values})
    return str(caught.value)


def test_tree() -> None:
    cluster = build(tree(), DEFAULTS)
    assert cluster.first_primary.name == "pg1"
    assert [cluster.depth(node.name) for node in cluster.nodes] == [0, 1, 2, 1, 2]
    assert cluster.synchronous_standby_names == 'ANY 1 ("pg1", "pg2", "pg4")'
    assert cluster.seals_needed == 2
    assert cluster.node("pg1").ip == "10.0.0.1"
    assert cluster.node("pg2").address == "pg2.example.org"
    assert cluster.node("pg3").address == "pg3"


def test_survives_its_own_dictionary() -> None:
    cluster = build(tree(), DEFAULTS)
    assert Cluster.from_dict(cluster.to_dict()) == cluster


def test_model_holds_no_password() -> None:
    users = [{"name": "app", "password": "s3cret"}]
    assert "s3cret" not in str(build(tree(), {**DEFAULTS, "cluster_users": users}).to_dict())
    assert "hidden" not in str(build(tree(), DEFAULTS).to_dict())


def test_what_is_asked_of_one_run_is_no_part_of_the_cluster() -> None:
    asked = {name: ["pg3"] if name == "cluster_wipe" else "1" for name in OF_ONE_RUN}
    assert build(tree(), {**DEFAULTS, **asked}) == build(tree(), DEFAULTS)


def test_settings_may_differ_by_host() -> None:
    hosts = [*tree()[1:], node("pg1", 1, cluster_postgres_settings={"work_mem": "64MB"})]
    cluster = build(hosts, {**DEFAULTS, "cluster_postgres_settings": {"work_mem": "4MB"}})
    assert {item.name: item.settings["work_mem"] for item in cluster.data_nodes} == {
        "pg1": "64MB",
        "pg2": "4MB",
        "pg3": "4MB",
        "pg4": "4MB",
        "pg5": "4MB",
    }


def test_single_node_needs_no_number() -> None:
    cluster = build([node("pg1")], {**DEFAULTS, "cluster_durability": "async"})
    assert cluster.node("pg1").id == 1


def test_witness_watches_the_first_primary() -> None:
    hosts = [node("pg1", 1), node("pg2", 2, "pg1"), node("w1", 3, group="witness")]
    cluster = build(hosts, {**DEFAULTS, "cluster_durability": "async"})
    assert (cluster.node("w1").upstream, cluster.node("w1").priority) == ("pg1", 0)
    assert [item.name for item in cluster.data_nodes] == ["pg1", "pg2"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (node("pg3", 2, "pg2"), "pg3: node_id 2 is pg2's already; give it another number."),
        (node("pg3", None, "pg2"), "pg3: it has no node_id;"),
        (node("pg3", 3, "pg22"), "pg3: its upstream pg22 is not a node of this cluster; did you mean pg2?"),
        (node("pg3", "three", "pg2"), "pg3: node_id must be a whole number from 0 up, not 'three'."),
        (node("pg2", 2, "pg3"), "pg2: following its upstreams leads back to itself;"),
        (node("pg3", 3), "pg1, pg3: they have no upstream, so each would be a primary;"),
        (node("pg3", 3, "pg2", priorty=5), "pg3: there is no host variable priorty; did you mean priority?"),
        (Host("pg3", ("postgres", "witness"), {"node_id": 3}), "pg3: it is in the groups postgres and witness"),
        (Host("pg3", ("postgres", "pgpool"), {"node_id": 3}), "pg3: it is in the groups pgpool and postgres"),
        (Host("pg3", ("postgres", "barman"), {"node_id": 3}), "pg3: barman on a data node is lost with it;"),
        (node("pg4", 4, "pg2"), "cluster_durability strict needs three electable nodes, and there are two (pg1, pg2);"),
        (node("pg4", 4, "pg1", priority=0), "cluster_durability strict needs three electable nodes"),
        (node("pg4", 4, "pg1", location="far"), "cluster_durability strict needs three electable nodes"),
        (node("pg1", 1, priority=0), "pg1: the first day's primary has priority 0"),
    ],
)
def test_mistakes(change: Host, sentence: str) -> None:
    hosts = [change if host.name == change.name else host for host in tree()]
    assert sentence in refused(hosts)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cluster_sync_standbys": 3}, "cluster_sync_standbys is 3, but with 3 electable nodes it can be 1 to 2;"),
        ({"cluster_durability": "strikt"}, "cluster_durability is strict or async, not 'strikt'."),
        ({"cluster_users": [{"name": "repmgr"}]}, "cluster_users: repmgr is a role of pgherd's own;"),
        ({"cluster_wipe": ["pg9"]}, "cluster_wipe: there is no node pg9 in this cluster;"),
        ({"cluster_agent_listen": ["pg1"]}, "cluster_agent_listen: 'pg1' is neither an address nor a network;"),
        ({"cluster_agent_plain_listen": ["10.0.0.0/40"]}, "'10.0.0.0/40' is neither an address nor a network;"),
        (
            {"cluster_agent_plain_listen": ["10.1.0.0/16", "::1"], "cluster_agent_plain_port": 8765},
            "cluster_agent_port and cluster_agent_plain_port are the same;",
        ),
        ({"cluster_name": "My Cluster"}, "cluster_name 'My Cluster' must be lower-case letters"),
    ],
)
def test_wrong_values(values: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(tree(), **values)


def test_no_hosts() -> None:
    assert "The group postgres has no host" in refused([Host("pool1", ("pgpool",))])


def test_every_mistake_is_told_at_once() -> None:
    hosts = [node("pg1", 1), node("pg2", 1, "pg9"), node("pg3", "x", "pg1")]
    with pytest.raises(ConfigError) as caught:
        build(hosts, DEFAULTS)
    assert len(caught.value.problems) >= 3


def test_unknown_variable_has_a_hint() -> None:
    known = ["cluster_postgres_settings", "cluster_port"]
    assert unknown_variables(["cluster_postgres_setings", "other"], known, "pg1") == [
        "pg1: there is no variable cluster_postgres_setings; did you mean cluster_postgres_settings?"
    ]
    assert unknown_variables(["cluster_port"], known, "pg1") == []


def test_a_users_own_variable_is_left_alone() -> None:
    assert unknown_host_keys(Host("pg1", ("postgres",), {"rack": "a1", "locations": ["x"]})) == []


def test_a_cluster_wide_variable_has_one_value() -> None:
    hosts = [Host("a", (), {"cluster_port": 5432}), Host("b", (), {"cluster_port": 5433}), Host("c", ())]
    assert one_value("cluster_port", 1, hosts)[1] == [
        "cluster_port holds for the whole cluster, but a says 5432 and b says 5433; set it once, for all hosts."
    ]
    assert one_value("cluster_port", 1, hosts[:1]) == (5432, [])
    assert one_value("cluster_port", 1, hosts[2:]) == (1, [])


ALL = ("pg1", "pg2", "pool1", "pool2", "backup1")


@pytest.mark.parametrize(
    ("variable", "where", "home"),
    [
        ("cluster_port", ("pg2",), "postgres"),
        ("cluster_port", ("pool1", "pool2"), "postgres"),
        ("cluster_durability", ("backup1",), "postgres"),
        ("cluster_pgpool_port", ("pool1",), "pgpool"),
        ("cluster_pcp_port", ("pg1", "pg2"), "pgpool"),
        ("cluster_barman_retention", ("pg1",), "barman"),
        ("cluster_packages_extra", ("pg1",), "postgres"),
        ("cluster_port", ALL, ""),
        ("cluster_port", ("pg1", "pg2"), ""),
        ("cluster_port", ("pg1", "pg2", "pool1"), ""),
        ("cluster_pgpool_port", ("pool1", "pool2"), ""),
        ("cluster_barman_retention", ("backup1",), ""),
    ],
)
def test_a_cluster_wide_variable_is_not_set_for_some_hosts(variable: str, where: tuple[str, ...], home: str) -> None:
    groups = {"pg": "postgres", "po": "pgpool", "ba": "barman"}
    hosts = [Host(name, (groups[name[:2]],), {variable: "x"} if name in where else {}) for name in ALL]
    sentence = (
        f"{', '.join(where)}: {variable} holds for the whole cluster and cannot differ by host; "
        f"set it for all hosts or for the group {home}."
    )
    assert one_value(variable, "y", hosts) == ("x", [sentence] if home else [])


def test_pgpool_knows_128_backends() -> None:
    hosts = [node("pg5", 129, "pg4") if host.name == "pg5" else host for host in tree()]
    assert "pg5: pgpool knows backends 0 to 127, so with pgpool a data node's node_id is 1 to 128, not 129." in refused(
        hosts
    )
    alone = [host for host in hosts if "pgpool" not in host.groups]
    assert build(alone, DEFAULTS).node("pg5").id == 129
    witness = [*tree(), node("w1", 200, group="witness")]
    assert build(witness, DEFAULTS).node("w1").id == 200
