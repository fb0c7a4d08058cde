# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a cluster must not be, in one sentence each that names the host or variable and the cure. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import PurePosixPath

from ..model import PGPOOL_BACKENDS, PGPOOL_HOST, SYSTEM_ROLES, Cluster, Node
from ..programs.postgres import TRIED
from .settings import contradictions


def tree_problems(nodes: Sequence[Node]) -> list[str]:
    """What is wrong with ids and upstreams, one sentence each."""
    names = {node.name: node for node in nodes}
    data = [node for node in nodes if node.kind == "postgres"]
    if not data:
        return ["The group postgres has no host; name at least one data node in it."]
    problems = []
    seen: dict[int, str] = {}
    for node in nodes:
        if node.id and node.id in seen:
            problems.append(f"{node.name}: node_id {node.id} is {seen[node.id]}'s already; give it another number.")
        seen.setdefault(node.id, node.name)
        if len(nodes) > 1 and not node.id:
            problems.append(f"{node.name}: it has no node_id; give it a whole number from 1 up that no other node has.")
        if node.upstream and node.upstream not in names:
            close = difflib.get_close_matches(node.upstream, list(names), n=1)
            hint = f"did you mean {close[0]}?" if close else f"the nodes are {', '.join(names)}."
            problems.append(f"{node.name}: its upstream {node.upstream} is not a node of this cluster; {hint}")
        elif node.upstream and names[node.upstream].kind == "witness":
            problems.append(f"{node.name}: its upstream {node.upstream} is a witness, which has no data to give.")
        elif _loops(node, names):
            problems.append(f"{node.name}: following its upstreams leads back to itself; give one of them another.")
    roots = [node.name for node in data if not node.upstream]
    if len(roots) > 1:
        problems.append(
            f"{', '.join(roots)}: they have no upstream, so each would be a primary; name an upstream for all but one."
        )
    if not roots and not problems:
        problems.append("Every data node has an upstream; the first day's primary must have none.")
    return problems


def _loops(node: Node, names: Mapping[str, Node]) -> bool:
    at, steps = node, 0
    while at.upstream in names and steps <= len(names):
        at, steps = names[at.upstream], steps + 1
        if at.name == node.name:
            return True
    return False


def cluster_problems(cluster: Cluster) -> list[str]:
    """What is wrong with the cluster as a whole, one sentence each."""
    problems = [
        f"{node.name}: pgpool knows backends 0 to {PGPOOL_BACKENDS - 1}, so with pgpool a data node's node_id is 1 to "
        f"{PGPOOL_BACKENDS}, not {node.id}."
        for node in cluster.data_nodes
        if cluster.pgpools and not 1 <= node.id <= PGPOOL_BACKENDS
    ]
    problems += [
        f"{node.name}: with pgpool a node's address has at most {PGPOOL_HOST} characters, not {len(node.address)}; give it a "
        "shorter one."
        for node in cluster.data_nodes
        if cluster.pgpools and len(node.address) > PGPOOL_HOST
    ]
    problems += [
        f"{node.name}: it replays commits {node.delay} late (recovery_min_apply_delay), so it cannot take over; give it "
        "priority 0, or take the setting out."
        for node in cluster.electable
        if node.delay
    ]
    electable = cluster.electable_names
    if cluster.first_primary.priority < 1:
        problems.append(
            f"{cluster.first_primary.name}: the first day's primary has priority 0, so it may never be primary; "
            "give it a priority above 0."
        )
    if cluster.durability not in ("strict", "async"):
        problems.append(f"cluster_durability is strict or async, not {cluster.durability!r}.")
    elif cluster.durability == "strict" and len(electable) < 3:
        problems.append(
            f"cluster_durability strict needs three electable nodes, and there {_are(electable)}; add a standby "
            f"directly below {cluster.first_primary.name} with priority above 0 in its location, or choose "
            "cluster_durability: async, with which the last writes before a failover may be lost."
        )
    elif cluster.durability == "strict" and not 1 <= cluster.sync_standbys <= len(electable) - 1:
        problems.append(
            f"cluster_sync_standbys is {cluster.sync_standbys}, but with {len(electable)} electable nodes it can be "
            f"1 to {len(electable) - 1}; change it, or add standbys directly below {cluster.first_primary.name}."
        )
    for user in cluster.options.users:
        if user.get("name") in (*SYSTEM_ROLES, "postgres"):
            problems.append(f"cluster_users: {user['name']} is a role of pgherd's own; choose another name.")
    problems += _listen_problems(cluster)
    problems += _port_problems(cluster)
    problems += _place_problems(cluster)
    problems += contradictions(cluster)
    return problems


