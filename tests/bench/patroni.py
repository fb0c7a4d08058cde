# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Patroni with etcd from Debian's packages on three hosts of the lab, to measure the same faults on.

As its documentation has it for synchronous quorum commit: ``synchronous_mode: quorum`` and ``synchronous_mode_strict``, all times
left at their defaults, etcd on the same hosts. No TLS and no passwords, which is to its advantage.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from faults.cluster import APP, Cluster, Place, SystemdHosts, lab, until

NAME, NODES = "patroni", ("p1", "p2", "p3")
CONFIGURATION = "/etc/patroni/config.yml"
PACKAGES = ("postgresql-17", "patroni", "etcd-server", "python3-etcd")
# The cluster's settings, which Patroni keeps in etcd.
DYNAMIC: dict[str, Any] = {
    "ttl": 30,
    "loop_wait": 10,
    "retry_timeout": 10,
    "maximum_lag_on_failover": 1048576,
    "synchronous_mode": "quorum",
    "synchronous_mode_strict": True,
    "postgresql": {"use_pg_rewind": True, "use_slots": True},
}
_INSTALL = f"""
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends {" ".join(PACKAGES)} >/dev/null
systemctl disable --now --quiet patroni etcd
# The package has started it alone, and who is a member is settled at the first start.
rm -rf /var/lib/etcd/*
install -d -o postgres -g postgres /etc/patroni /var/lib/postgresql/17
"""
_STREAMS = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
_COUNTED = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'"


@dataclass
class Patroni(Cluster):
    """The peer's three hosts, in the words that faults and writers use for ours."""

    name: str = NAME
    inventory: Path = Path()
    described: dict[str, Any] = field(init=False, repr=False)
    place: Place = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.described = {"postgres": {"hosts": dict.fromkeys(NODES)}}
        self.place = SystemdHosts(self.name)

    @property
    def everyone(self) -> list[str]:
        """All its hosts."""
        return list(NODES)

    @property
    def databases(self) -> tuple[str, ...]:
        """What is compared on all nodes after a fault."""
        return (APP,)

    @property
    def unit(self) -> str:
        """What runs PostgreSQL."""
        return "patroni.service"

    @property
    def data(self) -> str:
        """The data directory."""
        return "/var/lib/postgresql/17/patroni"

    def dsn(self, via: str = "nodes") -> str:
        """The line of a client on this machine: "nodes" (libpq picks the writable one), or the name of one host."""
        to, more = (NODES, " target_session_attrs=read-write") if via == "nodes" else ((via,), "")
        names, addresses = ",".join(to), ",".join(self.address(host) for host in to)
        return f"host={names} hostaddr={addresses} port=5432 dbname={APP} user={APP} sslmode=disable{more}"

    def whole(self) -> bool:
        """Whether both standbys stream, and are counted for commits. Raises as rows() does."""
        primary = self.primary()
        others = self.standbys(primary)
        streaming = all(self.value(node, _STREAMS) == 1 for node in others)
        return streaming and self.value(primary, _COUNTED) == len(others)


class System:
    """Patroni as the benchmark drives it."""

    def __init__(self, cluster: Patroni) -> None:
        self.cluster = cluster

    def mend(self, seconds: float) -> None:
        """Wait until it is whole. Raises AssertionError."""
        until("Patroni to be whole", self.cluster.whole, seconds)

    gate = mend

    def switchover(self, target: str) -> None:
        """Hand over on purpose. Raises LabError."""
        words = ("switchover", NAME, "--leader", self.cluster.primary(), "--candidate", target, "--force")
        self.cluster.run(target, "patronictl", "-c", CONFIGURATION, *words)

    def collect(self, directory: Path, since: float) -> None:
        """Keep what it logged since *since* (seconds of CLOCK_REALTIME)."""
        for host in NODES:
            lines = self.cluster.place.log(host, since, "patroni")
            (directory / f"{host}.log").write_text("".join(f"{at:.3f} {line}\n" for at, line in lines))

    def settings(self) -> str:
        """What it was set up with, in one line."""
        version = self.cluster.run(NODES[0], "patroni", "--version").strip()
        return f"{version}, etcd on the same hosts, no TLS; {json.dumps(DYNAMIC)}"


def up() -> System:
    """Its hosts with a running cluster; what is there stays. Raises LabError, AssertionError."""
    fresh = not lab.hosts(NAME)
    lab.up(NAME, dict.fromkeys(NODES, "trixie"))
    peer = Patroni()
    if fresh:
        for said in peer.each(lambda host: peer.sh(host, _INSTALL), NODES).values():
            if isinstance(said, Exception):
                raise said
        for host in NODES:
            _configure(peer, host)
        for unit in ("etcd", "patroni"):
            for host in NODES:
                peer.run(host, "systemctl", "enable", "--quiet", "--now", "--no-block", unit)
            time.sleep(4)  # etcd needs the others of its first members
    system = System(peer)
    system.mend(180)
    if fresh:
        primary = peer.primary()
        peer.rows(primary, f"CREATE ROLE {APP} LOGIN")
        peer.rows(primary, f"CREATE DATABASE {APP} OWNER {APP}")
    return system


def _configure(peer: Patroni, host: str) -> None:
    address, members = peer.address(host), {node: peer.address(node) for node in NODES}
    etcd = {
        "ETCD_NAME": host,
        "ETCD_DATA_DIR": "/var/lib/etcd/default",
        "ETCD_LISTEN_PEER_URLS": f"http://{address}:2380",
        "ETCD_LISTEN_CLIENT_URLS": f"http://{address}:2379,http://127.0.0.1:2379",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"http://{address}:2380",
        "ETCD_ADVERTISE_CLIENT_URLS": f"http://{address}:2379",
        "ETCD_INITIAL_CLUSTER": ",".join(f"{node}=http://{at}:2380" for node, at in members.items()),
        "ETCD_INITIAL_CLUSTER_STATE": "new",
    }
    anywhere = "0.0.0.0/0 trust"
    settings = {
        "scope": NAME,
        "name": host,
        "restapi": {"listen": f"{address}:8008", "connect_address": f"{address}:8008"},
        "etcd3": {"hosts": [f"{at}:2379" for at in members.values()]},
        "bootstrap": {
            "dcs": DYNAMIC,
            "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            "pg_hba": ["local all all trust", f"host all all {anywhere}", f"host replication all {anywhere}"],
        },
        "postgresql": {
            "listen": "0.0.0.0:5432",
            "connect_address": f"{address}:5432",
            "data_dir": peer.data,
            "bin_dir": "/usr/lib/postgresql/17/bin",
            "parameters": {"unix_socket_directories": "/run/postgresql"},
            "authentication": {
                role: {"username": name, "password": "x"}
                for role, name in (("replication", "repl"), ("superuser", "postgres"), ("rewind", "rew"))
            },
        },
    }
    write = "install -m 0644 /dev/stdin"
    peer.run(
        host, *write.split(), "/etc/default/etcd", stdin="".join(f"{key}={value}\n" for key, value in etcd.items())
    )
    peer.run(host, *write.split(), CONFIGURATION, stdin=yaml.safe_dump(settings, sort_keys=False))
