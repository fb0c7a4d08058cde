# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent: runs the parts that a host needs, each in its own time, until it is told to stop.

A part looks, decides and acts in ``tick``; what it knows lives in memory only, so it may be killed at any moment. Every
decision is one line that says what was done and what was seen; a fault is one line when it comes and one when it goes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import PgherdError
from ..model import MONITOR_PASSFILE, Cluster
from .bytecode import written_first


@dataclass(frozen=True)
class Decision:
    """One line of the log: what was decided and why."""

    text: str


class Part(Protocol):
    """One duty of the agent."""

    @property
    def name(self) -> str:
        """What its lines in the log begin with."""

    @property
    def interval(self) -> float:
        """Seconds from one tick's begin to the next one's."""

    def tick(self, now: float) -> Sequence[Decision]:
        """Look, decide, act. *now* is a monotonic time in seconds. A PgherdError is a fault: it is shown, and the next
        tick comes all the same."""

    def close(self) -> None:
        """Let go of what is held; called once, at the end."""


def log(line: str) -> None:
    """One line for the journal, at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Agent:
    """Runs *parts* side by side: one that hangs holds up no other."""

    # A part that has not begun a tick for so many seconds makes the watchdog unhappy.
    STUCK = 30.0

    def __init__(
        self, parts: Iterable[Part], say: Callable[[str], None] = log, begun: dict[str, float] | None = None
    ) -> None:
        """*begun*: where to write when each part's last tick began, for who watches."""
        self._parts = tuple(parts)
        self._say = say
        self._stop = threading.Event()
        self._begun = {} if begun is None else begun
        self._begun.update({part.name: time.monotonic() for part in self._parts})

    def stop(self, *_signal: Any) -> None:
        """End run() soon."""
        self._stop.set()

    def run(self) -> int:
        """Run until stop(). Returns the exit code."""
        self._say(f"agent: runs {', '.join(part.name for part in self._parts) or 'nothing: this host needs no part'}")
        threads = [threading.Thread(target=self._run, args=(part,), daemon=True) for part in self._parts]
        for thread in threads:
            thread.start()
        notify("READY=1")
        while not self._stop.wait(5.0):
            late = [name for name, begun in self._begun.items() if time.monotonic() - begun > self.STUCK]
            if not late:
                notify("WATCHDOG=1")
        notify("STOPPING=1")
        for thread in threads:
            thread.join(3.0)
        self._say("agent: stopped")
        return 0

    def _run(self, part: Part) -> None:
        fault = ""
        while not self._stop.is_set():
            began = self._begun[part.name] = time.monotonic()
            fault = self._tick(part, began, fault)
            self._stop.wait(max(0.05, part.interval - (time.monotonic() - began)))
        with suppress(Exception):
            part.close()

    def _tick(self, part: Part, now: float, fault: str) -> str:
        """One tick; returns the fault that it ended with, or ''."""
        try:
            decisions = part.tick(now)
            new = ""
        except PgherdError as error:
            decisions, new = (), " ".join(str(error).split())
        except Exception as error:  # an agent that is dead helps nobody
            decisions, new = (), f"unforeseen: {type(error).__name__}: {error}"
        for decision in decisions:
            self._say(f"{part.name}: {decision.text}")
        if new and new != fault:
            self._say(f"{part.name}: fault: {new}")
        if fault and not new:
            self._say(f"{part.name}: well again")
        return new


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.connect("\0" + address[1:] if address.startswith("@") else address)
            stream.send(state.encode())


def secret_file(path: str) -> str:
    """Where this process finds the secret of *path*: its unit has copied it into the runtime directory, for its user
    alone; without a unit, *path* itself."""
    directory = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    copy = os.path.join(directory, os.path.basename(path))
    return copy if directory and os.path.exists(copy) else path


def parts(cluster: Cluster, name: str, postgres: int = 0) -> list[Part]:
    """The parts that the host called *name* needs; *postgres* is the major version where it has one."""
    wanted: list[Part] = []
    if any(node.name == name for node in cluster.nodes):
        from . import node_part

        wanted += node_part.parts(cluster, name, postgres)
    for pgpool in cluster.pgpools:
        if pgpool.name == name:
            from .pgpool_part import PgpoolPart

            wanted.append(PgpoolPart.here(cluster, pgpool, secret_file(MONITOR_PASSFILE)))
    for barman in cluster.barmans:
        if barman.name == name:
            from .barman_part import BarmanPart

            wanted.append(BarmanPart.here(cluster, barman))
    return wanted


def main(cluster: Cluster, name: str, postgres: int = 0) -> int:
    """Run the agent of the host called *name*, with PostgreSQL *postgres*, until SIGTERM or SIGINT."""
    from .endpoints import with_health

    begun: dict[str, float] = {}
    agent = Agent(with_health(cluster, name, parts(cluster, name, postgres), begun), begun=begun)
    written_first()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, agent.stop)
    return agent.run()
