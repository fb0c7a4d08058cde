# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A living cluster is recognised, whatever changed around it, and what is not ours is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pgherd.inventory import versions
from pgherd.model import Barman, Cluster, Node, Origins, Pgpool
from pgherd.nodes.found import Described, HeldServer, Holdings
from pgherd.nodes.recognise import holders, problems
from pgherd.options import Options

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1", origins=Origins(known="10.0.0.1")),
        Node("pg2", 2, "postgres", "pg2", "pg1", origins=Origins(known="10.0.0.2")),
        Node("w1", 3, "witness", "w1", "pg1", priority=0, origins=Origins(known="10.0.0.3")),
    ),
    (Pgpool("pool1", "pool1"),),
    (Barman("backup1", "backup1"),),
    options=Options.of({"data_directory": "", "wal_directory": "", "barman_directory": "/var/lib/barman"}),
)
HOSTS = ("pg1", "pg2", "w1", "pool1", "backup1")
NODES = HOSTS[:3]
USUAL = "/var/lib/postgresql/17/main"


def nodes(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"name": one.name, "kind": one.kind, "id": one.id, "address": one.address, "ip": one.origins.known}
        for one in cluster.nodes
    )


OURS = Described("demo", 5432, nodes(CLUSTER), ("pool1", "backup1"), "", "", "/var/lib/barman")
SERVER = HeldServer((USUAL,), 17, "17/main", 5432, running=True, system_identifier="7")
FOREIGN = replace(SERVER, system_identifier="9")
World = dict[str, Holdings]


def living(described: Described = OURS, server: HeldServer = SERVER) -> World:
    """All hosts after a run."""
    found = {name: Holdings(name, described) for name in HOSTS}
    return {**found, **{name: replace(found[name], servers=(server,), note=True) for name in NODES}}


def fresh(**changed: Any) -> World:
    """All hosts before the first run; what *changed* says of pg1."""
    found = {name: Holdings(name) for name in HOSTS}
    return {**found, "pg1": replace(found["pg1"], **changed)}


def asked(**changed: Any) -> Cluster:
    options = {
        key: changed.pop(key) for key in ("data_directory", "wal_directory", "barman_directory") if key in changed
    }
    return replace(CLUSTER, options=Options.of({**vars(CLUSTER.options), **options}), **changed)


def judged(cluster: Cluster, world: World, version: int = 17, **more: Any) -> list[str]:
    return problems(versions.asked(cluster, version), world, **more)


