# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The pods of a cluster in the lab's Kubernetes as a place; see Place.

All is done past Kubernetes: processes are entered and signalled from this machine, so it works while the API server is away. A
host of the inventory is the pod of its name; the pods of a pgpool POOL are POOL.0, POOL.1 and so on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).with_name("kubernetes")))
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins/module_utils"))

import control
import faults_of_pods as harm
import network
import nodes as machines
import packets
import state
from control import kubectl
from machine import LabError, run, send, until, words_of
from pgherd.errors import PgherdError
from pgherd.places.pod.services import PodServices
from place import CLOCK, CROWD, DISKS, FORGET, NAMES, OPTIONS, UNITS, VERSIONS, Impossible

import containers
from containers import Container

MAIN = "node"  # the container of a pod in which everything runs
USER = 5432  # who runs it
SOCKET = "/run/pgherd/services"  # process 1's
HOMES = {"postgres": "/var/lib/postgresql", "barman": "/var/lib/barman"}
BOOT = 120  # seconds
CANNOT = {
    UNITS: "process 1 of a pod has no units that a drop-in could change: how it starts programs is part of pgherd",
    DISKS: "volumes of the lab's pods are directories of this machine, which can be neither full nor frozen alone",
    CLOCK: "nothing can be installed in a pod, whose root file system cannot be written",
    NAMES: "a pod's /etc/hosts and /etc/resolv.conf are mounted so that nobody can write them",
    CROWD: "a pod's network has no addresses for more clients",
}


