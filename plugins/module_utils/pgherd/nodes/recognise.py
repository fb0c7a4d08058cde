# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether hosts hold what the inventory asks for, or something else that must be left alone. Pure.

A run may bring about what is not there. It never takes over, moves, upgrades or renames what is: where both differ, the run ends
before a host is changed, with what is there, what is asked, and the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..errors import ConfigError
from ..layout import debian, layout, version_of
from ..model import CLUSTER_FILE, Cluster, Node, aliases
from ..render.conf_barman import HOME
from .found import Described, HeldServer, Holdings, backup_directory


def problems(
    cluster: Cluster,
    said: Mapping[str, Holdings],
    *,
    trusted: Collection[str] = (),
    wipe: Collection[str] = (),
) -> list[str]:
    """One sentence for each thing that contradicts the inventory's *cluster*, with the hosts where it does.

    *said* is what each host holds that answered. *trusted* are hosts that trust the authority of this run's secrets; *wipe* nodes
    whose data may be replaced.
    """
    found: dict[str, list[str]] = {}
    ours = {name for name, one in said.items() if one.described and not _stranger(cluster, one, name in trusted)}
    known = {
        server.system_identifier
        for name in ours
        for server in _held(said[name].described, said[name].servers)
        if _kind(cluster, name) == "postgres"
    }
    for name, one in said.items():
        for sentence in _of_one(cluster, one, name in ours, known, name in wipe):
            found.setdefault(sentence, []).append(name)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in found.items()]


def check(*args: Any, **options: Any) -> None:
    """Raise ConfigError with all problems()."""
    found = problems(*args, **options)
    if found:
        raise ConfigError(found)


def holders(cluster: Cluster, said: Mapping[str, Holdings]) -> list[str]:
    """Hosts that serve this cluster by now: nodes with data, and others that a run has described it to."""
    nodes = {node.name for node in cluster.nodes}
    return [
        name
        for name, one in said.items()
        if one.described
        and one.described.name == cluster.name
        and (name not in nodes or _held(one.described, one.servers))
    ]


def _of_one(cluster: Cluster, one: Holdings, ours: bool, known: Collection[str], wipe: bool) -> Iterator[str]:
    if one.described and not ours:
        yield _other_cluster(cluster, one.described)
        return
    kind = _kind(cluster, one.name)
    if kind in ("postgres", "witness"):
        held = _held(one.described, one.servers) if one.described else []
        version = version_of(cluster.node(one.name))
        if one.described and held:
            yield from _elsewhere(cluster, one.name, one.described, held, version)
        # An emptied standby is cloned; a first primary only where another has the data.
        replaced = wipe and (bool(known) or one.name != cluster.first_primary.name)
        strange = [server for server in one.servers if server not in held]
        yield from _strange(cluster, one, strange, version, known, replaced)
    if kind == "barman":
        yield from _backups(cluster, one)
    if kind == "pgpool" and one.pgpool and not one.described:
        yield (
            f"it has a Pgpool-II for {', '.join(one.pgpool)} that this playbook has not set up (/etc/pgpool2/pgpool.conf), "
            "and it is left alone; take another host, or remove that file if nobody needs it."
        )


def _stranger(cluster: Cluster, one: Holdings, trusted: bool) -> bool:
    """Whether what the host is described as is another cluster: by its name, or one of that name with other nodes, and another
    authority. Nodes come and go, and a whole cluster may get other addresses, but not all at once."""
    described = one.described
    if described is None or described.name != cluster.name:
        return described is not None
    return not trusted and not any(_same(node, one) for node in cluster.nodes for one in described.nodes)


def _same(node: Node, one: Mapping[str, Any]) -> bool:
    """Whether the description's node *one* is *node*. Where a release before knew no address of it, its name is all there is."""
    if node.name != one.get("name"):
        return False
    return one["ip"] in aliases(node) if one.get("ip") and node.origins.known else one.get("address") == node.address


def _other_cluster(cluster: Cluster, described: Described) -> str:
    nodes = ", ".join(str(node.get("name")) for node in described.nodes)
    if described.name != cluster.name:
        return (
            f"a host of cluster {described.name} (nodes {nodes}), by {CLUSTER_FILE} there, and the inventory's cluster_name "
            f"is {cluster.name}. A cluster keeps its name, and a host serves one cluster: set cluster_name: {described.name} if "
            f"that one is meant, else take another host. Where {described.name} is gone for good, remove that file there."
        )
    return (
        f"a host of another cluster that is called {cluster.name} too, with other nodes ({nodes}) and another authority, by "
        f"{CLUSTER_FILE} there. A host serves one cluster: take another host, or, where that one is gone for good, remove "
        "that file there."
    )


def _held(described: Described | None, servers: Collection[HeldServer]) -> list[HeldServer]:
    """Those of the *servers* that the playbook has made: they lie where the last run had the data."""
    if described is None:
        return []
    return [server for server in servers if server.at(debian(server.version, described.data_directory).data)]


