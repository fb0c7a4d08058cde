# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Nodes of the lab's Kubernetes from outside: power on, power off, freeze.

A node is a network, mount, process, host name and ipc namespace of this machine, with containerd, kubelet, kube-proxy and
kube-router in it (node.py). The end of its process 1 is that of all its pods: a power cut.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import certificates
import network
import state
from control import kubectl
from machine import LabError, run, unified_cgroups, until
from state import API_SERVICE, LOGS, MADE, STATE, name_of

GROUPS, GROUP = Path("/sys/fs/cgroup"), "pgherd-kubernetes"
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")  # of cgroup v1
DIRECTORIES = (
    *("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"),
    *("/etc/cni/net.d", "/opt/local-path-provisioner"),
)
# Tells whether the API server answers at its service's address, which is kube-proxy's work.
_SERVED = f"import socket; socket.create_connection(('{API_SERVICE}', 443), 1).close()"


def up(node: int) -> None:
    """Boot a node that is off; it comes up with the state that it had. Returns at once."""
    if state.first_process(node):
        return
    down(node)  # whatever a crash has left
    name = name_of(node)
    certificates.client(name, f"/O=system:nodes/CN=system:node:{name}")
    for directory in map(Path, DIRECTORIES):
        (STATE / name / str(directory).lstrip("/")).mkdir(parents=True, exist_ok=True)
        _mount_point(directory)
    network.connect(node)
    for group in groups(node):
        _group(group / "daemons")
    spaces = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
    inner = ("catatonit", "--", sys.executable, Path(__file__).with_name("node.py"), str(node))
    state.start(name, [*network.entered(node), *spaces, *inner])


def down(node: int) -> None:
    """Power off: nobody is told. What it has on disk stays."""
    network.disconnect(node)
    state.stop(name_of(node))
    network.forget(node)

    def removed() -> bool:
        left = [group for group in groups(node) if group.exists()]
        for group in left:
            for folder in sorted(group.rglob("*"), reverse=True):
                if folder.is_dir():
                    # Its last process is about to leave it.
                    with suppress(OSError):
                        folder.rmdir()
            with suppress(OSError):
                group.rmdir()
        return not left

    until(f"the end of {name_of(node)}'s control groups", removed, every=0.1)


def ready(node: int) -> None:
    """Wait until pods can run on a node and reach services from it."""
    name = name_of(node)

    def usable() -> bool:
        # Its process 1 may not be there yet; what makes it is.
        if not state.processes(name):
            raise LabError(f"{name} ended: {LOGS}/{name}.log has its own words")
        if "True" not in kubectl("get", "node", name, "-o", f"jsonpath={_CONDITION}", check=False):
            return False
        with suppress(LabError):
            return run([*network.entered(node), sys.executable, "-c", f"{_SERVED}; print('served')"]) != ""
        return False

    until(f"{name} to be ready; {LOGS}/{name}*.log have its own words", usable, seconds=180)


_CONDITION = "{.status.conditions[?(@.type=='Ready')].status}"


def inside(node: int, *command: str, stdin: str = "", check: bool = True) -> str:
    """Standard output of a command in a running node. Raises LabError, LookupError where the node is off."""
    first = state.first_process(node)
    if not first:
        raise LookupError(f"{name_of(node)} is off")
    enter = ("nsenter", "--target", str(first), "--mount", "--pid", "--net", "--uts", "--ipc", "--")
    return run([*enter, *command], stdin=stdin, check=check)


def on() -> list[int]:
    """Numbers of the nodes that are on."""
    return [node for node in range(1, state.MOST_NODES + 1) if state.first_process(node)]


def freeze(node: int, frozen: bool = True) -> None:
    """A node stands still as a whole, or goes on as if no time had passed."""
    if unified_cgroups():
        (groups(node)[0] / "cgroup.freeze").write_text("1" if frozen else "0")
        return
    setting = GROUPS / "freezer" / GROUP / name_of(node) / "freezer.state"

    def done() -> bool:
        setting.write_text("FROZEN" if frozen else "THAWED")
        return setting.read_text().strip() == ("FROZEN" if frozen else "THAWED")

    until(f"{name_of(node)} to {'freeze' if frozen else 'thaw'}", done)


def groups(node: int) -> list[Path]:
    """A node's control group in every hierarchy. Each kubelet has one of its own: it takes others' pods for lost ones."""
    tops = [GROUPS] if unified_cgroups() else [GROUPS / name for name in CONTROLLERS if (GROUPS / name).is_dir()]
    return [top / GROUP / name_of(node) for top in tops]


def forget_groups() -> None:
    """Remove what held the nodes' control groups."""
    for group in groups(1):
        with suppress(FileNotFoundError):
            group.parent.rmdir()


def _group(folder: Path) -> None:
    """Make a control group and those above it, of cgroup v1 with the processors of the machine, of v2 with its controllers."""
    if folder.exists():
        return
    _group(folder.parent)
    if unified_cgroups():
        given = (folder.parent / "cgroup.controllers").read_text().split()
        (folder.parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in given))
    folder.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not unified_cgroups() and (folder / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _mount_point(directory: Path) -> None:
    """Make a directory where a node's own is mounted, and write down what this machine had not."""
    if directory.exists():
        return
    _mount_point(directory.parent)
    directory.mkdir()
    with MADE.open("a") as made:
        made.write(f"{directory}\n")


def forget_mount_points() -> None:
    """Remove the directories that this machine had not before, unless somebody uses them by now."""
    if MADE.exists():
        for line in reversed(MADE.read_text().splitlines()):
            with suppress(OSError):
                Path(line).rmdir()
