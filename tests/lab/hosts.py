# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Clusters of systemd test hosts: podman containers that behave like freshly installed Debian machines.

What exists is read from podman (labels), never from a file of ours, so nothing goes stale. Host names resolve through
each host's own /etc/hosts, on its own layer: it survives a restart and can grow when a host is added. A cluster of rough
hosts (rough.py) has a name server.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import images
import rough
from machine import LAB, LabError, boot_flags, enough_inotify, podman, run, say, until

CLUSTER, HOST, RELEASE, ADDRESS = "pgherd.lab", "pgherd.host", "pgherd.release", "pgherd.address"
ROUGH = "pgherd.rough"  # the label of a rough host
DEMO = "demo"  # its containers carry the inventory's names; those of any other cluster are prefixed
SUBNETS = ipaddress.ip_network("172.30.80.0/20")  # one /24 per cluster; the first is the demo's
FIRST_ADDRESS = 11
KEY = LAB / "id_ed25519"

# Run in a host: its names, and who may log in. Prints the host key for known_hosts.
_SETTLE = """\
set -eu
printf '127.0.0.1 localhost\\n%s\\n' "$2" >/etc/hosts
mkdir -p -m 700 /root/.ssh
printf '%s\\n' "$1" >/root/.ssh/authorized_keys
cat /etc/ssh/ssh_host_ed25519_key.pub
"""


@dataclass(frozen=True)
class Host:
    """One test host: its name inside the cluster, Debian release, fixed address and podman's state of it."""

    cluster: str
    name: str
    release: str
    address: str
    state: str = "missing"
    rough: bool = False

    @property
    def container(self) -> str:
        """The container's name, which is the plain host name for the demo only."""
        return self.name if self.cluster == DEMO else f"{self.cluster}-{self.name}"


def hosts(cluster: str) -> list[Host]:
    """The hosts of a cluster that exist, running or not, ordered by address."""
    listed = json.loads(podman("ps", "--all", "--filter", f"label={CLUSTER}={cluster}", "--format", "json") or "[]")
    found = [
        Host(cluster, labels[HOST], labels[RELEASE], labels[ADDRESS], item["State"], ROUGH in labels)
        for item in listed
        for labels in [item["Labels"]]
    ]
    return sorted(found, key=lambda host: ipaddress.ip_address(host.address))


def host(cluster: str, name: str) -> Host:
    """One existing host; LabError names the ones that exist."""
    for found in hosts(cluster):
        if found.name == name:
            return found
    raise LabError(f"no host {name} in cluster {cluster}: it has {', '.join(h.name for h in hosts(cluster)) or 'none'}")


def _network(cluster: str, subnet: str | None, is_rough: bool) -> ipaddress.IPv4Network:
    """The cluster's own network, made when missing: the given subnet or the first that nobody on this machine uses."""
    name = f"pgherd-{cluster}"
    networks = json.loads(podman("network", "inspect", *podman("network", "ls", "--quiet").split()))
    taken = {item["name"]: [ipaddress.ip_network(s["subnet"]) for s in item.get("subnets") or []] for item in networks}
    if name in taken:
        return next(network for network in taken[name] if isinstance(network, ipaddress.IPv4Network))
    used = [network for subnets in taken.values() for network in subnets]
    free = (n for n in SUBNETS.subnets(new_prefix=24) if n.network_address != SUBNETS.network_address)
    wanted = [ipaddress.ip_network(subnet)] if subnet else list(free)
    for candidate in wanted:
        if not any(candidate.overlaps(network) for network in used if network.version == 4):
            more = ("--ipv6", "--subnet", str(rough.network6(candidate))) if is_rough else ()
            podman("network", "create", "--disable-dns", "--subnet", str(candidate), *more, name)
            return candidate  # type: ignore[return-value]
    raise LabError(f"no free network for {cluster}: {', '.join(map(str, wanted[:1]))} ... overlaps another of podman's")


