# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Containers of the lab's pods as this machine's processes, found without asking Kubernetes, which a fault may have taken away:
kubelet's links to their logs have their names, and control groups have their processes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nodes
from machine import LabError, unified_cgroups, until
from state import MOST_NODES, STATE, name_of

PROC = Path("/proc")
FREEZE = 30  # seconds; one that forks all the time, on a busy machine, may slip away from its freezer (cgroup v1)


@dataclass(frozen=True)
class Container:
    """One that runs or has run: the number of its node, its pod with what tells that from others of its name, containerd's number
    of it, and when kubelet made it (seconds of CLOCK_REALTIME)."""

    node: int
    space: str
    pod: str
    identity: str
    name: str
    number: str
    made: float

    @property
    def logs(self) -> Path:
        """The directory of what it and those before it in its pod have said."""
        pods = STATE / name_of(self.node) / "var/log/pods"
        return pods / f"{self.space}_{self.pod}_{self.identity}" / self.name

    def group(self, of: str = "freezer") -> Path | None:
        """Its pod's control group, of the hierarchy that freezes, or of another controller; None where the pod does not run."""
        tops = [top for top in nodes.groups(self.node) if unified_cgroups() or top.parts[4] == of]
        found = [path for top in tops for form in _FORMS for path in top.glob(form.format(self.identity))]
        return found[0] if found else None

    def processes(self) -> list[int]:
        """Its processes, as this machine numbers them."""
        group = self.group()
        return _members(group / self.number) if group else []


_FORMS = ("kubepods/pod{}", "kubepods/*/pod{}")
_LINK = re.compile(r"(?P<pod>[^_]+)_(?P<space>[^_]+)_(?P<name>.+)-(?P<number>[0-9a-f]{64})\.log")


def of(space: str, name: str) -> list[Container]:
    """All containers called *name* of a namespace's pods, the newest first."""
    found = []
    for node in range(1, MOST_NODES + 1):
        for link in (STATE / name_of(node) / "var/log/containers").glob(f"*_{space}_{name}-*.log"):
            said = _LINK.fullmatch(link.name)
            # It may have just been taken away.
            with suppress(OSError):
                if said and said["name"] == name:
                    identity = Path(os.readlink(link)).parts[-3].rsplit("_", 1)[1]
                    made = link.lstat().st_mtime
                    found.append(Container(node, space, said["pod"], identity, name, said["number"], made))
    return sorted(found, key=lambda one: one.made, reverse=True)


def first_process(container: Container) -> int:
    """Process 1 of a container, as this machine numbers it; 0 where it does not run."""
    for number in container.processes():
        with suppress(OSError):
            for line in (PROC / str(number) / "status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[-1] == "1":
                    return number
    return 0


def any_process(container: Container) -> int:
    """A process in the network of a container's pod; 0 where the pod does not run. There is one also between two containers."""
    return next(iter(every_process(container)), 0)


def every_process(container: Container) -> list[int]:
    """The processes of all containers of its pod, and of what keeps its network."""
    group = container.group()
    parts = sorted(path for path in group.iterdir() if path.is_dir()) if group else []
    return [process for path in parts for process in _members(path)]


def _members(group: Path) -> list[int]:
    try:
        return [int(word) for word in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def address(process: int) -> str:
    """The address of the network of a process; '' where it has none."""
    last = ""
    with suppress(OSError):
        for line in (PROC / str(process) / "net/fib_trie").read_text().splitlines():
            words = line.split()
            if words[:1] == ["|--"]:
                last = words[1]
            elif words[:3] == ["/32", "host", "LOCAL"] and not last.startswith("127."):
                return last
    return ""


def frozen(container: Container) -> bool:
    """Whether its pod stands still."""
    group = container.group()
    if not group:
        return False
    name, word = ("cgroup.freeze", "1") if unified_cgroups() else ("freezer.state", "THAWED")
    with suppress(OSError):
        said = (group / name).read_text().strip()
        return said == word if unified_cgroups() else said != word
    return False


def freeze(container: Container, still: bool = True) -> None:
    """Its pod stands still as a whole, or goes on. Raises LabError."""
    group = container.group()
    if not group:
        raise LabError(f"{container.pod} does not run")
    if unified_cgroups():
        (group / "cgroup.freeze").write_text("1" if still else "0")
        return
    setting, wanted = group / "freezer.state", "FROZEN" if still else "THAWED"

    def done() -> bool:
        setting.write_text(wanted)
        return setting.read_text().strip() == wanted

    until(f"{container.pod} to be {wanted.lower()}", done, FREEZE, 0.05)


def limit(container: Container, room: int | None) -> None:
    """Let a container have *room* bytes of memory more than it uses now; None: as much as it likes. Beyond, the kernel kills one
    of its processes, or all (cgroup v2). Raises LabError where it does not run, OSError where so little is not possible."""
    group = _memory(container)
    used = group / ("memory.current" if unified_cgroups() else "memory.usage_in_bytes")
    most = group / ("memory.max" if unified_cgroups() else "memory.limit_in_bytes")
    endless = "max" if unified_cgroups() else "-1"
    most.write_text(endless if room is None else str(int(used.read_text()) + room))


def killed_for_memory(container: Container) -> int:
    """How many of its processes the kernel has killed because it had too little memory. Raises LabError."""
    file = _memory(container) / ("memory.events" if unified_cgroups() else "memory.oom_control")
    words = dict(line.split() for line in file.read_text().splitlines())
    return int(words["oom_kill"])


def _memory(container: Container) -> Path:
    group = container.group("memory")
    if not group:
        raise LabError(f"{container.pod} does not run")
    return group / container.number
