# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A cluster of test hosts with the inventory that describes it, which a test changes before it runs the site playbook.

What became of it is read on the hosts themselves, by SQL and systemd, never from the run's results.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from playbook import SITE, Event, Run, ansible_playbook

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.append(str(CHECKOUT / "tests/lab"))

import hosts as lab_hosts  # noqa: E402
from machine import LAB, LabError, until  # noqa: E402
from systemd_hosts import SystemdHosts  # noqa: E402

# Of a question that was not answered, or not with one row: a server that is about to come back, a pgpool that ends sessions.
MISSED = (LabError, LookupError, ValueError)
DATA = "/var/lib/postgresql/17/main"
UNIT = "postgresql@17-main.service"
AGENT = "pgherd-agent.service"
LOG = "/var/log/postgresql/postgresql-17-main.log"

LOOK = (
    "SELECT extract(epoch FROM pg_postmaster_start_time())::float8 AS started, pg_is_in_recovery() AS standby,"
    " CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)"
    " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,"
    " (SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming') AS upstream"
)
STREAMED = (
    "SELECT extract(epoch FROM min(at))::float8 AS at FROM (SELECT substr(line, 1, 23)::timestamptz AS at"
    f" FROM regexp_split_to_table(pg_read_file('{LOG}'), '\\n') AS line WHERE line LIKE '%started streaming WAL%')"
    " AS lines WHERE at > pg_postmaster_start_time()"
)


@dataclass(frozen=True)
class Node:
    """What a server says of itself. *started* in seconds since the epoch; *upstream* is whom it streams from, or None."""

    started: float
    standby: bool
    timeline: int | None
    upstream: str | None