def _make(new: Host) -> None:
    # A restart makes a new interface: with the same hardware address the neighbours' ARP entries stay right.
    mac = "02:70:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(new.address).packed)
    named = ["--hostname", new.name]
    podman(
        *("run", "--detach", "--name", new.container, "--no-hosts"),
        *("--network", f"pgherd-{new.cluster}", "--ip", new.address, "--mac-address", mac),
        *("--shm-size", "256m", "--stop-signal", "SIGRTMIN+3"),  # systemd's "halt"
        *("--label", f"{CLUSTER}={new.cluster}", "--label", f"{HOST}={new.name}"),
        *("--label", f"{RELEASE}={new.release}", "--label", f"{ADDRESS}={new.address}"),
        *boot_flags(rough.TMP if new.rough else ""),
        *(["--label", ROUGH, *rough.flags(new.name, new.address)] if new.rough else named),
        *(images.reference(new.release), "/sbin/init"),
    )


def _wake(existing: Host) -> None:
    if existing.state == "paused":
        podman("unpause", existing.container)
    elif existing.state != "running":
        podman("start", existing.container)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _public_key() -> str:
    """The lab's public key; the pair is made once per checkout."""
    if not KEY.exists():
        KEY.parent.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pgherd lab", "-f", str(KEY)])
    return KEY.with_suffix(".pub").read_text().strip()


def _settle(cluster: str) -> None:
    """Wait until every running host answers ssh, give each the names of all, and write the inventory piece."""
    everyone = hosts(cluster)
    running = [h for h in everyone if h.state == "running"]
    names, key = "\n".join(f"{h.address} {h.name}" for h in everyone), _public_key()

    def settle(one: Host) -> str:
        until(f"ssh on {one.container} ({one.address})", lambda: _answers(one.address), seconds=60)
        if one.rough:
            return f"{one.address} {rough.settle(one.container, one.name, key)}"
        return f"{one.address} {podman('exec', '-i', one.container, 'sh', '-s', '--', key, names, stdin=_SETTLE)}"

    with ThreadPoolExecutor(8) as pool:
        lines = list(pool.map(settle, running))
    directory = LAB / cluster
    directory.mkdir(parents=True, exist_ok=True)
    if everyone[0].rough:
        rough.reach(directory, {h.name: h.address for h in everyone})
    known, fresh = directory / "known_hosts", {line.split()[0] for line in lines}
    kept = [line for line in known.read_text().splitlines() if line.split()[0] not in fresh] if known.exists() else []
    known.write_text("\n".join([*kept, *(line.strip() for line in lines)]) + "\n")
    (directory / "hosts.yml").write_text(json.dumps(inventory(cluster), indent=2) + "\n")  # JSON is YAML


def inventory(cluster: str) -> dict[str, object]:
    """How the hosts of a cluster are reached, as an Ansible inventory; a person's inventory says what they are."""
    everyone = hosts(cluster)
    if not everyone:
        return {}
    subnet = ipaddress.ip_network(f"{everyone[0].address}/24", strict=False)
    is_rough = everyone[0].rough
    # Who connects by address, and not by Ansible, takes the lab's own variable: rough hosts have no ansible_host.
    each: dict[str, dict[str, object]] = {
        h.name: {"lab_addresses": [h.address, rough.address6(h.address)]}
        if h.rough
        else {"lab_addresses": [h.address], "ansible_host": h.address}
        for h in everyone
    }
    # Without -C: compressing between containers of one machine only costs processor time.
    ssh = "-o ControlMaster=auto -o ControlPersist=300s -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
    reached = rough.variables(LAB / cluster) if is_rough else {"ansible_user": "root", "ansible_ssh_common_args": ""}
    variables = {
        **reached,
        "ansible_ssh_private_key_file": str(KEY),
        "ansible_ssh_args": ssh,
        "ansible_ssh_common_args": f"{reached['ansible_ssh_common_args']} "
        f"-o UserKnownHostsFile={LAB / cluster / 'known_hosts'}"
        " -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        "ansible_control_path": f"{_CONTROL}-{cluster}-%%h",
        "ansible_ssh_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "lab_network": str(subnet),
        "lab_directory": str(LAB / cluster),
    }
    return {"all": {"hosts": each, "vars": variables}}


def inventory_script(cluster: str) -> dict[str, object]:
    """The same in the shape that Ansible expects from an inventory script."""
    # Pods have a directory too.
    group = inventory(cluster).get("all", {"hosts": {}, "vars": {"lab_directory": str(LAB / cluster)}})
    assert isinstance(group, dict)
    return {"all": {**group, "hosts": list(group["hosts"])}, "_meta": {"hostvars": group["hosts"]}}


