# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster that is broken: test hosts, what an inventory says they are, and ways in that no cut network closes.

SQL goes through each server's own socket, reached from this machine through /proc, so a question costs a few
milliseconds and is answered while the host is cut off. Clients go over the network.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import yaml
from psycopg.rows import dict_row

CHECKOUT = Path(__file__).resolve().parents[2]
for _more in ("tests/lab", "tests/integration/change"):
    if str(CHECKOUT / _more) not in sys.path:
        sys.path.append(str(CHECKOUT / _more))

import hosts as lab  # noqa: E402
from machine import LAB, LabError, Late, run  # noqa: E402
from machine import until as patiently  # noqa: E402
from place import UNITS, Impossible, Place  # noqa: E402
from playbook import Event, Run, ansible_playbook, environment  # noqa: E402
from systemd_hosts import SystemdHosts  # noqa: E402

CLIENT = "client"  # this machine, as the hosts see it
APP = "app"  # user and database of the workload
MISSED = (psycopg.Error, LabError, LookupError)
T = TypeVar("T")


def until(what: str, ask: Callable[[], T], seconds: float, every: float = 0.2) -> T:
    """See the lab's. An answer that could not be had (SQL, lab) counts as false."""
    return patiently(what, ask, seconds, every, MISSED)


def in_pods(described: Mapping[str, Any]) -> bool:
    """Whether the nodes of an inventory are pods."""
    return (described.get("all") or {}).get("vars", {}).get("place") == "pod"


def place_of(name: str, described: Mapping[str, Any]) -> Place:
    """Where the nodes of an inventory live: in pods, or as the lab's hosts of cluster *name*. With POWER=pod a power cut takes
    pods alone, and leaves what else runs on their machines. Raises LabError."""
    if in_pods(described):
        from kubernetes_pods import Pods

        return Pods(described, whole_machines=os.environ.get("POWER") != "pod")
    return SystemdHosts(name)


def hosts_of(inventory: Path) -> list[str]:
    """Names of all hosts of an inventory file."""
    described = yaml.safe_load(inventory.read_text(encoding="utf-8"))
    groups = ("postgres", "witness", "pgpool", "barman")
    return [name for group in groups for name in (described.get(group) or {}).get("hosts") or {}]


