# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster under test as its parts show it: hosts over ssh, SQL, clients with TLS. A plugin of pytest.

Molecule loads it and says in MOLECULE_INVENTORY_FILE which hosts there are; by hand it is PGHERD_TEST_INVENTORY, with this
directory in PYTHONPATH and PYTEST_PLUGINS=deployed. What the inventory wants is compared with what servers, sockets and
processes say, never with what the play said. A test that breaks something mends it and waits until all is well.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import testinfra
import yaml
from psycopg.rows import dict_row
from testinfra.backend.base import CommandResult
from testinfra.backend.ssh import SshBackend

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.append(str(CHECKOUT / "tests/lab"))

import machine  # noqa: E402
from place import VERSIONS  # noqa: E402

until = machine.until
OWN = r"-c default_transaction_isolation=read\\ committed -c statement_timeout=0"
# Of a question that a host did not answer (Host.run asserts that), or not with one row.
MISSED = (AssertionError, LookupError, ValueError)
T = TypeVar("T")


class Sudo(SshBackend):
    """Who logs in is not root, and sudo asks for his *password*: the first line of standard input."""

    password = ""

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        return str(self.quote("sudo -S -p '' /bin/sh -c %s", command))

    def run_local(self, command: str, *words: str) -> CommandResult:
        line = self.encode(self.quote(command, *words))
        given = f"{self.password}\n".encode()
        done = subprocess.run(line, shell=True, input=given, capture_output=True, check=False)
        return self.result(done.returncode, line, done.stdout, done.stderr)


