# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is known of Pgpool-II 4.3 to 4.6: its files, its PCP commands and their output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import CommandError, ProtocolError, Unreachable
from ..model import PCP_USER, PGPOOL_ROLE
from ..ports.run import Result, Runner

if TYPE_CHECKING:
    from ..objects.roles import Grant, Role

PROGRAM = "/usr/sbin/pgpool"
DIRECTORY = "/etc/pgpool2"
CONFIGURATION = DIRECTORY + "/pgpool.conf"
PASSWORDS = DIRECTORY + "/pool_passwd"
HBA = DIRECTORY + "/pool_hba.conf"
PCP_CONFIGURATION = DIRECTORY + "/pcp.conf"
RUNTIME = "/run/pgpool2"
# Copies of the files that the running pgpool has read, made by its unit at start and reload.
LOADED = RUNTIME + "/loaded"
STATUS_FILE = RUNTIME + "/pgpool_status"
PCP_PASSFILE = "/etc/pgherd/pcp.pass"
# The monitoring role's password for the gate, which runs as pgpool's user. pool_passwd has it too.
GATE_PASSFILE = "/etc/pgherd/gate.pgpass"


def roles(postgres_version: int) -> list[Role]:
    """The role that pgpool looks for the primary with."""
    from ..objects.roles import Role, reserved
    from ..objects.shield import own_settings

    memberships = ("pg_monitor", *reserved(postgres_version))
    return [Role(PGPOOL_ROLE, memberships=memberships, settings=own_settings(postgres_version))]


def grants(postgres_version: int) -> list[Grant]:
    """What it needs beyond pg_monitor: the database it connects to, which PUBLIC may not be let into."""
    from ..objects.roles import Grant

    return [Grant(PGPOOL_ROLE, "DATABASE", "postgres", ("CONNECT",))]


@dataclass(frozen=True)
class NodeInfo:
    """One backend as one pgpool sees it, from pcp_node_info or SHOW POOL_NODES.

    *status*: ``waiting`` (usable, no session yet), ``up``, ``down``, ``unused`` or ``quarantine``. *role*: pgpool's own
    opinion. *pg_status*, *pg_role*: what it found on asking the server just now. The delay is in bytes, or in seconds
    under ``delay_threshold_by_time``; None in the other unit.
    """

    number: int
    host: str
    port: int
    status: str
    pg_status: str = "unknown"
    weight: float = 0.0
    role: str = "standby"
    pg_role: str = "unknown"
    delay_bytes: int | None = None
    delay_seconds: float | None = None
    replication_state: str = ""
    sync_state: str = ""
    changed_at: str = ""

    @property
    def attached(self) -> bool:
        """Whether pgpool uses it."""
        return self.status in ("waiting", "up")


def from_row(row: Mapping[str, object]) -> NodeInfo:
    """A row of ``SHOW POOL_NODES``, by column name (12 columns in 4.1, 14 since 4.3). Raises ProtocolError."""
    try:
        return _node(int(str(row["node_id"])), {key: str(value or "") for key, value in row.items()})
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"read a row of SHOW POOL_NODES: {error!r} in {dict(row)}") from error


# Titles of pcp_node_info --verbose -> column of SHOW POOL_NODES. It prints no numbers: blocks are in order, and with
# --all those that are not in use are among them.
_TITLES = {
    "Hostname": "hostname",
    "Port": "port",
    "Weight": "lb_weight",
    "Status Name": "status",
    "Backend Status Name": "pg_status",
    "Role": "role",
    "Backend Role": "pg_role",
    "Replication Delay": "replication_delay",
    "Replication State": "replication_state",
    "Replication Sync State": "replication_sync_state",
    "Last Status Change": "last_status_change",
}


def parse_node_info(text: str) -> dict[int, NodeInfo]:
    """By number, what ``pcp_node_info --all --verbose`` printed, without the gaps in the numbers.

    Raises ProtocolError with the text when it is something else.
    """
    rows: list[dict[str, str]] = []
    for line in text.splitlines():
        title, colon, value = (part.strip() for part in line.partition(": "))
        if title == "Hostname" or line.startswith("Hostname"):
            rows.append({})
        if rows and colon is not None and title in _TITLES:
            rows[-1][_TITLES[title]] = value
    try:
        nodes = [_node(number, row) for number, row in enumerate(rows)]
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"read the answer of pcp_node_info: {error!r} in {text!r}") from error
    if not nodes:
        raise ProtocolError(f"read the answer of pcp_node_info: there is no backend in {text!r}")
    # A number in a gap has no host; pcp_promote_node makes it "down".
    return {node.number: node for node in nodes if node.host}