def version_problems(version: int, untried: bool) -> list[str]:
    """What is wrong with the major *version* of PostgreSQL that is asked for (0: the distribution's), which is a tried
    one unless the user wants an *untried* one."""
    if not version or version in TRIED or untried:
        return []
    return [
        f"cluster_postgres_version: this release was tried with PostgreSQL {' and '.join(map(str, TRIED))}, and never with "
        f"{version}; ask for one of those, or take the risk by cluster_postgres_untried: true."
    ]


def named_problems(cluster: Cluster, variable: str, named: Sequence[str]) -> list[str]:
    """What is wrong with the names of nodes in a *variable*: whose data may go, or which are gone."""
    hosts = {node.name for node in cluster.nodes}
    return [
        f"{variable}: there is no node {name} in this cluster; it must name a node exactly."
        for name in named
        if name not in hosts
    ]


def leaver_problems(cluster: Cluster, name: str) -> list[str]:
    """What is wrong with the name of the node that leaves, with the one that was probably meant."""
    names = [node.name for node in cluster.nodes]
    if name in names:
        return []
    if name in [*(pgpool.name for pgpool in cluster.pgpools), *(barman.name for barman in cluster.barmans)]:
        return [f"cluster_remove: {name} is no node; take it out of the inventory and run the site playbook."]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the nodes are {', '.join(names)}."
    return [f"cluster_remove: {name} is no node of cluster {cluster.name}; {hint}"]


def _place_problems(cluster: Cluster) -> list[str]:
    """Directories that are in one another: what is in the way of a copy would be a part of it. Debian's data directory, where
    none is named, has a version in its path that is not known here."""
    options = cluster.options
    given = {
        "cluster_data_directory": options.data_directory or "/var/lib/postgresql/*/main",
        "cluster_wal_directory": options.wal_directory,
        **{
            f"cluster_tablespaces: the location of {item.get('name')}": item.get("location")
            for item in options.tablespaces
        },
    }
    places = {name: PurePosixPath(os.path.normpath(str(path))) for name, path in given.items() if path}
    problems = []
    for (one, first), (other, second) in combinations(places.items(), 2):
        for (outer, above), (inner, below) in (((one, first), (other, second)), ((other, second), (one, first))):
            if any(way.match(str(above)) for way in (below, *below.parents)):
                problems.append(f"{inner}, {below}, is in {outer}, {above}; give each a directory that is in no other.")
                break
    barman = str(options.barman_directory or "/")
    if cluster.barmans and PurePosixPath(barman).parts[1:2] in (("home",), ("root",)):
        problems.append(
            f"cluster_barman_directory, {barman}, is among people's homes, where services may not go; choose another."
        )
    return problems


def _listen_problems(cluster: Cluster) -> list[str]:
    problems = [
        f"cluster_{name}: {entry!r} is neither an address nor a network; it holds for all hosts, so name a network such as "
        "10.1.0.0/16, of which each uses its own addresses."
        for name in ("agent_listen", "agent_plain_listen")
        for entry in getattr(cluster.options, name)
        if not _is_network(str(entry))
    ]
    problems += [
        f"cluster_agent_clients: {entry!r} is neither an address nor a network."
        for entry in cluster.options.agent_clients
        if not _is_network(str(entry))
    ]
    return problems


def _port_problems(cluster: Cluster) -> list[str]:
    """Two programs of one host that would listen on one port: the second does not start, or serves what the first is for."""
    options = cluster.options
    agent = {"agent_port": options.agent_port}
    if options.agent_plain_listen:
        agent["agent_plain_port"] = options.agent_plain_port
    server = {"port": cluster.port, **agent}
    pgpool = {"pgpool_port": cluster.pgpool_port, "pcp_port": cluster.pcp_port, **agent}
    # No host has the programs of two of these.
    listeners = [
        {**server, "peer_port": options.peer_port},
        *([server] if cluster.witnesses else []),
        *([pgpool] if cluster.pgpools else []),
        *([agent] if cluster.barmans else []),
    ]
    return list(
        dict.fromkeys(
            f"cluster_{one} and cluster_{other} are the same; give one of them another number."
            for ports in listeners
            for one, other in combinations(ports, 2)
            if ports[one] == ports[other]
        )
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _are(names: Sequence[str]) -> str:
    count = {0: "is none", 1: "is one", 2: "are two"}[len(names)]
    return f"{count} ({', '.join(names)})" if names else count