class _ByAddress(http.client.HTTPSConnection):
    """HTTPS to a name by an address that is known."""

    address = ""
    tls: ssl.SSLContext

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = self.tls.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Host:
    """One host of the inventory. *ips* are its addresses, IPv4's first; *vars* its variables."""

    name: str
    ips: tuple[str, ...]
    vars: dict[str, Any] = field(repr=False, compare=False, hash=False)

    @property
    def ip(self) -> str:
        """Where this machine reaches it."""
        return self.ips[0]

    @property
    def ssh(self) -> str:
        """Options of ssh: the connection is the one that Ansible left open."""
        control = self.vars["ansible_control_path"].replace("%%h", self.ip)
        options = f"{self.vars['ansible_ssh_args']} {self.vars['ansible_ssh_common_args']}"
        return f"{options} -o ControlPath={control} -o LogLevel=ERROR"

    @cached_property
    def shell(self) -> Any:
        """Testinfra's host."""
        key, user = self.vars["ansible_ssh_private_key_file"], self.vars["ansible_user"]
        if user == "root":
            return testinfra.get_host(f"ssh://root@{self.ip}", ssh_identity_file=key, ssh_extra_args=self.ssh)
        backend = Sudo(f"{user}@{self.ip}", ssh_identity_file=key, ssh_extra_args=self.ssh, sudo=True)
        backend.password = self.vars["ansible_become_password"]
        made = testinfra.host.Host(backend)
        backend.set_host(made)
        return made

    def run(self, command: str, *words: object, rc: int | None = 0) -> str:
        """Standard output of a command (``%s`` stands for each of *words*, quoted). Its exit code has to be *rc*."""
        done = self.result(command, *words)
        assert rc in (None, done.rc), f"{self.name}: {done.command!r} exited {done.rc}: {done.stderr or done.stdout}"
        return str(done.stdout)

    def result(self, command: str, *words: object) -> CommandResult:
        """All that came of a command."""
        return self.shell.run(command, *map(str, words))

    def python(self, program: str) -> str:
        """Standard output of a program that the host's Python runs as root; it is in no argument list."""
        key, user = self.vars["ansible_ssh_private_key_file"], self.vars["ansible_user"]
        words = ["ssh", *shlex.split(self.ssh), "-i", key, f"{user}@{self.ip}", "python3 -"]
        if user != "root":
            words[-1] = f"sudo -S -p '' {words[-1]}"
            program = f"{self.vars['ansible_become_password']}\n{program}"
        done = subprocess.run(words, input=program, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{self.name}: {done.stderr}"
        return done.stdout

    def rows(self, query: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Rows of *query*, asked by the superuser through the socket."""
        wrapped = f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) AS q"
        return json.loads(self.sql(wrapped, database))

    def value(self, query: str, database: str = "postgres") -> Any:
        """The one value of *query*."""
        (row,) = self.rows(query, database)
        (value,) = row.values()
        return value

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as superuser through the socket, whatever sessions have by default."""
        line = f"dbname={database} user=postgres options='{OWN}'"
        return self.run("psql -XAtq -v ON_ERROR_STOP=1 -d %s -c %s", line, statement)

    def show(self, setting: str) -> str:
        """A setting as SHOW says it."""
        return self.sql(f"SHOW {setting}").removesuffix("\n")

    def unit(self, verb: str, name: str) -> None:
        """systemctl."""
        self.run("systemctl %s %s", verb, name)

    def https(self, port: int, path: str, context: ssl.SSLContext) -> tuple[int, str]:
        """Status and body of an answer, verified to the host's name, which this machine may not be able to look up."""
        connection = _ByAddress(self.name, port, timeout=10, context=context)
        connection.address, connection.tls = self.ip, context
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@dataclass(frozen=True)
class Deployed:
    """The cluster. *vars* are the inventory's variables for all."""

    hosts: dict[str, Host]
    groups: dict[str, list[str]]
    vars: dict[str, Any] = field(repr=False)

    def group(self, name: str) -> list[Host]:
        """Hosts of a group, in the inventory's order."""
        return [self.hosts[host] for host in self.groups.get(name, [])]

    def wanted(self, variable: str, default: Any = None) -> Any:
        """A ``cluster_*`` variable of the inventory."""
        return self.vars.get(f"cluster_{variable}", default)

    @property
    def data_nodes(self) -> list[Host]:
        """Hosts with the data."""
        return self.group("postgres")

    @property
    def nodes(self) -> list[Host]:
        """Data nodes and witnesses."""
        return [*self.data_nodes, *self.group("witness")]

    @cached_property
    def primary(self) -> Host:
        """The one data node outside recovery, asked once: no test moves it."""
        (found,) = [host for host in self.data_nodes if not host.value("SELECT pg_is_in_recovery()")]
        return found

    @property
    def standbys(self) -> list[Host]:
        """The other data nodes."""
        return [host for host in self.data_nodes if host != self.primary]

    @property
    def leaves(self) -> list[Host]:
        """Standbys that nobody follows."""
        return [host for host in self.standbys if not self.children(host)]

    @property
    def backups(self) -> str:
        """Barman's directory of this cluster."""
        return f"{self.wanted('barman_directory', '/var/lib/barman')}/{self.wanted('name')}"

    @cached_property
    def version(self) -> int:
        """PostgreSQL's major version, by the distribution's release."""
        return VERSIONS[str(self.primary.shell.system_info.codename)]

    @property
    def unit(self) -> str:
        """PostgreSQL's unit."""
        return f"postgresql@{self.version}-main.service"

    @property
    def data_directory(self) -> str:
        """Where the data must be."""
        return self.wanted("data_directory") or f"/var/lib/postgresql/{self.version}/main"

    def upstream(self, host: Host) -> str:
        """Name of the upstream that the inventory wants; '' for the primary."""
        return str(host.vars.get("upstream") or "")

    def children(self, host: Host) -> list[str]:
        """Names of the data nodes that follow *host*."""
        return sorted(other.name for other in self.data_nodes if self.upstream(other) == host.name)

    @property
    def secrets(self) -> Path:
        """The control machine's secrets."""
        return Path(self.wanted("secrets_directory"))

    @property
    def passwords(self) -> dict[str, str]:
        """Every password: those kept on the control machine, and those that the inventory gives."""
        kept = yaml.safe_load((self.secrets / "passwords.yml").read_text(encoding="utf-8"))
        users = {user["name"]: user["password"] for user in self.wanted("users", []) if "password" in user}
        return {**kept, **users, **self.wanted("passwords", {})}

    def connect(self, to: Host, user: str, port: int = 5432, **more: Any) -> psycopg.Connection[dict[str, Any]]:
        """A client on the control machine connects with TLS, verified to the name."""
        wanted = {"host": to.name, "hostaddr": to.ip, "port": port, "user": user, "dbname": "app"}
        wanted |= {"password": self.passwords.get(user, ""), "sslmode": "verify-full", "connect_timeout": 10}
        wanted |= {"sslrootcert": str(self.secrets / "ca.crt"), "autocommit": True, "row_factory": dict_row, **more}
        return psycopg.connect(**wanted)

    def through(self, pool: Host, user: str = "app", **more: Any) -> psycopg.Connection[dict[str, Any]]:
        """The same through a pgpool. No prepared statements: a pooled session is another one each time."""
        return self.connect(pool, user, int(self.wanted("pgpool_port", 9999)), prepare_threshold=None, **more)

    def status(self, host: Host) -> tuple[int, dict[str, Any]]:
        """Exit code and document of ``pgherd status --json``."""
        done = host.result("pgherd status --json")
        return done.rc, json.loads(done.stdout) if done.stdout.strip() else {"stderr": done.stderr}

    def settle(self, seconds: float = 150.0, host: Host | None = None) -> dict[str, Any]:
        """The status, once the cluster says of itself, on a host, that it is well. What an agent has of Barman may be a minute
        old."""
        deadline = time.monotonic() + seconds
        while True:
            code, found = self.status(host or self.primary)
            if code == 0:
                return found
            assert time.monotonic() < deadline, (
                f"not well on {(host or self.primary).name} after {seconds:.0f} s: {found.get('problems', found)}"
            )

    @contextmanager
    def stopped(self, host: Host, unit: str) -> Iterator[None]:
        """A unit is stopped for a while; afterwards all is well again."""
        host.unit("stop", unit)
        try:
            yield
        finally:
            host.unit("start", unit)
            self.settle()

    def play(self, *options: str, seconds: float = 800.0, playbook: str = "site") -> subprocess.CompletedProcess[str]:
        """Run a playbook, the site's, as a user does; its whole output is in stdout."""
        return subprocess.run(
            ["ansible-playbook", "-i", str(inventory()), f"pgherd.cluster.{playbook}", *options],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "PY_COLORS": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )


def why(done: subprocess.CompletedProcess[str]) -> str:
    """What a playbook that failed said of it, and how it ended."""
    said = [line for line in done.stdout.splitlines() if line.startswith(("fatal:", "failed:", "[ERROR]"))]
    return "\n".join([*said, done.stdout[-1500:]])


def everywhere(hosts: Iterable[Host], do: Callable[[Host], T]) -> dict[str, T]:
    """What *do* gives for each host, by name; all at once."""
    hosts = list(hosts)
    with ThreadPoolExecutor(8) as pool:
        return dict(zip([host.name for host in hosts], pool.map(do, hosts)))


def inventory() -> Path:
    """Where the hosts are described: beside the one file that molecule writes itself."""
    if "PGHERD_TEST_INVENTORY" in os.environ:
        return Path(os.environ["PGHERD_TEST_INVENTORY"])
    if "MOLECULE_INVENTORY_FILE" in os.environ:
        return Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
    raise pytest.UsageError("say in PGHERD_TEST_INVENTORY which hosts to test on")


@cache
def described() -> Deployed:
    """The cluster that the inventory describes."""
    command = ["ansible-inventory", "-i", str(inventory()), "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    plain = json.loads(listed)["_meta"]["hostvars"]
    lab = next(iter(plain.values()))["lab_directory"]
    listed = listed.replace("{{ lab_directory }}", lab)
    found = json.loads(listed)
    hosts = {name: Host(name, tuple(own["lab_addresses"]), own) for name, own in found["_meta"]["hostvars"].items()}
    groups = {name: group.get("hosts", []) for name, group in found.items() if name not in ("_meta", "all")}
    common = set.intersection(*(set(host.vars) for host in hosts.values()))
    return Deployed(hosts, groups, {key: next(iter(hosts.values())).vars[key] for key in common})


@pytest.fixture(scope="session")
def cluster() -> Deployed:
    """The cluster that the inventory describes."""
    return described()


@pytest.fixture(scope="module", autouse=True)
def _whole() -> None:
    """The tests of a file begin on a whole cluster, whatever those before them have broken and mended."""
    described().settle()