class Living:
    """Test hosts of the lab's cluster *lab*; *inventory* is what a person would have in a file in *directory*."""

    def __init__(self, lab: str, inventory: Mapping[str, Any], directory: Path) -> None:
        self.lab = lab
        self.inventory: dict[str, Any] = copy.deepcopy(dict(inventory))
        self.directory = directory
        self._place: SystemdHosts | None = None

    # The inventory, and runs with it.

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of all hosts, to read and to change."""
        return self.inventory["all"].setdefault("vars", {})

    def group(self, name: str) -> dict[str, dict[str, Any]]:
        """Hosts of a group with their variables, to read and to change."""
        return self.inventory.get(name, {}).get("hosts") or {}

    @property
    def directory_of_secrets(self) -> Path:
        """Where the control machine keeps the passwords, by the inventories of the scenarios."""
        return LAB / self.lab / "secrets"

    @property
    def nodes(self) -> list[str]:
        """Names of the data nodes."""
        return list(self.group("postgres"))

    def site(
        self,
        *words: str,
        extra: Mapping[str, Any] | None = None,
        stop_at: Callable[[Event], bool] | None = None,
        playbook: str = SITE,
    ) -> Run:
        """Run the site playbook with the inventory as it is now."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "cluster.yml").write_text(yaml.safe_dump(self.inventory))
        reach = self.directory / "lab"
        if not reach.is_symlink():
            reach.symlink_to(CHECKOUT / "molecule/shared/hosts")
        return ansible_playbook(self.directory, playbook, *words, lab=self.lab, extra=extra, stop_at=stop_at)

    # The hosts.

    @property
    def place(self) -> SystemdHosts:
        """The hosts that there are, as what can be done to them."""
        if self._place is None:
            self._place = SystemdHosts(self.lab, quick=True)
        return self._place

    def up(self, *names: str) -> None:
        """Make sure that hosts exist and run."""
        lab_hosts.up(self.lab, dict.fromkeys(names, "trixie"))
        self._place = None

    def down(self) -> None:
        """Remove all hosts."""
        lab_hosts.down(self.lab)
        self._place = None

    def add(self, name: str) -> None:
        """One more host; the others learn its name."""
        lab_hosts.add(self.lab, name, "")
        self._place = None

    def stop(self, name: str) -> None:
        """Cut a host's power."""
        lab_hosts.stop(self.lab, name)

    def start(self, name: str) -> None:
        """Switch a host on again."""
        lab_hosts.start(self.lab, name)

    def address(self, name: str) -> str:
        """Where a host is reached."""
        return self.place.address(name)

    def execute(self, name: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a command as root on a host; its standard output. Raises LabError."""
        return self.place.run(name, *command, stdin=stdin, check=check)

    def shell(self, name: str, script: str, check: bool = True) -> str:
        """Run a shell script as root on a host."""
        return self.execute(name, "sh", "-eu", stdin=script, check=check)

    def main_pid(self, name: str, service: str) -> int:
        """Main process of a service."""
        return self.place.main_process(name, service)

    def agents(self) -> dict[str, int]:
        """By host the process of its agent."""
        hosts = [name for group in ("postgres", "witness", "pgpool", "barman") for name in self.group(group)]
        return self._each(lambda name: self.main_pid(name, AGENT), hosts)

    def goes_by(self, name: str) -> tuple[str, str]:
        """By which description a host's agent goes, as it tells systemd; and which there is."""
        said = self.execute(name, "systemctl", "show", "--value", "-p", "StatusText", AGENT).split()
        file = "/etc/pgherd/cluster.json"
        return said[-1], self.execute(name, "sha256sum", file)[:16]

    # The servers.

    def rows(self, name: str, query: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Rows of a query on a host's own server, asked there as its superuser. Raises LabError."""
        wrapped = f"SELECT to_jsonb(row) FROM ({query}) AS row"
        command = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", wrapped)
        return [json.loads(line) for line in self.execute(name, *command).splitlines()]

    def answers(self, name: str) -> bool:
        """Whether a host's own server answers."""
        try:
            self.sql(name, "SELECT 1")
        except LabError:
            return False
        return True

    def value(self, name: str, query: str, database: str = "postgres") -> Any:
        """The only value of a query."""
        return next(iter(self.rows(name, query, database)[0].values()))

    def sql(self, name: str, statement: str, database: str = "postgres") -> str:
        """Run a statement on a host's own server."""
        command = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", statement)
        return self.execute(name, *command)

    def asked(self, host: str, pool: str, statement: str) -> str:
        """What a pgpool answers the monitoring role, whose password root has on *host*, over verified TLS."""
        line = f"host={pool} port=9999 user=pgherd_monitor dbname=postgres sslmode=verify-full"
        line += " sslrootcert=/etc/pgherd/tls/ca.crt passfile=/etc/pgherd/monitor.pgpass"
        return self.shell(host, f'psql -XAtq -v ON_ERROR_STOP=1 "{line}" -c "{statement}"')

    def backends(self, pool: str, host: str = "") -> dict[str, str]:
        """Status (up, down, ...) of each backend of a pgpool, by host, as clients see it; asked on *host* or the primary."""
        listed = self.asked(host or self.primary(), pool, "SHOW POOL_NODES").splitlines()
        # A number that no backend has is listed too, with an empty host.
        return {row.split("|")[1]: row.split("|")[3] for row in listed if row.split("|")[1]}

    def pgpool_value(self, pool: str, setting: str) -> str:
        """What a running pgpool has for a setting."""
        return self.asked(self.primary(), pool, f"PGPOOL SHOW {setting}").strip()

    def everywhere(self, query: str, nodes: Iterable[str] = ()) -> dict[str, Any]:
        """The only value of a query, from each data node, or each of *nodes*."""
        return self._each(lambda name: self.value(name, query), nodes)

    def show(self, setting: str, nodes: Iterable[str] = ()) -> dict[str, str]:
        """A setting as SHOW tells it, from each data node, or each of *nodes*."""
        return self._each(lambda name: self.sql(name, f"SHOW {setting}").removesuffix("\n"), nodes)

    def look(self, nodes: Iterable[str] = ()) -> dict[str, Node]:
        """What each data node, or each of *nodes*, says of itself."""
        return self._each(lambda name: Node(**self.rows(name, LOOK)[0]), nodes)

    def streamed(self, nodes: Iterable[str]) -> dict[str, float]:
        """When each node, by its log, first streamed after its start."""
        return self._each(lambda name: self.value(name, STREAMED), nodes)

    def primary(self, nodes: Iterable[str] = ()) -> str:
        """The one data node outside recovery."""
        (found,) = [name for name, node in self.look(nodes).items() if not node.standby]
        return found

    def records(self, name: str = "") -> dict[str, dict[str, Any]]:
        """repmgr.nodes, by name, on *name* or the primary."""
        query = (
            "SELECT n.*, u.node_name AS upstream FROM repmgr.nodes n"
            " LEFT JOIN repmgr.nodes u ON u.node_id = n.upstream_node_id"
        )
        return {row["node_name"]: row for row in self.rows(name or self.primary(), query, "repmgr")}

    # What comes by itself, in its time.

    def until_streaming(self, *names: str, seconds: float = 120.0) -> None:
        """Wait until each of *names* streams."""

        def stream() -> bool:
            return all(node.upstream for node in self.look(names).values())

        until(f"{', '.join(names)} to stream", stream, seconds, missed=MISSED)

    def until_as(self, before: Mapping[str, Node], seconds: float = 60.0) -> None:
        """Wait until nodes say of themselves what they said *before*. Their streams may break off for a moment; a server that
        was restarted since, or changed its part, is seen at once."""

        def same() -> bool:
            look = self.look(before)
            parts = {name: (node.started, node.standby) for name, node in look.items()}
            assert parts == {name: (node.started, node.standby) for name, node in before.items()}
            if others := {name: (before[name], node) for name, node in look.items() if node != before[name]}:
                raise LookupError(f"before and now: {others}")
            return True

        until("all nodes to be as they were", same, seconds, missed=MISSED)

    def until_well(self, seconds: float = 150.0) -> None:
        """Wait until the cluster's own status finds nothing wrong. What an agent has of Barman may be a minute old."""

        def well() -> bool:
            document = json.loads(self.execute(self.primary(), "pgherd", "status", "--json", check=False))
            if document["problems"]:
                raise LookupError("; ".join(problem["text"] for problem in document["problems"]))
            return bool(document["exit_code"] == 0)

        until("a status without a problem", well, seconds, 1.0, MISSED)

    def _each(self, ask: Callable[[str], Any], nodes: Iterable[str]) -> dict[str, Any]:
        names = list(nodes) or self.nodes
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(names, pool.map(ask, names), strict=True))


__all__ = ["DATA", "LOG", "MISSED", "UNIT", "LabError", "Living", "Node", "until"]
