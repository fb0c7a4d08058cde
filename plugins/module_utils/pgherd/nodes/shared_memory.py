# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a server's shared memory can be tried for beside a server that runs, which holds its own until it stops.

Memory that is only mapped costs nothing on most hosts. It is taken in advance for huge pages, and counted in advance where the
kernel is told not to promise more than there is (vm.overcommit_memory 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# In the place of what a trial may not ask for.
LITTLE = {"shared_buffers": "1MB", "huge_pages": "off"}
# Of its memory, what a start writes to: descriptors of buffers, tables of locks (InitBufferPool(), LockManagerShmemInit()).
TOUCHED = 0.03


@dataclass(frozen=True)
class HostMemory:
    """What a host has, in bytes, by /proc/meminfo, and its vm.overcommit_memory."""

    meminfo: Mapping[str, int]
    overcommit: int

    @property
    def free_huge(self) -> int:
        """What is left of the memory for huge pages."""
        free = self.meminfo.get("HugePages_Free", 0) - self.meminfo.get("HugePages_Rsvd", 0)
        return free * self.meminfo.get("Hugepagesize", 0)


@dataclass(frozen=True)
class SharedMemory:
    """Shared memory of a server that runs, in bytes: of the plain kind, and in huge pages."""

    plain: int = 0
    huge: int = 0

    def __bool__(self) -> bool:
        return bool(self.plain or self.huge)


def fits(pages: int, huge_pages: str, held: SharedMemory, host: HostMemory) -> bool:
    """Whether a start that needs *pages* huge pages, -1 for not known, can be tried with all its memory while a server *held*
    some. Where it cannot, it would fail for what that server has, or take from it what it needs; where no host as this could
    give it, PostgreSQL is asked, and says so."""
    needed = pages * host.meminfo.get("Hugepagesize", 0)
    if needed <= 0:
        return True
    if huge_pages == "on":
        return not host.free_huge < needed <= host.free_huge + held.huge
    if host.overcommit == 2:
        free = host.meminfo.get("CommitLimit", 0) - host.meminfo.get("Committed_AS", 0)
        return not free < needed <= free + held.plain
    nowhere = host.overcommit == 0 and needed > host.meminfo["MemTotal"] + host.meminfo.get("SwapTotal", 0)
    return nowhere or needed * TOUCHED < host.meminfo.get("MemAvailable", 0) / 2


def host() -> HostMemory:
    """What this host has."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        meminfo = parse_meminfo(stream.read())
    with open("/proc/sys/vm/overcommit_memory", encoding="ascii") as stream:
        return HostMemory(meminfo, int(stream.read()))


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo, with its kB as bytes; pages are numbers."""
    found = re.findall(r"^(\w+):\s+(\d+)( kB)?$", text, re.MULTILINE)
    return {name: int(number) * (1024 if unit else 1) for name, number, unit in found}


def held(data: str) -> SharedMemory:
    """What the server with the data directory *data* holds; nothing where none runs."""
    try:
        with open(f"{data}/postmaster.pid", encoding="ascii") as stream:
            process = int(stream.readline())
        with open(f"/proc/{process}/maps", encoding="utf-8", errors="replace") as stream:
            return parse_maps(stream.read())
    except (OSError, ValueError):
        return SharedMemory()


def parse_maps(text: str) -> SharedMemory:
    """Shared memory without a file in /proc/PID/maps (proc(5)): such of mmap() is /dev/zero's, or huge, or of System V."""
    sizes = {"zero": 0, "anon_hugepage": 0, "SYSV": 0}
    for start, end, name in re.findall(
        r"^([0-9a-f]+)-([0-9a-f]+) rw-s .*?/(?:dev/)?(zero|anon_hugepage|SYSV)", text, re.MULTILINE
    ):
        sizes[name] += int(end, 16) - int(start, 16)
    return SharedMemory(sizes["zero"] + sizes["SYSV"], sizes["anon_hugepage"])
