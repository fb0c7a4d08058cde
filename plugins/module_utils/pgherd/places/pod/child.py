# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One service of process 1: which state it is in, and what comes next. It starts and signals by two functions alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence

from ...ports.services import FAILED, RUNNING, STARTING, STOPPED, STOPPING
from .program import ALWAYS, NEVER, WINDOW, Program

# Starts a program by its words and what is added to the environment, and returns its number; raises OSError.
Spawn = Callable[[Sequence[str], Mapping[str, str]], int]
# Signals the process with a number.
Signal = Callable[[int, signal.Signals], None]


class Child:
    """See the module. *now* is a monotonic time in seconds everywhere, *wall* gives seconds since the epoch."""

    def __init__(
        self,
        name: str,
        program: Program,
        spawn: Spawn,
        kill: Signal,
        say: Callable[[str], None],
        wall: Callable[[], float],
    ) -> None:
        self.name = name
        self.state = STOPPED
        # The process that runs: the program, or one of those before it.
        self.pid = 0
        self.since: float | None = None
        # How often it has failed, and why the last time.
        self.failures, self.why = 0, ""
        self._program = program
        self._spawn, self._kill, self._say, self._wall = spawn, kill, say, wall
        self._before: list[tuple[str, ...]] = []
        self._is_program = False
        self._wanted = False
        self._starts: list[float] = []
        self._due = 0.0
        self._ladder: list[tuple[float, signal.Signals]] = []

    @property
    def process(self) -> int:
        """The number of the program itself, 0 where it does not run."""
        return self.pid if self._is_program else 0

    def start(self, now: float) -> None:
        """Have it run. Starts that failed before do not count."""
        self._wanted, self._starts = True, []
        if not self.pid:
            self._begin(now)

    def stop(self, now: float, by: float | None = None) -> None:
        """Have it end, and stay so until start(); *by* when at the latest."""
        self._wanted = False
        if not self.pid:
            self.state = FAILED if self.state == FAILED else STOPPED
            return
        if self.state != STOPPING or by is not None:
            self.state = STOPPING
            asked = 0.0 if by is None else min(self._program.asked, max(0.0, by - now) / 8)
            self._ladder = [(now, signal.SIGTERM)] if asked else []
            self._ladder += _ladder(self._program.stops, now + asked, by)
            self.tick(now)

    def reload(self) -> None:
        """Have it read its configuration again, where it runs."""
        if self.process:
            self._kill(self.pid, self._program.reload)

    def ended(self, code: int, now: float) -> None:
        """Its process has ended: *code* is its exit code, or the negative number of the signal that killed it."""
        was_program, self.pid, self._is_program, self.since = self._is_program, 0, False, None
        if self.state == STOPPING:
            self.state = STOPPED
            self._say(f"{self.name}: stopped ({_said(code)})")
            if self._wanted:
                self._begin(now)
        elif not was_program:
            if code:
                self._failed(f"what has to come before it {_said(code)}", now)
            else:
                self._next(now)
        elif code or self._program.again == ALWAYS:
            self._failed(f"it {_said(code)}", now)
        else:
            self.state, self._wanted = STOPPED, False
            self._say(f"{self.name}: ended by itself")

    def tick(self, now: float) -> None:
        """See whether it is up by now, is due to start again, or has not ended in time."""
        if self.state == STARTING and self.process and not self._program.once and self._program.ready(self.pid):
            self.state, self.since = RUNNING, float(int(self._wall()))
            self._say(f"{self.name}: runs as process {self.pid}")
        elif self.state == STARTING and not self.pid and now >= self._due:
            self._begin(now)
        while self.state == STOPPING and self.pid and self._ladder and now >= self._ladder[0][0]:
            self._kill(self.pid, self._ladder.pop(0)[1])

    def _begin(self, now: float) -> None:
        self._starts.append(now)
        self.state, self._before = STARTING, list(self._program.before)
        self._next(now)

    def _next(self, now: float) -> None:
        """Start the next of what comes before it, or itself."""
        argv = self._before.pop(0) if self._before else None
        try:
            self.pid = self._spawn(argv or self._program.argv, self._program.env)
        except OSError as error:
            self._failed(f"{(argv or self._program.argv)[0]}: {error.strerror}", now)
            return
        self._is_program = argv is None

    def _failed(self, why: str, now: float) -> None:
        program, self.why = self._program, why
        self.failures += 1
        often = program.burst and len([at for at in self._starts if now - at < WINDOW]) >= program.burst
        if program.again == NEVER or often:
            self.state, self._wanted = FAILED, False
            self._say(f"{self.name}: failed: {why}" + (f", {program.burst} times within {WINDOW:g} s" if often else ""))
        else:
            self.state, self._due = STARTING, now + program.pause
            self._say(f"{self.name}: {why}; it is started again")


def _ladder(
    stops: Sequence[tuple[signal.Signals, float]], now: float, by: float | None
) -> list[tuple[float, signal.Signals]]:
    """When to send which signal, SIGKILL last and not after *by*: then the first signal, which ends it best, has all the time
    that the others leave, and each of those a quarter of it at most."""
    times = [seconds for _signal, seconds in stops]
    if by is not None:
        span = max(0.0, by - now)
        rest = [min(seconds, span / 4) for seconds in times[1:]]
        times = [min(times[0], max(0.0, span - sum(rest))), *rest]
    at = [now + sum(times[:number]) for number in range(len(times) + 1)]
    return list(zip(at, [*(number for number, _seconds in stops), signal.SIGKILL]))


def _said(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
