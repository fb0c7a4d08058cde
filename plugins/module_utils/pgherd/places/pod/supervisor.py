# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Process 1 of a pod: starts services as its children, sees them end, starts them again, and ends them all with itself.

It is a process of its own beside the agent, which it starts too. So an agent that ends, or is replaced, leaves PostgreSQL
alone; and whatever process ends here is this one's to reap, since it runs no programs whose end another part of it waits for.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from ...errors import CommandError, PgherdError, Unreachable
from ...ports.services import FAILED, RUNNING, STOPPED
from ...text import say as say_it
from .child import Child
from .output import Output
from .processes import children, kill_below
from .program import Program

# prctl(2): orphans become children of this process also where it is not the first one.
_PR_SET_CHILD_SUBREAPER = 36
# Seconds from one look at what is on its way to the next; while nothing is, only the end of a child wakes it.
INTERVAL, IDLE = 0.05, 5.0
# Seconds for what SIGKILL ends to be gone.
KILLED = 5.0
# What Python ignores, and its children would.
_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ)


class Supervisor:
    """Services of a pod, see ports/services.py. *programs* are what it may start, by service. What it does is said. *output*
    takes what they say themselves; without it they write where process 1 does. *barred* says why none is to be started now."""

    def __init__(
        self,
        programs: Mapping[str, Program],
        say: Callable[[str], None] = say_it,
        output: Output | None = None,
        barred: Callable[[], str] = str,
    ) -> None:
        self._say = say
        self._changed = threading.Condition(threading.RLock())
        self._ending = False
        self._programs = dict(programs)
        self._children = {
            name: Child(
                name, program, partial(_spawn, barred, output.of(name) if output else None), _signal, say, time.time
            )
            for name, program in programs.items()
        }
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def state(self, name: str) -> str:
        """See Services.state."""
        with self._changed:
            return self._child(name).state

    def since(self, name: str) -> float | None:
        """See Services.since."""
        with self._changed:
            return self._child(name).since

    def process(self, name: str) -> int:
        """See Services.process."""
        with self._changed:
            return self._child(name).process

    def start(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Services.start. An attempt that fails is an error, though others follow by the program's rule."""
        with self._changed:
            child = self._child(name)
            if self._ending:
                raise PgherdError(f"start {name}: this pod is ending.")
            failures = child.failures
            if child.state != RUNNING:
                child.start(time.monotonic())
            self._wake()
            if not wait:
                return

            def over() -> bool:
                return child.failures != failures or child.state in (RUNNING, STOPPED, FAILED)

            if not self._changed.wait_for(over, timeout):
                raise Unreachable(f"start {name}: it is not up after {timeout:g} s.")
            done = RUNNING if not self._programs[name].once else STOPPED
            if child.failures != failures or child.state != done:
                raise CommandError(f"start {name}", self._programs[name].argv, 1, "", child.why)

    def stop(self, name: str, timeout: float = 120.0) -> None:
        """See Services.stop."""
        with self._changed:
            child = self._child(name)
            child.stop(time.monotonic())
            self._wake()
            if not self._changed.wait_for(lambda: child.state in (STOPPED, FAILED), timeout):
                raise Unreachable(f"stop {name}: it has not ended after {timeout:g} s.")

    def restart(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Services.restart. Without *wait* it is started when it has ended, if nobody stops it before."""
        if wait:
            self.stop(name, timeout)
            self.start(name, timeout)
            return
        with self._changed:
            child = self._child(name)
            if self._ending:
                raise PgherdError(f"restart {name}: this pod is ending.")
            child.stop(time.monotonic())
            child.start(time.monotonic())
            self._wake()

    def reload(self, name: str) -> None:
        """See Services.reload."""
        with self._changed:
            self._child(name).reload()

    def run(self, first: Sequence[str], limit: float) -> None:
        """Start the services *first*, and see to all of them until SIGTERM or SIGINT; then end everything within *limit*
        seconds. To be called once, by the main thread."""
        _adopt()
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        for name in first:
            self.start(name, wait=False)
        while not self._turn():
            pass
        self._end(limit)

    def _turn(self) -> bool:
        """Wait until something happens, and see to it; whether this process is asked to end."""
        with self._changed:
            busy = any(child.state not in (RUNNING, STOPPED, FAILED) for child in self._children.values())
        select.select([self._reading], [], [], INTERVAL if busy else IDLE)
        heard = b""
        with suppress(BlockingIOError):
            os.set_blocking(self._reading, False)
            heard = os.read(self._reading, 4096)
        self._see()
        return bool({signal.SIGTERM, signal.SIGINT} & set(heard))

    def _see(self) -> None:
        """Reap what has ended, ours or not, and let the children go on."""
        with self._changed:
            now = time.monotonic()
            for pid, code in _reaped():
                for child in self._children.values():
                    if child.pid == pid:
                        child.ended(code, now)
                        break
            for child in self._children.values():
                child.tick(now)
            self._changed.notify_all()

    def _end(self, limit: float) -> None:
        """Stop all at once, and what is left of others; none is there after *limit* seconds."""
        self._say(f"process 1: ends all within {limit:g} s")
        by = time.monotonic() + limit
        with self._changed:
            self._ending = True
            for child in self._children.values():
                child.stop(time.monotonic(), by - 1.0)
        while any(child.pid for child in self._children.values()) and time.monotonic() < by:
            self._turn()
        for pid in children(os.getpid()):
            _signal(pid, signal.SIGKILL)
        while children(os.getpid()) and time.monotonic() < by + 1.0:
            self._see()
            time.sleep(INTERVAL / 5)
        self._say("process 1: nothing runs any more")

    def _child(self, name: str) -> Child:
        try:
            return self._children[name]
        except KeyError:
            raise PgherdError(f"look after {name}: this pod does not run it.") from None

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._writing, b"\0")


def kill_all() -> None:
    """End whatever this process has started, and what that has, at once. Any thread may call it."""
    kill_below(os.getpid(), KILLED)


def _spawn(barred: Callable[[], str], output: int | None, argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Start a program in a process group of its own, with nothing of ours but the locks of volumes, which last as long as it
    does, and the log, or the *output* in its place. Raises OSError, also where it is *barred*."""
    if why := barred():
        raise OSError(errno.EAGAIN, why)
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    if output is not None:
        actions += [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    environment = {**os.environ, **env}
    return os.posix_spawn(argv[0], list(argv), environment, file_actions=actions, setpgroup=0, setsigdef=_DEFAULT)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _reaped() -> list[tuple[int, int]]:
    """Those of our children, born or adopted, that have ended, with the exit code, or the negative number of a signal."""
    found = []
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found


def _adopt() -> None:
    """Have orphans below this process become its children."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise PgherdError(f"see to what others leave behind: {os.strerror(ctypes.get_errno())}.")