@dataclass
class Cluster:
    """Test nodes of the lab's cluster *name*, described by *inventory* (a file, as a user writes it). What is done to them goes
    through *place*."""

    name: str
    inventory: Path
    described: dict[str, Any] = field(init=False, repr=False)
    place: Place = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.described = yaml.safe_load(self.inventory.read_text(encoding="utf-8"))
        self.place = place_of(self.name, self.described)
        wanted = [*self.nodes, *self.pools, *self.group("witness"), *self.group("barman")]
        if missing := sorted(set(wanted) - set(self.place.nodes())):
            raise LabError(f"the lab's cluster {self.name} has no {', '.join(missing)}")

    def group(self, name: str) -> dict[str, dict[str, Any]]:
        """Hosts of a group with their variables."""
        hosts = (self.described.get(name) or {}).get("hosts") or {}
        return {host: own or {} for host, own in hosts.items()}

    @property
    def nodes(self) -> list[str]:
        """Data nodes."""
        return list(self.group("postgres"))

    @property
    def pools(self) -> list[str]:
        """pgpool hosts; in pods each of them."""
        group = self.group("pgpool")
        return [name for name in self.place.nodes() if name in group or name.rpartition(".")[0] in group]

    @property
    def barman(self) -> str:
        """The first Barman host, '' without one."""
        return next(iter(self.group("barman")), "")

    @property
    def everyone(self) -> list[str]:
        """All nodes that the inventory names."""
        return [*self.nodes, *self.group("witness"), *self.pools, *self.group("barman")]

    @property
    def version(self) -> int:
        """PostgreSQL's major version."""
        return self.place.version(self.nodes[0])

    @property
    def unit(self) -> str:
        """PostgreSQL's unit, where nodes are systemd hosts."""
        if not isinstance(self.place, SystemdHosts):
            raise Impossible(self.place.cannot(UNITS))
        return self.place.unit(self.nodes[0], "postgres")

    @property
    def data(self) -> str:
        """The data directory."""
        return f"/var/lib/postgresql/{self.version}/main"

    @property
    def databases(self) -> tuple[str, ...]:
        """What is compared on all nodes after a fault."""
        return (APP, "repmgr")

    @property
    def secrets(self) -> Path:
        """Where the control machine keeps certificates and passwords."""
        return LAB / self.name / "secrets"

    # Hosts

    def address(self, host: str) -> str:
        """A host's address; CLIENT is this machine's on their network, which may be several with commas."""
        if host == CLIENT:
            return self.place.client()
        return self.place.address(host)

    def name_of(self, address: str) -> str:
        """The host with an address, or with a name that begins with its own."""
        there = self.place.nodes()
        first = address.partition(".")[0]
        return address if address in there else first if first in there else self._by_address().get(address, address)

    def _by_address(self) -> dict[str, str]:
        found = {}
        for name in self.place.nodes():
            # One that is off may have none.
            with suppress(LookupError):
                found[self.place.address(name)] = name
        return found

    def run(self, host: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """Standard output of a command that root runs in a host. Raises LabError when it fails and *check* is set."""
        return self.place.run(host, *command, stdin=stdin, check=check)

    def sh(self, host: str, script: str, check: bool = True) -> str:
        """The same for a shell script."""
        return self.run(host, "sh", "-eu", stdin=script, check=check)

    # Servers

    def rows(self, host: str, query: str, database: str = "postgres", *values: object) -> list[dict[str, Any]]:
        """Rows of a query, asked by the superuser through the server's socket. Raises psycopg.Error, LookupError."""
        line = self.place.sql(host, database)
        # A busy machine may take more than the two seconds that an observer waits.
        with psycopg.connect(line, connect_timeout=10, autocommit=True, row_factory=dict_row) as session:
            killer = threading.Timer(10, _hang_up, [session])
            killer.start()
            try:
                cursor = session.execute(query, values or None)
                return cursor.fetchall() if cursor.description else []
            finally:
                killer.cancel()

    def value(self, host: str, query: str, database: str = "postgres") -> Any:
        """The one value of a query."""
        (row,) = self.rows(host, query, database)
        (value,) = row.values()
        return value

    def each(self, ask: Callable[[str], T], hosts: Iterable[str] = ()) -> dict[str, T | Exception]:
        """What *ask* gives for each data node (or each of *hosts*), or the error it raised."""

        def one(host: str) -> T | Exception:
            try:
                return ask(host)
            except (psycopg.Error, LabError, LookupError, OSError) as error:
                return error

        names = list(hosts) or self.nodes
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(names, pool.map(one, names), strict=True))

    def primaries(self, hosts: Iterable[str] = ()) -> list[str]:
        """Nodes outside recovery, fenced ones too, as asked from inside."""
        found = self.each(lambda host: self.value(host, "SELECT pg_is_in_recovery()"), hosts)
        return [host for host, standby in found.items() if standby is False]

    def primary(self, hosts: Iterable[str] = ()) -> str:
        """The one node outside recovery. Raises LookupError unless there is exactly one."""
        found = self.primaries(hosts)
        if len(found) != 1:
            raise LookupError(f"primaries: {', '.join(found) or 'none'}")
        return found[0]

    def standbys(self, primary: str = "") -> list[str]:
        """The other data nodes, those that stream from the primary itself first."""
        first = primary or self.primary()
        direct = {row["a"] for row in self.rows(first, "SELECT host(client_addr) a FROM pg_stat_replication")}
        rest = [node for node in self.nodes if node != first]
        return sorted(rest, key=lambda node: self.address(node) not in direct)

    def timeline(self, host: str) -> int:
        """The timeline that a primary writes on."""
        return int(self.value(host, "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"), 16)

    # Clients

    def dsn(self, via: str = "pgpool") -> str:
        """The line of a client on this machine: "pgpool" (all of them), "nodes" (libpq picks the writable one), or the
        name of one host. Where all nodes have one address, it is that of "nodes"."""
        front = self.place.front(via) if via in ("nodes", "pgpool") else None
        if via == "nodes":
            to, port, more = self.nodes, 5432, " target_session_attrs=read-write"
        elif via == "pgpool":
            to, port, more = self.pools, 9999, ""
        else:
            to, port, more = [via], 9999 if via in self.pools else 5432, ""
        reached = [front] if front else [(self.place.known_as(host), self.address(host)) for host in to]
        names, addresses = (",".join(words) for words in zip(*reached, strict=True))
        return (
            f"host={names} hostaddr={addresses} port={port} dbname={APP} user={APP} sslmode=verify-full"
            f" sslrootcert={self.secrets / 'ca.crt'} passfile={self._passfile()}{more}"
        )

    def _passfile(self) -> Path:
        path = LAB / self.name / "app.pgpass"
        if not path.exists():
            secret = yaml.safe_load((self.secrets / "passwords.yml").read_text(encoding="utf-8"))[APP]
            path.touch(mode=0o600)
            path.write_text(f"*:*:*:{APP}:{secret}\n", encoding="utf-8")
        return path

    # Playbooks

    def play(
        self,
        playbook: str,
        extra: Mapping[str, Any] | None = None,
        *words: str,
        stop_at: Callable[[Event], bool] | None = None,
    ) -> Run:
        """Run a playbook of the collection as a user does."""
        where, name = self.inventory_directory(), f"pgherd.cluster.{playbook}"
        return ansible_playbook(
            where, name, *words, lab=self.name, extra=extra, stop_at=stop_at, env=self.place.environment()
        )

    def inventory_directory(self) -> Path:
        """A directory with the inventory as a user writes it, and how its hosts are reached."""
        directory = LAB / self.name / "inventory"
        directory.mkdir(parents=True, exist_ok=True)
        links = {"cluster.yml": self.inventory.resolve(), "lab": CHECKOUT / "molecule/shared/hosts"}
        for link, target in links.items():
            (directory / link).unlink(missing_ok=True)
            (directory / link).symlink_to(target)
        return directory


def _hang_up(session: psycopg.Connection[Any]) -> None:
    """A question of ours that hangs is ended without a cancel request."""
    import os
    import socket

    if not session.closed:
        with socket.socket(fileno=os.dup(session.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)


__all__ = [
    "APP",
    "CLIENT",
    "LAB",
    "Cluster",
    "Event",
    "Impossible",
    "LabError",
    "Late",
    "Place",
    "Run",
    "SystemdHosts",
    "environment",
    "hosts_of",
    "in_pods",
    "lab",
    "place_of",
    "run",
    "until",
]