class Pods:
    """The pods that an inventory describes. *whole_machines*: power is cut to the machine of Kubernetes where a pod runs, with
    all that runs there; otherwise the pod alone goes away, which its kubelet learns of only when it is on again.
    Raises Impossible in another Kubernetes."""

    def __init__(self, described: Mapping[str, Any], whole_machines: bool = True) -> None:
        if state.others():
            raise Impossible(f"pods are broken in the lab's Kubernetes alone, and KUBECONFIG is {state.others()}")
        told = described["all"]["vars"]
        self.cluster = str(told["cluster_name"])
        self.space = str(told.get("cluster_namespace") or self.cluster)
        self.whole_machines = whole_machines
        self._agent_port = int(told.get("cluster_agent_port", 8765))
        self._release = next((one for one in VERSIONS if str(told.get("cluster_image", "")).endswith(one)), "trixie")
        groups = {name: (described.get(name) or {}).get("hosts") or {} for name in ("postgres", "witness", "barman")}
        self._named = [name for hosts in groups.values() for name in hosts]
        pools = (described.get("pgpool") or {}).get("hosts") or {}
        self._pools = {
            f"{pool}.{number}": (pool, number)
            for pool, own in pools.items()
            for number in range(int((own or {}).get("replicas", 1)))
        }
        self._addresses: dict[str, str] = {}
        self._fronts: dict[str, tuple[str, str]] = {}
        self._found: dict[str, tuple[Container, int]] = {}

    def nodes(self) -> list[str]:
        """See Place."""
        return [*self._named, *self._pools]

    def there(self) -> bool:
        """Whether any of them has been made."""
        return bool(containers.of(self.space, MAIN))

    def version(self, node: str) -> int:
        """See Place."""
        return VERSIONS[self._release]

    def address(self, node: str) -> str:
        """See Place. A pod that is off has the address that it had; another one when it is on again."""
        with suppress(LookupError):
            if found := containers.address(containers.any_process(self.container(node))):
                self._addresses[node] = found
        if node not in self._addresses:
            raise LookupError(f"{node} has no address yet")
        return self._addresses[node]

    def client(self) -> str:
        """See Place. What comes through a service has the address of one of Kubernetes' machines, or of its bridge."""
        bridges = (state.pods_of(number).replace(".0/24", ".1") for number in range(1, state.running().nodes + 1))
        return ",".join([state.NODES, *bridges])

    def known_as(self, node: str) -> str:
        """See Place."""
        return self._pools[node][0] if node in self._pools else node

    def front(self, way: str) -> tuple[str, str] | None:
        """See Place: the service."""
        name = f"{self.cluster}-write" if way == "nodes" else next(iter(self._pools.values()))[0]
        if way not in self._fronts:
            address = kubectl("-n", self.space, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}").strip()
            self._fronts[way] = (name, address)
        return self._fronts[way]

    def kept(self) -> str:
        """See Place."""
        return "/tmp/faults"

    def cannot(self, what: str) -> str:
        """See Place."""
        return CANNOT.get(what, "")

    def environment(self) -> dict[str, str]:
        """See Place."""
        programs = str(Path(state.running().program("kubectl")).parent)
        return {"KUBECONFIG": str(state.ADMIN), "PATH": f"{programs}:{os.environ['PATH']}"}

    def watching(self, into: Path) -> list[str]:
        """See Place."""
        program = Path(__file__).with_name("kubernetes") / "watching.py"
        return [sys.executable, str(program), self.space, self.cluster, str(into)]

    def container(self, node: str) -> Container:
        """The container where all of a pod's programs are; the last one where none runs. Raises LookupError."""
        known, process = self._found.get(node, (None, 0))
        if known and process and process in known.processes():
            return known
        every = [one for one in containers.of(self.space, MAIN) if self._is(node, one.pod)]
        live = [one for one in every if one.processes()]
        if node in self._pools:
            # By their pods' names, which no two have in common.
            live = sorted(live, key=lambda one: one.pod)
            every, live = sorted(every, key=lambda one: one.pod), live[self._pools[node][1] :][:1]
        if not every or (node in self._pools and not live):
            raise LookupError(f"{node} is off")
        found = (live or every)[0]
        self._found[node] = (found, containers.first_process(found))
        return found

    def _is(self, node: str, pod: str) -> bool:
        if node in self._pools:
            return bool(re.fullmatch(rf"{re.escape(self._pools[node][0])}-[a-z0-9]+-[a-z0-9]{{5}}", pod))
        if node not in self._named:
            raise LabError(f"the cluster {self.cluster} has no {node}")
        return node == pod

    def pod(self, node: str) -> str:
        """NAMESPACE/NAME of a pod. Raises LookupError."""
        return f"{self.space}/{self.container(node).pod}"

    def pid(self, node: str) -> int:
        """See Place. Raises LookupError while it is off."""
        process = containers.first_process(self.container(node))
        if not process:
            raise LookupError(f"{node} is off")
        return process

    # What is in it

    def run(self, node: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """See Place. In all of the pod's namespaces, but not in its control groups."""
        return self._entered(node, (), {}, command, stdin, check)

    def run_as(self, node: str, user: str, *command: str, check: bool = True) -> str:
        """See Place: all of a pod's programs have one user, and a home by what they are."""
        who = ("--setuid", str(USER), "--setgid", str(USER))
        return self._entered(node, who, {"HOME": HOMES[user]}, command, "", check)

    def _entered(
        self,
        node: str,
        who: Iterable[str],
        more: Mapping[str, str],
        command: Iterable[str],
        stdin: str,
        check: bool,
    ) -> str:
        process = self.pid(node)
        own = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
        given = [item for item in own if "=" in item] + [f"{name}={value}" for name, value in more.items()]
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
        words = ["nsenter", "--target", str(process), *spaces, *who, "--", "env", "--ignore-environment", *given]
        done = subprocess.run([*words, *command], input=stdin, text=True, capture_output=True, check=False)
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise LabError(f"{node}: {' '.join([*command][:4])} exited {done.returncode}: {said}")
        return done.stdout

    def in_network(self, node: str, *command: str, stdin: str = "", check: bool = True) -> str:
        """See Place."""
        return run([*self.entered(node), *command], stdin=stdin, check=check)

    def entered(self, node: str) -> list[str]:
        """See Place."""
        process = containers.any_process(self.container(node))
        if not process:
            raise LookupError(f"{node} is off")
        return ["nsenter", "--target", str(process), "--net"]

    def path(self, node: str, within: str) -> Path:
        """See Place."""
        return Path(f"/proc/{self.pid(node)}/root{within}")

    def sql(self, node: str, database: str = "postgres") -> str:
        """See Place."""
        return (
            f"host={self.path(node, '/run/postgresql')} user=postgres dbname={database} connect_timeout=2"
            f" application_name=faults options='{OPTIONS}'"
        )

    def service(self, node: str, verb: str, *services: str, check: bool = True) -> None:
        """See Place. A pod forgets failures when it starts a service."""
        for service in services if verb != FORGET else ():
            self._do(node, verb, service, check)

    def _do(self, node: str, verb: str, service: str, check: bool) -> None:
        try:
            getattr(self._services(node), verb)(service)
        except (PgherdError, LookupError) as error:
            if check:
                raise LabError(f"{node}: {verb} {service}: {error}") from error

    def service_state(self, node: str, service: str) -> str:
        """See Place."""
        try:
            return str(self._services(node).state(service))
        except PgherdError as error:
            return str(error)

    def service_wanted(self, node: str, service: str) -> bool:
        """See Place: what process 1 of a pod runs at all, it starts."""
        try:
            return bool(self._services(node).state(service))
        except PgherdError:
            return False

    def main_process(self, node: str, service: str) -> int:
        """See Place."""
        try:
            return int(self._services(node).process(service))
        except PgherdError as error:
            raise LabError(f"{node}: {error}") from error

    def _services(self, node: str) -> PodServices:
        return PodServices(str(self.path(node, SOCKET)))

    def log(self, node: str, since: float, *services: str) -> list[tuple[float, str]]:
        """See Place: what kubelet has of it, without the names of programs before the lines."""
        found = []
        for at, line in self._said(node, since):
            name, _colon, rest = line.partition(": ")
            if not services or name in services:
                found.append((at, rest))
        return found

    def report(self, node: str, since: float, *services: str) -> str:
        """See Place. Process 1's own lines are among them."""
        wanted = (*services, "process 1")
        lines = (item for item in self._said(node, since) if not services or item[1].partition(": ")[0] in wanted)
        return "".join(
            f"{datetime.fromtimestamp(at).isoformat(timespec='milliseconds')} {line}\n" for at, line in lines
        )

    def _said(self, node: str, since: float) -> list[tuple[float, str]]:
        with suppress(LookupError):
            found = []
            for path in sorted(self.container(node).logs.glob("*.log*")):
                if path.suffix == ".gz" or path.stat().st_mtime < since:
                    continue
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    stamp, _stream, _part, said = [*line.split(" ", 3), "", "", ""][:4]
                    if (at := _time(stamp)) >= since:
                        found.append((at, said))
            return sorted(found, key=lambda item: item[0])
        return []

    # What can be done to it

    def processes(self, node: str) -> dict[int, str]:
        """See Place."""
        found = {}
        for number in self.container(node).processes():
            # It may have just ended.
            with suppress(OSError):
                found[number] = words_of(number)
        return found

    def signal(self, processes: Iterable[int], number: signal.Signals) -> None:
        """See Place."""
        send(processes, number)

    def drop(self, node: str, rules: Iterable[str]) -> None:
        """See Place. Its own kubelet still hears how it is, as it would beside it."""
        beside, port = state.pods_of(self.container(node).node).replace(".0/24", ".1"), self._agent_port
        probes = [f"-s {beside} -p tcp --dport {port} -j RETURN", f"-d {beside} -p tcp --sport {port} -j RETURN"]
        packets.drop(self.entered(node), rules, probes)

    def join(self, node: str) -> bool:
        """See Place. Those of its machine pass again too."""
        machine = self.container(node).node
        cut = bool(state.first_process(machine)) and network.is_cut(machine)
        if cut:
            network.heal(machine)
        return packets.join(self.entered(node)) or cut

    def freeze(self, node: str) -> None:
        """See Place."""
        containers.freeze(self.container(node))

    def thaw(self, node: str) -> None:
        """See Place."""
        containers.freeze(self.container(node), still=False)

    def power_off(self, *nodes: str) -> None:
        """See Place."""
        if not self.whole_machines:
            for node in nodes:
                packets.drop(self.entered(node), ["-i lo -j RETURN", "-o lo -j RETURN", "-j DROP"])
                self.freeze(node)
            return
        off = sorted({self.container(node).node for node in nodes})
        with state.lock():
            for machine in off:
                network.disconnect(machine)
            self.lead_past(off)
            for machine in off:
                machines.down(machine)

    def power_on(self, *nodes: str) -> None:
        """See Place."""
        if not self.whole_machines:
            for node in nodes:
                try:
                    container = self.container(node)
                except LookupError:
                    # Kubernetes has taken it away, and makes another where it may.
                    until(f"another pod {node}", lambda node=node: self.state(node) != "off", BOOT)
                    continue
                # With its network, whose packets are dropped; kubelet makes all of it anew.
                self.signal(containers.every_process(container), signal.SIGKILL)
                self.thaw(node)
                until(f"the end of {node}", lambda container=container: not container.processes(), BOOT)
            return
        with state.lock():
            for machine in range(1, state.running().nodes + 1):
                # What was on one that is off may be anywhere.
                if not state.first_process(machine) and machine in self._machines(nodes):
                    machines.up(machine)
            self.lead_past(())

    def _machines(self, nodes: Iterable[str]) -> set[int]:
        """Where pods run or were last; everywhere, where that is not known."""
        try:
            return {self.container(node).node for node in nodes}
        except LookupError:
            return set(range(1, state.running().nodes + 1))

    def lead_past(self, off: Iterable[int]) -> None:
        """Services are reached from this machine through the first machine of Kubernetes that has power, as a balancer would."""
        on = [machine for machine in range(1, state.running().nodes + 1) if machine not in off]
        if on:
            run(["ip", "route", "replace", state.SERVICES, "via", state.address(on[0])])

    def booted(self, node: str) -> bool:
        """See Place."""
        try:
            return bool(self._services(node).state("agent"))
        except (PgherdError, LookupError):
            return False

    def state(self, node: str) -> str:
        """See Place."""
        try:
            container = self.container(node)
            if not containers.first_process(container):
                return "off"
            if not containers.frozen(container):
                return "running"
            return "off" if not self.whole_machines and packets.is_cut(self.entered(node)) else "paused"
        except LookupError:
            return "off"

    def heal(self) -> list[str]:
        """See Place: the API server, the machines' network, and where pods may run. Their power is the nodes'."""
        healed = []
        with state.lock():
            if not control.answers():
                control.start(*control.PARTS)
                healed.append("API-server-started")
            for machine in machines.on():
                if network.is_cut(machine):
                    network.heal(machine)
                    healed.append(f"{state.name_of(machine)}-joined")
            for machine in harm.cordoned():
                harm.uncordon(machine)
                healed.append(f"{state.name_of(machine)}-uncordoned")
            if set(machines.on()) == set(range(1, state.running().nodes + 1)):
                self.lead_past(())
        return healed


def _time(stamp: str) -> float:
    """Seconds of CLOCK_REALTIME that kubelet means; 0 for what is no time."""
    whole, _dot, part = stamp.rstrip("Z").partition(".")
    try:
        return datetime.strptime(f"{whole}+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp() + float(f"0.{part or 0}")
    except ValueError:
        return 0.0
