# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Processes of this host, as proc(5) shows them: those that work in a directory, and whether one listens on a port."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress

from ..errors import PgherdError
from .wait import last_look


def naming(directory: str, programs: Collection[str]) -> tuple[int, ...]:
    """Processes of *programs*, by name without a path, that have a path below *directory* in an argument.

    The path may be a part of the argument (``--pgdata=/path``).
    """
    wanted = os.fsencode(directory.rstrip("/") + "/")
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return tuple(pid for pid in pids if _matches(pid, wanted, programs))


def _matches(pid: int, wanted: bytes, programs: Collection[str]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            program, *words = stream.read().split(b"\0")
    except OSError:  # it has ended
        return False
    return os.path.basename(os.fsdecode(program)) in programs and any(wanted in word for word in words)


def commands(program: str, verbs: Collection[str]) -> dict[int, str]:
    """By process those that run the script *program* with one of *verbs* as its next word: when the process began, in the
    kernel's ticks, and all of its words."""
    found = {}
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        with suppress(OSError, IndexError, ValueError):  # it has ended
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                words = stream.read().decode(errors="replace").split("\0")
            if words[words.index(program) + 1] in verbs and _runs(pid):
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                    began = stream.read().rpartition(")")[2].split()[19]
                found[pid] = f"{began} {' '.join(words).strip()}"
    return found


def beneath(parent: int) -> tuple[tuple[str, ...], ...]:
    """The words of each process that *parent* has started and that has not ended."""
    found = []
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        with suppress(OSError, IndexError, ValueError):  # it has ended
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                if int(stream.read().rpartition(")")[2].split()[1]) != parent:
                    continue
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                if words := stream.read():  # of one that has ended, and was not waited for, there are none
                    found.append(tuple(os.fsdecode(words).rstrip("\0").split("\0")))
    return tuple(found)


def end(pids: Iterable[int], timeout: float = 10.0) -> None:
    """Kill processes, which then cannot clean up after themselves, and wait *timeout* seconds until they are gone.

    Raises PgherdError that names those that stay.
    """
    left = set(pids)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def gone() -> bool:
        left.intersection_update([pid for pid in left if _runs(pid)])
        return not left

    if not last_look(gone, bool, timeout, 0.05):
        raise PgherdError(
            f"end the processes {', '.join(map(str, sorted(left)))}, which an earlier attempt has left: they are "
            f"still there after {timeout:g} s.",
            "See what they are waiting for: ps -o pid,stat,wchan,args",
        )


def _runs(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def directories_of(program: str) -> tuple[str, ...]:
    """The current directories of all processes of *program*, by the name that the kernel has for it, which see this host's
    own files: what runs in a container does not."""
    found = set()
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and _is(entry, program) and os.path.samefile(f"/proc/{entry}/root", "/"):
                found.add(os.readlink(f"/proc/{entry}/cwd"))
    return tuple(sorted(found))


def _is(pid: str, program: str) -> bool:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip() == program


def listening(port: int, tables: Iterable[str] = ("/proc/net/tcp", "/proc/net/tcp6")) -> bool:
    """Whether something on this host listens on TCP *port*: by the kernel's *tables*, which disturbs nobody."""
    wanted = f":{port:04X}"
    for table in tables:
        with suppress(OSError), open(table, encoding="ascii") as stream:
            # "sl local_address rem_address st": addresses end in the port in hexadecimal, 0A is TCP_LISTEN.
            # A host may have many thousands: most are passed over before they are taken apart.
            rows = (line.split() for line in stream if wanted in line)
            if any(row[3] == "0A" and row[1].endswith(wanted) for row in rows if len(row) > 3):
                return True
    return False