AT_SRV = HeldServer(("/srv/pg", "/data/pg"), 17, "17/main", 5432, True, "7")
RIGHT = {
    "nothing is there": (CLUSTER, fresh(), 17),
    "a run after another": (CLUSTER, living(), 17),
    "a first run that ended before initdb": (CLUSTER, {name: Holdings(name, OURS) for name in HOSTS}, 17),
    "the place was changed before there were data": (
        asked(data_directory="/srv/pg", port=5433, wal_directory="/srv/wal"),
        {name: Holdings(name, OURS) for name in HOSTS},
        17,
    ),
    "a place of one's own": (
        asked(data_directory="/srv/pg"),
        living(replace(OURS, data_directory="/srv/pg"), AT_SRV),
        17,
    ),
    "the same place by a link": (
        asked(data_directory="/data/pg"),
        living(replace(OURS, data_directory="/srv/pg"), AT_SRV),
        17,
    ),
    "the usual place, said": (asked(data_directory=USUAL + "/"), living(), 17),
    "moved by hand": (asked(data_directory="/srv/pg"), living(server=AT_SRV), 17),
    "WAL moved by hand": (
        asked(wal_directory="/srv/wal"),
        living(server=replace(SERVER, wal="/srv/wal")),
        17,
    ),
    "WAL back in the directory after a restore": (
        asked(wal_directory="/srv/wal"),
        living(replace(OURS, wal_directory="/srv/wal")),
        17,
    ),
    "upgraded by hand, the old data beside": (
        CLUSTER,
        {
            name: replace(
                one, servers=(HeldServer(("/var/lib/postgresql/15/main",), 15, "15/main", 5433), *one.servers)
            )
            for name, one in living().items()
        },
        17,
    ),
    "another cluster on another port": (
        CLUSTER,
        fresh(servers=(HeldServer(("/var/lib/postgresql/15/main",), 15, "15/main", 5433, True, "9"),)),
        17,
    ),
    "another cluster that is stopped": (
        CLUSTER,
        fresh(servers=(HeldServer(("/var/lib/postgresql/15/main",), 15, "15/main", 5432, False, "9"),)),
        17,
    ),
    "other addresses, the same authority": (
        replace(
            CLUSTER,
            nodes=tuple(
                replace(node, origins=Origins(known=node.origins.known.replace("10.", "192.")))
                for node in CLUSTER.nodes
            ),
        ),
        living(),
        17,
    ),
    "a node more": (
        replace(CLUSTER, nodes=(*CLUSTER.nodes, Node("pg4", 4, "postgres", "pg4", "pg1"))),
        {**living(), "pg4": Holdings("pg4")},
        17,
    ),
    "a host's /etc is new, and its data are of before": (
        CLUSTER,
        {**living(), "pg1": Holdings("pg1", None, (SERVER,))},
        17,
    ),
    "the only one's /etc is new": (CLUSTER, fresh(servers=(SERVER,), note=True), 17),
    "another system's data where a node was": (CLUSTER, {**living(), "pg2": Holdings("pg2", OURS, (FOREIGN,))}, 17),
    "a Barman of ours with a server of the administrator's": (
        CLUSTER,
        {**living(), "backup1": Holdings("backup1", OURS, barman=("demo", "other"))},
        17,
    ),
    "backups moved by hand": (
        asked(barman_directory="/srv/barman"),
        {**living(), "backup1": Holdings("backup1", OURS, backups=("/srv/barman/demo", "/var/lib/barman/demo"))},
        17,
    ),
    "no backup yet": (asked(barman_directory="/srv/barman"), living(), 17),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_not_refused(case: str) -> None:
    cluster, world, version = RIGHT[case]
    assert judged(cluster, world, version, trusted=HOSTS) == []


OTHER = replace(OURS, name="other")
WRONG = {
    "another data directory": (
        asked(data_directory="/srv/pg"),
        living(),
        17,
        [
            "pg1, pg2, w1: PostgreSQL 17 of this cluster is in /var/lib/postgresql/17/main, and cluster_data_directory asks for "
            "/srv/pg. Moving it is not done by this playbook: leave it out."
        ],
    ),
    "back to the usual data directory": (
        CLUSTER,
        living(replace(OURS, data_directory="/srv/pg"), AT_SRV),
        17,
        ["pg1, pg2, w1: PostgreSQL 17 of this cluster is in /srv/pg, and", "set it back to /srv/pg."],
    ),
    "another WAL directory": (
        asked(wal_directory="/srv/wal"),
        living(),
        17,
        [
            "pg1, pg2, w1: the WAL of this cluster is in the data directory, and cluster_wal_directory asks for /srv/wal.",
            "leave it out.",
        ],
    ),
    "another than the one of before": (
        asked(wal_directory="/srv/new"),
        living(replace(OURS, wal_directory="/srv/wal"), replace(SERVER, wal="/srv/wal")),
        17,
        ["is in /srv/wal, and cluster_wal_directory asks for /srv/new", "set it back to /srv/wal."],
    ),
    "no WAL directory any more": (
        CLUSTER,
        living(replace(OURS, wal_directory="/srv/wal"), replace(SERVER, wal="/srv/wal")),
        17,
        ["is in /srv/wal, and cluster_wal_directory asks for the data directory", "set it back to /srv/wal."],
    ),
    "another port": (
        asked(port=5433),
        living(),
        17,
        [
            "pg1, pg2, w1: PostgreSQL of this cluster serves port 5432, and cluster_port asks for 5433.",
            "set cluster_port: 5432.",
        ],
    ),
    "another major version": (
        CLUSTER,
        living(server=HeldServer(("/var/lib/postgresql/15/main",), 15, "15/main", 5432, True, "7")),
        17,
        [
            "PostgreSQL 15 of this cluster is in /var/lib/postgresql/15/main, not in /var/lib/postgresql/17/main, and PostgreSQL "
            "17 is asked for, by cluster_postgres_version or as the distribution's own. A major upgrade is not done by this "
            "playbook: set cluster_postgres_version: 15."
        ],
    ),
    "another major version in a place of one's own": (
        asked(data_directory="/srv/pg"),
        living(replace(OURS, data_directory="/srv/pg"), AT_SRV),
        18,
        [
            "PostgreSQL 17 of this cluster is in /srv/pg, and PostgreSQL 18 is asked for",
            "set cluster_postgres_version: 17.",
        ],
    ),
    "the old version is down": (
        CLUSTER,
        living(server=HeldServer(("/var/lib/postgresql/15/main",), 15, "15/main", 5432, False, "7")),
        17,
        ["set cluster_postgres_version: 15."],
    ),
    "on one node that answers of all": (
        asked(data_directory="/srv/pg"),
        {**{name: Holdings(name) for name in HOSTS}, "pg2": Holdings("pg2", OURS, (SERVER,))},
        17,
        ["pg2: PostgreSQL 17 of this cluster is in"],
    ),
    "another name": (
        asked(name="new"),
        living(),
        17,
        [
            "pg1, pg2, w1, pool1, backup1: a host of cluster demo (nodes pg1, pg2, w1), by /etc/pgherd/cluster.json there, and "
            "the inventory's cluster_name is new.",
            "set cluster_name: demo if that one is meant",
            "Where demo is gone for good",
        ],
    ),
    "a data node becomes a witness": (
        replace(CLUSTER, nodes=(CLUSTER.nodes[0], replace(CLUSTER.nodes[1], kind="witness"), CLUSTER.nodes[2])),
        living(),
        17,
        ["pg2: a data node of this cluster, with data, and the inventory has it as a witness"],
    ),
    "another number": (
        replace(CLUSTER, nodes=(CLUSTER.nodes[0], replace(CLUSTER.nodes[1], id=7), CLUSTER.nodes[2])),
        living(),
        17,
        [
            "pg2: node_id 2 of this cluster, with data, and the inventory says 7.",
            "set node_id: 2, or let it leave first",
        ],
    ),
    "a node is called otherwise": (
        replace(CLUSTER, nodes=(CLUSTER.nodes[0], replace(CLUSTER.nodes[1], name="db2"), CLUSTER.nodes[2])),
        {**{name: one for name, one in living().items() if name != "pg2"}, "db2": replace(living()["pg2"], name="db2")},
        17,
        [
            "db2: node pg2 of this cluster, with data, by /etc/pgherd/cluster.json there. A node keeps its name: call it pg2"
        ],
    ),
    "a Barman host of another cluster": (
        CLUSTER,
        {**living(), "backup1": Holdings("backup1", OTHER, barman=("other",))},
        17,
        [
            "backup1: a host of cluster other (nodes pg1, pg2, w1)",
            "a host serves one cluster",
            "else take another host",
        ],
    ),
    "a pgpool of another cluster": (
        CLUSTER,
        {**fresh(), "pool1": Holdings("pool1", OTHER)},
        17,
        ["pool1: a host of cluster other"],
    ),
    "a data node of another cluster": (
        CLUSTER,
        {**fresh(), "pg2": Holdings("pg2", OTHER, (FOREIGN,))},
        17,
        ["pg2: a host of cluster other"],
    ),
    "a data node of another cluster that has lost its data": (
        CLUSTER,
        {**fresh(), "pg2": Holdings("pg2", OTHER)},
        17,
        ["pg2: a host of cluster other"],
    ),
    "another cluster of the same name": (
        CLUSTER,
        {
            **fresh(),
            "backup1": Holdings(
                "backup1", replace(OURS, nodes=tuple({**one, "ip": "192.0.2.1"} for one in OURS.nodes))
            ),
        },
        17,
        [
            "backup1: a host of another cluster that is called demo too, with other nodes (pg1, pg2, w1) and another authority"
        ],
    ),
    "somebody's Barman": (
        CLUSTER,
        {**fresh(), "backup1": Holdings("backup1", barman=("shop",))},
        17,
        ["backup1: its Barman has shop, which this playbook"],
    ),
    "somebody's Pgpool-II": (
        CLUSTER,
        {**fresh(), "pool1": Holdings("pool1", pgpool=("db1",))},
        17,
        ["pool1: it has a Pgpool-II for db1 that this playbook"],
    ),
    "backups elsewhere": (
        asked(barman_directory="/srv/barman"),
        {**living(), "backup1": Holdings("backup1", OURS, backups=("/var/lib/barman/demo",))},
        17,
        [
            "backup1: the backups of this cluster are in /var/lib/barman/demo, and cluster_barman_directory asks for "
            "/srv/barman/demo.",
            "set it back to /var/lib/barman",
        ],
    ),
    "Debian's own main": (
        CLUSTER,
        fresh(servers=(FOREIGN,)),
        17,
        [
            "pg1: a PostgreSQL 17 cluster that this playbook has not made is in /var/lib/postgresql/17/main, where this one's "
            "data are to be. It is left alone. If nobody needs it (Debian's package makes an empty one when it is "
            "installed), pg_dropcluster --stop 17 main there",
            "put /etc/pgherd/cluster.json back",
        ],
    ),
    "Debian's own main on a standby": (
        CLUSTER,
        {**fresh(), "pg2": Holdings("pg2", None, (FOREIGN,))},
        17,
        ["pg2: a PostgreSQL 17", "cluster_wipe with pg2."],
    ),
    "Debian's own main, and another place": (
        asked(data_directory="/srv/pg"),
        fresh(servers=(FOREIGN,)),
        17,
        ["and it has Debian's name 17/main, which this one needs."],
    ),
    "files without a server's configuration": (
        asked(data_directory="/srv/pg"),
        fresh(servers=(HeldServer(("/srv/pg",), 17, system_identifier="9"),)),
        17,
        ["a PostgreSQL 17 cluster that this playbook has not made is in /srv/pg", "move the directory away there"],
    ),
    "another version on the same port": (
        CLUSTER,
        fresh(servers=(HeldServer(("/var/lib/postgresql/15/main",), 15, "15/main", 5432, True, "9"),)),
        17,
        ["and serves port 5432, which this one needs. Set another cluster_port, or:", "pg_dropcluster --stop 15 main"],
    ),
    "a server by hand on the same port": (
        CLUSTER,
        fresh(servers=(HeldServer(("/opt/pg",), 17, "", 5432, True, "9"),)),
        17,
        ["is in /opt/pg and serves port 5432"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_is_one_sentence(case: str) -> None:
    cluster, world, version, parts = WRONG[case]
    (said,) = judged(cluster, world, version)
    place = 0
    for part in parts:
        assert part in said[place:]
        place = said.index(part, place) + len(part)


def test_a_description_of_a_release_before_knows_fewer_addresses() -> None:
    """It is this cluster's still, so that lost secrets are called lost and the cluster is not called another's."""
    before = replace(OURS, nodes=tuple({**one, "ip": ""} for one in OURS.nodes))
    assert judged(CLUSTER, living(before)) == []
    assert (
        judged(replace(CLUSTER, nodes=tuple(replace(node, origins=Origins()) for node in CLUSTER.nodes)), living())
        == []
    )
    other = replace(OURS, nodes=tuple({**one, "ip": "", "address": f"{one['name']}.example.org"} for one in OURS.nodes))
    assert judged(CLUSTER, living(other))
    assert judged(CLUSTER, living(other), trusted=HOSTS) == []


def test_all_is_said_at_once() -> None:
    wanted = asked(data_directory="/srv/pg", port=5433)
    assert len(judged(wanted, {**living(), "backup1": Holdings("backup1", OTHER)})) == 3


def test_what_may_be_wiped_is_cloned_over_and_never_started() -> None:
    """As before: cluster_wipe has a standby cloned over what it holds. There is nothing to clone a new primary from."""
    standby = {**living(), "pg2": Holdings("pg2", None, (FOREIGN,))}
    assert judged(CLUSTER, standby)
    assert not judged(CLUSTER, standby, wipe=["pg2"])
    assert judged(CLUSTER, fresh(servers=(FOREIGN,)), wipe=["pg1"])
    # Data of this cluster in another place are not what would be replaced.
    assert judged(asked(data_directory="/srv/pg"), living(), wipe=NODES)


def test_who_serves_the_cluster_by_now() -> None:
    assert holders(CLUSTER, fresh()) == []
    assert holders(CLUSTER, {name: Holdings(name, OURS) for name in NODES}) == []
    assert holders(CLUSTER, {**living(), "pg2": Holdings("pg2", OURS)}) == ["pg1", "w1", "pool1", "backup1"]
    assert holders(CLUSTER, living(OTHER)) == []


def test_plain_data_and_back() -> None:
    one = replace(living()["pg1"], barman=("a",), pgpool=("b",), backups=("c",), authority="PEM", passwords="same")
    assert Holdings.from_dict(one.to_dict()) == one
    assert Holdings.from_dict(Holdings("pg1").to_dict()) == Holdings("pg1")