def _node(number: int, row: Mapping[str, str]) -> NodeInfo:
    delay, _blank, unit = row.get("replication_delay", "").partition(" ")
    seconds = float(delay) if unit.startswith("second") or "." in delay else None
    return NodeInfo(
        number=number,
        host=row["hostname"],
        port=int(row["port"]),
        status=row["status"],
        pg_status=row.get("pg_status") or "unknown",
        weight=float(row.get("lb_weight") or 0),
        role=row["role"],
        pg_role=row.get("pg_role") or "unknown",
        delay_bytes=int(delay) if delay and seconds is None else None,
        delay_seconds=seconds,
        replication_state=row.get("replication_state", "").replace("none", ""),
        sync_state=row.get("replication_sync_state", "").replace("none", ""),
        changed_at=row.get("last_status_change", ""),
    )


def parse_status_file(text: str) -> dict[int, bool]:
    """By number, whether pgpool uses the backend, from the lines of its status file (``up``, ``down``, ``unused``).

    pgpool writes the file when a status changes, so it is what costs nothing to read at every turn.
    """
    words = [line.strip().lower() for line in text.splitlines()]
    return {number: word == "up" for number, word in enumerate(words) if word in ("up", "down")}


def status_file(used: Mapping[int, bool]) -> str:
    """The text of a status file from which pgpool starts with exactly the backends that are *used*."""
    words = {True: "up", False: "down", None: "unused"}
    return "".join(f"{words[used.get(number)]}\n" for number in range(max(used, default=-1) + 1))


class Pcp:
    """PCP commands on one pgpool. *host* may be the directory of its socket.

    The password comes from *passfile* (``host:port:user:password``, mode 0600), never from the command line.
    """

    def __init__(
        self,
        runner: Runner,
        host: str = "localhost",
        port: int = 9898,
        user: str = PCP_USER,
        passfile: str = PCP_PASSFILE,
        timeout: float = 15.0,
    ) -> None:
        self._runner = runner
        self._options = ["-h", host, "-p", str(port), "-U", user, "-w"]
        self._env = {"PCPPASSFILE": passfile} if passfile else {}
        self._timeout = timeout
        self.where = f"{host}:{port}"

    def nodes(self) -> dict[int, NodeInfo]:
        """Every backend by number. pgpool asks each server for it: on a dead host that takes its connect_timeout."""
        return parse_node_info(self._run("pcp_node_info", "--all", "--verbose").out)

    def attach(self, number: int) -> None:
        """Ask pgpool to use a backend; the effect follows within seconds."""
        self._order("pcp_attach_node", "-n", str(number))

    def detach(self, number: int) -> None:
        """Ask pgpool to stop using a backend and to end the sessions that use it; the effect follows within seconds."""
        self._order("pcp_detach_node", "-n", str(number))

    def promote(self, number: int) -> None:
        """Tell pgpool that an attached backend is the primary. It detaches all others, and touches no PostgreSQL."""
        self._order("pcp_promote_node", "-n", str(number))

    def reload(self) -> None:
        """Make pgpool read its configuration again."""
        self._order("pcp_reload_config", "-s", "local")

    def _order(self, program: str, *arguments: str) -> None:
        done = self._run(program, *arguments)
        if "Command Successful" not in done.out:
            raise CommandError(self._attempted(program, arguments), done.argv, done.rc, done.out, done.err)

    def _run(self, program: str, *arguments: str) -> Result:
        """Run it. The programs exit 0 after most errors that pgpool reports, so their words decide."""
        done = self._runner.run([program, *self._options, *arguments], env=self._env, timeout=self._timeout)
        said = " ".join(f"{done.err} {done.out}".split())
        if re.search(r"connection to (socket|host) .* failed|could not connect", said):
            raise Unreachable(f"{program} at {self.where}: {said}")
        if done.rc != 0 or re.search(r"\b(ERROR|FATAL|PANIC):", done.err):
            cure = "Look at the PCP user and the password file." if "authentication" in said else ""
            raise CommandError(self._attempted(program, arguments), done.argv, done.rc, done.out, done.err, cure)
        return done

    def _attempted(self, program: str, arguments: tuple[str, ...]) -> str:
        return f"{' '.join((program, *arguments))} at {self.where}"


def escaped(text: str) -> str:
    """A name or password for pool_passwd and for PCP's password file, where a colon ends it."""
    return text.replace("\\", "\\\\").replace(":", "\\:")


def pcp_passfile(user: str, password: str) -> str:
    """PCP's password file with one user for every pgpool."""
    return f"*:*:{escaped(user)}:{escaped(password)}\n"


def password_entries(lines: Sequence[str]) -> dict[str, str]:
    """pool_passwd by user."""
    return dict(line.split(":", 1) for line in lines if ":" in line)
