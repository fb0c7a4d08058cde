# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod's programs say, on the standard output of process 1: one line each, behind the name of who says it.

Each program writes into a pipe of its own, which this process keeps open: it outlives every process of the program, and who
writes into it never finds it closed.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import sys
import termios
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ...ports.wait import last_look
from ...text import one_line

# Bytes of a line after which it is cut in two, and of a kept log after which it begins anew.
LONGEST, LARGEST = 16384, 4 << 20
_WRITING = threading.Lock()


def prefixed(name: str, line: bytes) -> str:
    """The *line* that the program *name* has said, as it is shown."""
    return f"{name}: {one_line(line.decode(errors='replace').expandtabs().rstrip())}"


def split(rest: bytes, more: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines in *rest* and what came after it, and what is left; a line that does not end is cut."""
    *whole, left = (rest + more).split(b"\n")
    while len(left) > LONGEST:
        whole.append(left[:LONGEST])
        left = left[LONGEST:]
    return [part[at : at + LONGEST] for part in whole for at in range(0, max(1, len(part)), LONGEST)], left


def say(line: str) -> None:
    """One line on standard output, at once, whole beside those of other threads."""
    with _WRITING:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class Output:
    """Pipes for programs by *names*. *kept*: files that what a program says goes to as well, by its name."""

    def __init__(self, names: Iterable[str], kept: Mapping[str, str] | None = None) -> None:
        self._pipes = {name: os.pipe() for name in names}
        self._kept = dict(kept or {})

    def of(self, name: str) -> int | None:
        """What the program *name* is to have as standard output and error."""
        return self._pipes[name][1] if name in self._pipes else None

    def start(self) -> None:
        """Show what comes, beside the caller, until this process ends."""
        threading.Thread(target=self._show, name="output", daemon=True).start()

    def drain(self, seconds: float = 1.0) -> None:
        """Wait until all that was said is shown, at most *seconds*."""
        waiting = [reading for reading, _writing in self._pipes.values()]
        last_look(lambda: any(map(_waiting, waiting)), lambda some: not some, seconds, 0.01)

    def _show(self) -> None:
        rests = dict.fromkeys(self._pipes, b"")
        with selectors.DefaultSelector() as selector:
            for name, (reading, _writing) in self._pipes.items():
                os.set_blocking(reading, False)
                selector.register(reading, selectors.EVENT_READ, name)
            while True:
                for key, _events in selector.select():
                    name = key.data
                    with suppress(BlockingIOError):
                        data = os.read(key.fd, 65536)
                        if name in self._kept:
                            _keep(self._kept[name], data)
                        lines, rests[name] = split(rests[name], data)
                        # Where nobody takes it any more, programs must go on all the same.
                        with suppress(OSError, ValueError):
                            for line in lines:
                                say(prefixed(name, line))


def _waiting(reading: int) -> int:
    """How many bytes nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(reading, termios.FIONREAD, b"\0" * 4))[0])


def _keep(path: str, data: bytes) -> None:
    """Append to the log at *path*, which begins anew before it fills its volume. What no disk takes is shown all the same."""
    with suppress(OSError):
        large = os.path.exists(path) and os.stat(path).st_size > LARGEST
        with open(path, "wb" if large else "ab") as stream:
            stream.write(data)
