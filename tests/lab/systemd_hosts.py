# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The lab's hosts as a place: containers of this machine in which systemd boots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import hosts
import packets
from machine import LabError, inside, podman, send, words_of
from place import FORGET, OPTIONS, VERSIONS

UNITS = {"agent": "pgherd-agent", "pgpool": "pgpool2", "barman-receiver": "barman-receive-wal"}
STATES = {"active": "running", "activating": "starting", "deactivating": "stopping", "inactive": "stopped"}
FREEZE = (
    30  # seconds; one that forks all the time, on a busy machine, may slip away from runc and its freezer (cgroup v1)
)


class SystemdHosts:
    """The hosts of the lab's cluster *name*, as they are at the moment when it is made; see Place.

    *quick*: commands enter a host beside podman, which starts no process of its own for that. They run outside of the host's
    control groups, and in a frozen host too.
    """

    def __init__(self, name: str, quick: bool = False) -> None:
        self.name = name
        self.quick = quick
        self.hosts = {host.name: host for host in hosts.hosts(name)}

    def nodes(self) -> list[str]:
        """See Place."""
        return list(self.hosts)

    def version(self, node: str) -> int:
        """See Place."""
        return VERSIONS[self._host(node).release]

    def address(self, node: str) -> str:
        """See Place."""
        return self._host(node).address

    def client(self) -> str:
        """See Place."""
        return next(iter(self.hosts.values())).address.rsplit(".", 1)[0] + ".1"

    def known_as(self, node: str) -> str:
        """See Place."""
        return node

    def front(self, way: str) -> tuple[str, str] | None:
        """See Place."""
        return None

    def kept(self) -> str:
        """See Place."""
        return "/var/tmp/faults"

    def cannot(self, what: str) -> str:
        """See Place."""
        return ""

    def environment(self) -> dict[str, str]:
        """See Place."""
        return {}

    def watching(self, into: Path) -> list[str]:
        """See Place."""
        return []

    def container(self, node: str) -> str:
        """podman's name of a host."""
        return self._host(node).container

    def pid(self, node: str) -> int:
        """Process 1 of a host, as this machine numbers it. Raises LookupError while it is off."""
        return first_process(self.container(node))

    # What is in it

    def run(self, node: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """See Place."""
        if self.quick:
            return inside(self.container(node), *command, stdin=stdin, check=check)
        return podman("exec", "-i", self.container(node), *command, stdin=stdin, check=check)

    def in_network(self, node: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """See Place."""
        words = [*self.entered(node), *command]
        done = subprocess.run(words, input=stdin, text=True, capture_output=True, check=False)
        if check and done.returncode:
            raise LabError(f"{node}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def run_as(self, node: str, user: str, *command: str, check: bool = True) -> str:
        """See Place."""
        return self.run(node, "runuser", "-u", user, "--", *command, check=check)

    def entered(self, node: str) -> list[str]:
        """See Place."""
        return ["nsenter", "--target", str(self.pid(node)), "--net"]

    def path(self, node: str, within: str) -> Path:
        """See Place."""
        return Path(f"/proc/{self.pid(node)}/root{within}")

    def sql(self, node: str, database: str = "postgres") -> str:
        """See Place."""
        return socket_dsn(self.container(node), database)

    def service(self, node: str, verb: str, *services: str, check: bool = True) -> None:
        """See Place."""
        words = "reset-failed" if verb == FORGET else verb
        self.run(node, "systemctl", words, *(self.unit(node, service) for service in services), check=check)

    def service_state(self, node: str, service: str) -> str:
        """See Place."""
        words = ("systemctl", "show", "--value", "-p", "ActiveState", self.unit(node, service))
        said = self.run(node, *words, check=False).strip()
        return STATES.get(said, said)

    def service_wanted(self, node: str, service: str) -> bool:
        """See Place."""
        return self.run(node, "systemctl", "is-enabled", self.unit(node, service), check=False).strip() == "enabled"

    def main_process(self, node: str, service: str) -> int:
        """See Place."""
        return int(self.run(node, "systemctl", "show", "--value", "-p", "MainPID", self.unit(node, service)))

    def log(self, node: str, since: float, *services: str) -> list[tuple[float, str]]:
        """See Place."""
        lines = []
        for line in self._journal(node, "json", since, services).splitlines():
            item = json.loads(line)
            message = item.get("MESSAGE")
            if isinstance(message, str):
                lines.append((int(item["__REALTIME_TIMESTAMP"]) / 1e6, message))
        return lines

    def report(self, node: str, since: float, *services: str) -> str:
        """See Place."""
        return self._journal(node, "short-precise", since, services)

    def _journal(self, node: str, form: str, since: float, services: Iterable[str]) -> str:
        units = (f"--unit={self.unit(node, service)}" for service in services)
        words = ("journalctl", f"--output={form}", "--no-pager", f"--since=@{since:.3f}", *units)
        return self.run(node, *words, check=False)

    def unit(self, node: str, service: str) -> str:
        """The unit of a service; whatever has a dot is a unit's name already."""
        if "." in service:
            return service
        postgres = f"postgresql@{self.version(node)}-main"
        return {**UNITS, "postgres": postgres}.get(service, service) + ".service"

    # What can be done to it

    def processes(self, node: str) -> dict[int, str]:
        """See Place."""
        space = os.readlink(f"/proc/{self.pid(node)}/ns/pid")
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            # It may have just ended.
            with suppress(OSError):
                if os.readlink(entry / "ns/pid") == space:
                    found[int(entry.name)] = words_of(int(entry.name))
        return found

    def signal(self, processes: Iterable[int], number: signal.Signals) -> None:
        """See Place."""
        send(processes, number)

    def drop(self, node: str, rules: Iterable[str]) -> None:
        """See Place."""
        packets.drop(self.entered(node), rules)

    def join(self, node: str) -> bool:
        """See Place."""
        return packets.join(self.entered(node))

    def freeze(self, node: str) -> None:
        """See Place."""
        deadline = time.monotonic() + FREEZE
        while True:
            try:
                podman("pause", self.container(node))
                return
            except LabError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)  # between two attempts

    def thaw(self, node: str) -> None:
        """See Place."""
        podman("unpause", self.container(node))

    def power_off(self, *nodes: str) -> None:
        """No packet leaves them any more, so nobody is told."""
        for node in nodes:
            self.drop(node, ["-i lo -j RETURN", "-o lo -j RETURN", "-j DROP"])
        podman("kill", *(self.container(node) for node in nodes))

    def power_on(self, *nodes: str) -> None:
        """See Place."""
        podman("start", *(self.container(node) for node in nodes))

    def booted(self, node: str) -> bool:
        """See Place."""
        return bool(self.run(node, "systemctl", "is-system-running", check=False).strip())

    def state(self, node: str) -> str:
        """See Place."""
        return podman("inspect", "--format", "{{.State.Status}}", self.container(node)).strip()

    def heal(self) -> list[str]:
        """See Place: it is this machine."""
        return []

    def _host(self, node: str) -> hosts.Host:
        if node not in self.hosts:
            raise LabError(f"the lab's cluster {self.name} has no {node}")
        return self.hosts[node]


_PIDS: dict[str, tuple[int, str]] = {}  # by container: process 1, and when it was started
_PIDS_LOCK = threading.Lock()


def first_process(container: str) -> int:
    """Process 1 of a container, as this machine numbers it. Raises LookupError while it is off."""
    with _PIDS_LOCK:
        known, begun = _PIDS.get(container, (0, ""))
        if known and _begun(known) == begun:
            return known
        found = int(podman("inspect", "--format", "{{.State.Pid}}", container, check=False).strip() or 0)
        if not found or not (begun := _begun(found)):
            _PIDS.pop(container, None)
            raise LookupError(f"{container} is off")
        _PIDS[container] = (found, begun)
        return found


def _begun(number: int) -> str:
    """When a process was started (proc(5), stat's field 22), '' when there is none: numbers are soon used again, and maybe by
    another test host."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def socket_dsn(container: str, database: str = "postgres") -> str:
    """How this machine's root talks to a container's server past the network, as its superuser."""
    return (
        f"host=/proc/{first_process(container)}/root/run/postgresql user=postgres dbname={database} connect_timeout=2"
        f" application_name=faults options='{OPTIONS}'"
    )