def _elsewhere(
    cluster: Cluster, name: str, described: Described, held: Collection[HeldServer], version: int
) -> Iterator[str]:
    """What the node's living cluster is, and is asked to be otherwise."""
    yield from _another_node(cluster.node(name), described)
    wanted = layout(cluster, version).data
    newest = max(held, key=lambda server: (server.running, server.version))
    if newest.version != version:
        asked = "and" if cluster.options.data_directory else f"not in {wanted}, and"
        yield (
            f"PostgreSQL {newest.version} of this cluster is in {newest.directory}, {asked} PostgreSQL {version} is asked "
            "for, by cluster_postgres_version or as the distribution's own. A major upgrade is not done by this playbook: "
            f"set cluster_postgres_version: {newest.version}."
        )
    elif not newest.at(wanted):
        way = f"set it back to {described.data_directory}" if described.data_directory else "leave it out"
        yield (
            f"PostgreSQL {newest.version} of this cluster is in {newest.directory}, and cluster_data_directory asks for "
            f"{wanted}. Moving it is not done by this playbook: {way}."
        )
    wal = cluster.options.wal_directory
    if wal.rstrip("/") not in (described.wal_directory.rstrip("/"), newest.wal):
        place = newest.wal or "the data directory"
        way = f"set it back to {described.wal_directory}" if described.wal_directory else "leave it out"
        yield (
            f"the WAL of this cluster is in {place}, and cluster_wal_directory asks for {wal or 'the data directory'}. "
            f"Moving it is not done by this playbook: {way}."
        )
    if cluster.port not in (described.port, newest.port if newest.running else 0):
        yield (
            f"PostgreSQL of this cluster serves port {described.port}, and cluster_port asks for {cluster.port}. The port "
            f"of a living cluster is not changed by this playbook: set cluster_port: {described.port}."
        )


def _another_node(node: Node, described: Described) -> Iterator[str]:
    """What the node with data was called and counted as, and is not by the inventory."""
    leave = "let it leave first (docs/removing.md) and empty its data directory."
    before = next((one for one in described.nodes if one.get("name") == node.name), None)
    if before is None:
        called = [str(one.get("name")) for one in described.nodes if one.get("ip") and one["ip"] in aliases(node)]
        if called:
            yield (
                f"node {called[0]} of this cluster, with data, by {CLUSTER_FILE} there. A node keeps its name: call it "
                f"{called[0]} in the inventory (its host variable address may be another), or {leave}"
            )
        return
    if before.get("kind", node.kind) != node.kind:
        words = {"postgres": "a data node", "witness": "a witness"}
        yield (
            f"{words.get(str(before['kind']), 'a node')} of this cluster, with data, and the inventory has it as "
            f"{words[node.kind]}; that is not changed by this playbook: put it back into its group, or {leave}"
        )
    if before.get("id", node.id) != node.id:
        yield (
            f"node_id {before['id']} of this cluster, with data, and the inventory says {node.id}. Slots, backends and repmgr's "
            f"records go by it: set node_id: {before['id']}, or {leave}"
        )


def _strange(
    cluster: Cluster,
    one: Holdings,
    servers: Collection[HeldServer],
    version: int,
    known: Collection[str],
    replaced: bool,
) -> Iterator[str]:
    """Servers that the playbook has not made, where they are in its way."""
    node = cluster.node(one.name)
    wanted, main = layout(cluster, version).data, f"{version}/main"
    for server in servers:
        what = f"a PostgreSQL {server.version} cluster that this playbook has not made is in {server.directory}"
        if server.at(wanted):
            # A host whose /etc is new, with the data of before.
            own = node.kind == "postgres" and (one.note or server.system_identifier in known)
            if not (own or replaced or one.described):
                yield f"{what}, where this one's data are to be. {_way(cluster, node, server)}"
        elif server.cluster == main:
            yield f"{what}, and it has Debian's name {main}, which this one needs. {_way(cluster, node, server)}"
        elif server.running and server.port == cluster.port:
            yield (
                f"{what} and serves port {cluster.port}, which this one needs. Set another cluster_port, or: "
                f"{_way(cluster, node, server)}"
            )


def _way(cluster: Cluster, node: Node, server: HeldServer) -> str:
    drop = f"pg_dropcluster --stop {server.cluster.replace('/', ' ')}" if server.cluster else "move the directory away"
    way = (
        f"It is left alone. If nobody needs it (Debian's package makes an empty one when it is installed), {drop} there; "
        "else take another host."
    )
    if server.at(layout(cluster, server.version).data):
        way += f" If it is this cluster's own, put {CLUSTER_FILE} back from another of its hosts"
        clone = node.kind == "postgres" and node.name != cluster.first_primary.name
        way += f", or have it cloned anew: cluster_wipe with {node.name}." if clone else "."
    return way


def _backups(cluster: Cluster, one: Holdings) -> Iterator[str]:
    if one.described is None:
        if one.barman:
            yield (
                f"its Barman has {', '.join(one.barman)}, which this playbook has not set up (/etc/barman.conf, "
                "/etc/barman.d), and it is left alone; take another host, or remove that configuration if nobody needs it."
            )
        return
    mine = backup_directory(cluster.options.barman_directory, cluster.name)
    before = backup_directory(one.described.barman_directory, one.described.name)
    if before != mine and before in one.backups and mine not in one.backups:
        yield (
            f"the backups of this cluster are in {before}, and cluster_barman_directory asks for {mine}. Moving them is not "
            f"done by this playbook: set it back to {one.described.barman_directory or HOME}, or move them yourself first."
        )


def _kind(cluster: Cluster, name: str) -> str:
    nodes = {node.name: node.kind for node in cluster.nodes}
    others = {**{one.name: "pgpool" for one in cluster.pgpools}, **{one.name: "barman" for one in cluster.barmans}}
    return {**others, **nodes}.get(name, "")