_CONTROL = Path.home() / ".ansible/cp/pgherd"  # short: a socket's path has at most 107 bytes


@contextmanager
def _alone(cluster: str) -> Iterator[None]:
    """One ``up`` or ``down`` of a cluster at a time on this machine."""
    with open(f"/tmp/pgherd-lab-{os.getuid()}-{cluster}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hang_up(which: str) -> None:
    """End the connections that ssh keeps open to hosts, by a pattern of CLUSTER-ADDRESS."""
    for socket_path in _CONTROL.parent.glob(f"{_CONTROL.name}-{which}"):
        run(["ssh", "-O", "exit", "-o", f"ControlPath={socket_path}", "host"], check=False)
        socket_path.unlink(missing_ok=True)


def up(cluster: str, wanted: dict[str, str], subnet: str | None = None, is_rough: bool = False) -> None:
    """Make sure that every wanted host (name -> Debian release) exists and runs, as a rough one where that is asked.

    Living hosts stay as they are, stopped ones are started, missing ones are made. Raises LabError.
    """
    if is_rough and (plain := [name for name in wanted if "." not in name]):
        raise LabError(f"rough hosts are called by their name in a domain, such as pg1.rough.test, not {plain[0]}")
    images.ensure_all(sorted({*wanted.values(), *([rough.RELEASE] if is_rough else [])}))
    enough_inotify()
    with _alone(cluster):
        network = _network(cluster, subnet, is_rough)
        existing = {h.name: h for h in hosts(cluster)}
        if existing and not any(ipaddress.ip_address(h.address) in network for h in existing.values()):
            raise LabError(
                f"the hosts of {cluster} are not in its network {network}: remove them with `down {cluster}`"
            )
        new = [
            Host(cluster, name, release, "", rough=is_rough) for name, release in wanted.items() if name not in existing
        ]
        taken = {h.address for h in existing.values()}
        free = [str(a) for a in list(network.hosts())[FIRST_ADDRESS - 1 :] if str(a) not in taken]
        new = [replace(host, address=address) for host, address in zip(new, free, strict=False)]
        say(f"{cluster}: {len(existing)} hosts are there, making {', '.join(h.name for h in new) or 'none'}")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(_wake, [h for h in existing.values() if h.name in wanted]))
            list(pool.map(_make, new))
        if is_rough:
            rough.serve_names(cluster, network, {h.name: h.address for h in hosts(cluster)})
        _settle(cluster)


def add(cluster: str, name: str, release: str) -> None:
    """One more host for an existing cluster; the living ones learn its name."""
    everyone = hosts(cluster)
    if not everyone:
        raise LabError(f"no cluster {cluster} to add {name} to")
    wanted = {h.name: h.release for h in everyone if h.state == "running"}
    up(cluster, {**wanted, name: release or everyone[0].release}, is_rough=everyone[0].rough)


def stop(cluster: str, name: str) -> None:
    """Switch a host off as a power cut does."""
    found = host(cluster, name)
    podman("kill", found.container)
    # Whoever comes soon after the power is back would be sent through a connection of which the host knows nothing.
    _hang_up(f"{cluster}-{found.address}")


def start(cluster: str, name: str) -> None:
    """Switch a stopped or frozen host on again and wait for its ssh."""
    _wake(host(cluster, name))
    _settle(cluster)


def down(cluster: str) -> None:
    """Remove the hosts, the network and the inventory piece of one cluster, and nothing else."""
    if not shutil.which("podman"):
        return
    with _alone(cluster):
        everyone = hosts(cluster)
        _hang_up(f"{cluster}-*")
        if everyone:
            podman("rm", "--force", "--time", "0", "--volumes", *(h.container for h in everyone))
        rough.forget_names(cluster)
        podman("network", "rm", "--force", f"pgherd-{cluster}", check=False)
        shutil.rmtree(LAB / cluster, ignore_errors=True)
        say(f"{cluster}: removed {', '.join(h.name for h in everyone) or 'nothing, no host was there'}")
