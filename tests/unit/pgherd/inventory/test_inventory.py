# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""From inventory to Cluster, and one sentence for each mistake."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from pgherd.errors import ConfigError
from pgherd.inventory.build import OF_ONE_RUN, build
from pgherd.inventory.variables import Host, one_value, unknown_host_keys, unknown_variables
from pgherd.model import Cluster
from pgherd.places.host.files import barman, base, pgpool, postgres, repmgr
from pgherd.places.host.files import cluster as description
from pgherd.places.host.files.facts import HostFacts
from pgherd.ports.hostfiles import File
from pgherd.programs.postgres import parse_sync_names
from pgherd.quorum import seals_needed
from pgherd.render import conf_barman, conf_pgpool, conf_postgres

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
    "cluster_peer_port": 8767,
    "cluster_agent_clients": [],
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
    assert seals_needed(cluster, "pg1") == 2
    assert cluster.node("pg1").origins.known == "10.0.0.1"
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
    nodes = {"cluster_wipe": ["pg3"], "cluster_replaced": ["pg3"], "cluster_remove": "pg3"}
    asked = {name: nodes.get(name, "100") for name in OF_ONE_RUN}
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
        (node("pg3", 2**31, "pg2"), "pg3: node_id is at most 2147483647, not 2147483648."),
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
        ({"cluster_replaced": ["pg9"]}, "cluster_replaced: there is no node pg9 in this cluster;"),
        ({"cluster_remove": "pg55"}, "cluster_remove: pg55 is no node of cluster demo; did you mean pg5?"),
        ({"cluster_remove": "pool1"}, "cluster_remove: pool1 is no node; take it out of the inventory"),
        ({"cluster_agent_listen": ["pg1"]}, "cluster_agent_listen: 'pg1' is neither an address nor a network;"),
        ({"cluster_agent_plain_listen": ["10.0.0.0/40"]}, "'10.0.0.0/40' is neither an address nor a network;"),
        ({"cluster_agent_clients": ["lb1"]}, "cluster_agent_clients: 'lb1' is neither an address nor a network."),
        ({"cluster_name": "My Cluster"}, "cluster_name 'My Cluster' must be lower-case letters"),
    ],
)
def test_wrong_values(values: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(tree(), **values)


PLAIN = {"cluster_agent_plain_listen": ["10.1.0.0/16", "::1"]}


@pytest.mark.parametrize(
    ("what", "values", "same"),
    [
        ("PostgreSQL and the agents' port", {"cluster_peer_port": 5432}, [("port", "peer_port")]),
        ("PostgreSQL and the agent's HTTP", {"cluster_port": 8765}, [("port", "agent_port")]),
        ("both ports of the agent", {"cluster_peer_port": 8765}, [("agent_port", "peer_port")]),
        ("the agent's plain port", {**PLAIN, "cluster_agent_plain_port": 8765}, [("agent_port", "agent_plain_port")]),
        ("PostgreSQL and the plain port", {**PLAIN, "cluster_port": 8766}, [("port", "agent_plain_port")]),
        ("peers and the plain port", {**PLAIN, "cluster_peer_port": 8766}, [("agent_plain_port", "peer_port")]),
        ("pgpool and its control port", {"cluster_pcp_port": 9999}, [("pgpool_port", "pcp_port")]),
        ("pgpool and the agent's HTTP", {"cluster_pgpool_port": 8765}, [("pgpool_port", "agent_port")]),
        ("pcp and the agent's HTTP", {"cluster_pcp_port": 8765}, [("pcp_port", "agent_port")]),
        ("pcp and the plain port", {**PLAIN, "cluster_pcp_port": 8766}, [("pcp_port", "agent_plain_port")]),
        (
            "three at once",
            {"cluster_port": 8765, "cluster_peer_port": 8765},
            [("port", "agent_port"), ("port", "peer_port"), ("agent_port", "peer_port")],
        ),
        # No host has both, or nobody listens.
        ("PostgreSQL and pgpool are on different hosts", {"cluster_pgpool_port": 5432}, []),
        ("pgpool beside no agent of a data node", {"cluster_pcp_port": 8767}, []),
        ("nobody listens without TLS", {"cluster_agent_plain_port": 8765}, []),
    ],
)
def test_two_programs_on_one_port(what: str, values: dict[str, Any], same: list[tuple[str, str]]) -> None:
    wanted = [
        f"cluster_{one} and cluster_{other} are the same; give one of them another number." for one, other in same
    ]
    if wanted:
        assert refused(tree(), **values).splitlines() == wanted, what
    else:
        assert build(tree(), {**DEFAULTS, **values}), what


def test_ports_of_hosts_that_are_not_there() -> None:
    hosts = [host for host in tree() if "pgpool" not in host.groups]
    assert build(hosts, {**DEFAULTS, "cluster_pcp_port": 9999, "cluster_pgpool_port": 9999})


@pytest.mark.parametrize(
    ("version", "untried", "taken"),
    [
        (None, False, True),
        (0, False, True),
        (15, False, True),
        (17, False, True),
        (14, False, False),
        (16, False, False),
        (18, False, False),
        (-17, False, False),
        (18, True, True),
        (None, True, True),
    ],
)
def test_a_version_that_was_never_tried_is_the_users_risk(version: int | None, untried: bool, taken: bool) -> None:
    values = {"cluster_postgres_version": version, "cluster_postgres_untried": untried}
    if taken:
        assert build(tree(), {**DEFAULTS, **values})
    else:
        assert refused(tree(), **values).count(f"never with {version};") == 1


def test_what_runs_nowhere_else_is_a_host() -> None:
    hosts = [Host(host.name, host.groups, {**host.variables, "place": "host"}) for host in tree()]
    assert {item.place for item in build(tree(), DEFAULTS).hosts} == {"host"}
    assert build(hosts, DEFAULTS) == build(tree(), DEFAULTS)


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
    assert unknown_variables(["cluster_platform"], known, "pg1") == [
        "pg1: there is no variable cluster_platform; did you mean place, of a host or a group?"
    ]


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


def test_what_is_true_of_a_host_alone_may_differ() -> None:
    hosts = [Host(host.name, host.groups, {**host.variables, "cluster_become": host.name != "pg2"}) for host in tree()]
    assert build(hosts, {**DEFAULTS, "cluster_become": True}) == build(tree(), DEFAULTS)


def test_pgpool_knows_128_backends() -> None:
    hosts = [node("pg5", 129, "pg4") if host.name == "pg5" else host for host in tree()]
    assert "pg5: pgpool knows backends 0 to 127, so with pgpool a data node's node_id is 1 to 128, not 129." in refused(
        hosts
    )
    alone = [host for host in hosts if "pgpool" not in host.groups]
    assert build(alone, DEFAULTS).node("pg5").id == 129
    witness = [*tree(), node("w1", 200, group="witness")]
    assert build(witness, DEFAULTS).node("w1").id == 200


@pytest.mark.parametrize(
    ("hosts", "sentence"),
    [
        ({"pg1": {}, "PG1": {}}, "pg1, PG1: pg1 would be each of them;"),
        ({"pg1": {"ip": "10.0.0.1"}, "pg2": {"ip": "10.0.0.1"}}, "pg1, pg2: 10.0.0.1 would be each of them;"),
        (
            {"pg1": {"ip": ["10.0.0.1", "fd00::1"]}, "pg2": {"ip": "FD00:0::1"}},
            "pg1, pg2: fd00::1 would be each of them;",
        ),
        ({"pg1": {"address": "Lb.example.org"}, "pg2": {"address": "lb.example.org"}}, "lb.example.org would be each"),
        ({"pg1": {"address": "pg2"}, "pg2": {}}, "pg1, pg2: pg2 would be each of them; give each host a name"),
        ({"10.0.0.1": {}, "pg2": {"ip": "10.0.0.1"}}, "10.0.0.1, pg2: 10.0.0.1 would be each"),
        ({"db-1": {}, "db_1": {}, "db.1a": {}}, ""),
        ({"db1.example.org": {}, "db2.example.org": {}}, ""),
        ({"ANY": {}, "first": {}, "postgres": {}}, ""),
    ],
)
def test_no_two_hosts_are_taken_for_one_another(hosts: dict[str, dict[str, Any]], sentence: str) -> None:
    given = [
        Host(name, ("postgres",), {"node_id": at, **({"upstream": next(iter(hosts))} if at > 1 else {}), **more})
        for at, (name, more) in enumerate(hosts.items(), start=1)
    ]
    values = {**DEFAULTS, "cluster_durability": "async"}
    if sentence:
        with pytest.raises(ConfigError) as caught:
            build(given, values)
        assert sentence in str(caught.value)
    else:
        cluster = build(given, values)
        assert len({item.slot for item in cluster.nodes}) == len(hosts)


@pytest.mark.parametrize(
    ("what", "first", "second", "ips"),
    [
        ("each its own", {"ansible_host": "10.0.0.1"}, {"ansible_host": "10.0.0.2"}, ("10.0.0.1", "10.0.0.2")),
        ("Vagrant", {"ansible_host": "127.0.0.1"}, {"ansible_host": "127.0.0.1"}, ("", "")),
        ("one bastion, two ports", {"ansible_host": "192.0.2.1"}, {"ansible_host": "192.0.2.1"}, ("", "")),
        ("a name", {"ansible_host": "pg1.example.org"}, {}, ("", "")),
        ("nothing", {}, {}, ("", "")),
        ("the user's word", {"ansible_host": "192.0.2.1", "ip": "10.0.0.1"}, {}, ("10.0.0.1", "")),
        ("another's", {"ip": "10.0.0.1"}, {"ansible_host": "10.0.0.1"}, ("10.0.0.1", "")),
        ("an address for a name", {"address": "fd00:0::1"}, {}, ("fd00::1", "")),
    ],
)
def test_ip(what: str, first: dict[str, Any], second: dict[str, Any], ips: tuple[str, str]) -> None:
    hosts = [node("pg1", 1, **first), node("pg2", 2, "pg1", **second)]
    cluster = build(hosts, {**DEFAULTS, "cluster_durability": "async"})
    assert tuple(item.origins.known for item in cluster.nodes) == ips, what


def test_hosts_may_be_named_by_their_addresses() -> None:
    """A host's address in pg_hba.conf has its mask."""
    hosts = [node("10.0.0.1", 1), node("10.0.0.2", 2, "10.0.0.1"), Host("10.0.0.8", ("pgpool",), {})]
    cluster = build(hosts, {**DEFAULTS, **RENDERED, "cluster_durability": "async"})
    assert [item.origins.known for item in (*cluster.nodes, *cluster.pgpools)] == ["10.0.0.1", "10.0.0.2", "10.0.0.8"]
    for line in [*conf_postgres.hba(cluster, cluster.nodes[0]), *conf_pgpool.hba(cluster)]:
        assert not re.search(r" 10\.0\.0\.\d+ ", line), line


def test_a_node_has_several_addresses() -> None:
    cluster = build(
        [node("pg1", 1, ip=["10.0.0.1", "fd00::1"])], {**DEFAULTS, **RENDERED, "cluster_durability": "async"}
    )
    lines = conf_postgres.hba(cluster, cluster.nodes[0])
    for place in ("10.0.0.1/32", "fd00::1/128"):
        assert f'hostssl "repmgr" "repmgr" {place} scram-sha-256' in lines
        assert cluster.node_at(place.partition("/")[0]) == "pg1"
    assert f"hostssl postgres,repmgr pgherd_monitor {place} scram-sha-256" in conf_pgpool.hba(cluster)
    # By its own name a pgpool's host may come to itself.
    for place in conf_postgres.LOOPBACK:
        assert f"hostssl postgres,repmgr pgherd_monitor {place} scram-sha-256" in conf_pgpool.hba(cluster)
    assert Cluster.from_dict(json.loads(json.dumps(cluster.to_dict()))) == cluster


RENDERED = {
    "cluster_pgpool_max_clients": 64,
    "cluster_pgpool_reserved_connections": 0,
    "cluster_pgpool_read_balancing": True,
    "cluster_wal_keep_size": "512MB",
    "cluster_ssh_keys": True,
}


class AnyPassword(dict[str, str]):
    """A password or key for whatever is asked for."""

    def __missing__(self, key: str) -> str:
        return "x"


def rendered(hosts: list[Host]) -> dict[str, list[File]]:
    """Every file of every host."""
    cluster = build(hosts, {**DEFAULTS, **RENDERED})
    facts = HostFacts(17)
    common = (base, description)
    nodes = {item.name: (*common, postgres, repmgr) for item in cluster.nodes}
    pools = {item.name: (*common, pgpool) for item in cluster.pgpools}
    barmans = {item.name: (*common, barman) for item in cluster.barmans}
    return {
        name: [file for program in programs for file in program.files(cluster, name, facts, AnyPassword())]
        for name, programs in {**nodes, **pools, **barmans}.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_an_inventory_changes_no_file(seed: int) -> None:
    hosts = [*tree(), node("w1", 9, "pg1", group="witness"), Host("backup0", ("barman",))]
    other = random.Random(seed).sample(hosts, len(hosts))
    assert rendered(other) == rendered(hosts)
    assert json.dumps(build(other, DEFAULTS).to_dict()) == json.dumps(build(hosts, DEFAULTS).to_dict())


LIMITS = ["db1.example.org", "DB1", "10.0.0.1", "p" * 63, "any", "FIRST", "db-1", "db_1", "postgres", "localhost", "1"]


def test_names_at_their_limits_are_what_each_program_takes() -> None:
    addresses = {"1": "one.example.org"}  # a number alone would be an address
    given = [
        node(name, at, "" if at == 1 else LIMITS[0], **({"address": addresses[name]} if name in addresses else {}))
        for at, name in enumerate(LIMITS, start=1)
    ]
    backups = [Host(name, ("barman",)) for name in ("Backup-1", "backup_1", "backup.1", "b" * 63)]
    cluster = build([*given, *backups], {**DEFAULTS, **RENDERED, "cluster_name": "postgres"})
    # PostgreSQL's grammar of the setting takes "any" in quotes for a name.
    assert parse_sync_names(cluster.synchronous_standby_names) == (1, tuple(LIMITS))
    slots = [*(item.slot for item in cluster.nodes), *conf_barman.slots(cluster).values()]
    assert len(set(slots)) == len(LIMITS) + len(backups)
    assert not [slot for slot in slots if not re.fullmatch(r"[a-z0-9_]{1,63}", slot)]
    for name in LIMITS:
        assert cluster.node_at(name) == name
        unit = postgres.unit_text(name, "/srv/pg")
        assert f" --host {name} --data /srv/pg\n" in unit
