# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent: runs the parts that a host needs, each in its own time, until it is told to stop.

A part looks, decides and acts in ``tick``; what it knows lives in memory only, so it may be killed at any moment. Every
decision is one line that says what was done and what was seen; a fault is one line when it comes and one when it goes.

A changed description is read while it runs. All that follows from it is made anew, as when an agent starts, and takes the place
of what there was between two looks, when nothing is under way that goes by the one before.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from ..description import Description, DescriptionWatch
from ..errors import PgherdError
from ..model import Cluster
from .bytecode import written_first
from .door import nobody_yet
from .endpoints import with_health
from .part import STUCK, Part, Replaceable, log

# Seconds from one look at the description to the next, and from one word for the watchdog to the next.
LOOK, FEED = 0.5, 5.0
# Seconds that a look of a part may take while others wait for it, to give way to parts of another description.
PATIENCE = 5.0


@dataclass
class _Beat:
    """A *part* with its thread. It looks while it holds *looks*; when it is *over*, another part is in its place."""

    part: Part
    looks: threading.Lock = field(default_factory=threading.Lock)
    over: bool = False


class Agent:
    """Runs *parts* side by side: one that hangs holds up no other."""

    def __init__(
        self,
        parts: Iterable[Part],
        say: Callable[[str], None] = log,
        begun: dict[str, float] | None = None,
        watch: DescriptionWatch | None = None,
        build: Callable[[Cluster], Iterable[Part]] = lambda _cluster: (),
        unasked: bool = False,
    ) -> None:
        """*begun*: where to write when each part's last tick began, for who watches. *watch*: the description that the parts go
        by, and *build* makes parts of another one, touching nothing that others see before they take over. *unasked*: it is
        looked at again and again, and not only at first and after reread()."""
        self._beats = tuple(map(_Beat, parts))
        self._say = say
        self._stop = threading.Event()
        self._begun = {} if begun is None else begun
        self._begun.update({beat.part.name: time.monotonic() for beat in self._beats})
        self._watch = watch
        self._build = build
        # Another one may have been written since the parts were made.
        self._unasked, self._asked, self._told = unasked, True, False

    def reread(self, *_signal: Any) -> None:
        """Go by the description as it is, soon."""
        self._told = self._asked = True

    def stop(self, *_signal: Any) -> None:
        """End run() soon."""
        self._stop.set()

    def run(self) -> int:
        """Run until stop(). Returns the exit code."""
        names = ", ".join(beat.part.name for beat in self._beats)
        self._say(f"agent: runs {names or 'nothing: this host needs no part'}")
        threads = self._begin()
        said = self._status()
        notify(f"READY=1{said}")
        fed = time.monotonic()
        while not self._stop.wait(LOOK):
            if self._watch and self._asked:
                # Before the look: who asks now may have written another one.
                self._asked = self._unasked
                if self._told:
                    self._told = False
                    self._watch.again()
                threads = self._look(self._watch) or threads
            if said != self._status():
                said = self._status()
                notify(said.strip())
            now = time.monotonic()
            if now - fed >= FEED and not any(now - begun > STUCK for begun in self._begun.values()):
                fed = now
                notify("WATCHDOG=1")
        notify("STOPPING=1")
        for thread in threads:
            thread.join(3.0)
        self._say("agent: stopped")
        return 0

    def _begin(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._run, args=(beat,), daemon=True) for beat in self._beats]
        for thread in threads:
            thread.start()
        return threads

    def _status(self) -> str:
        return f"\nSTATUS={self._watch.told.line()}" if self._watch else ""

    def _look(self, watch: DescriptionWatch) -> list[threading.Thread]:
        """See whether another description is there, and take it up: as _turn_to(), which is tried again until it is settled."""
        found = watch.look()
        threads = self._turn_to(watch, found) if found else []
        settled = found is None or watch.by is found or watch.told.refused == found.digest
        self._asked = self._asked or not settled
        return threads

    def _turn_to(self, watch: DescriptionWatch, found: Description) -> list[threading.Thread]:
        """Have parts of the description *found* in the place of these, between two looks of each, while nothing that goes by
        the one before is under way: the threads of the new ones. None where it is not to be had, or not yet."""
        with ExitStack() as held:
            # The one that decides stands still for the shortest time.
            for beat in reversed(self._beats):
                if not beat.looks.acquire(timeout=PATIENCE):
                    watch.wait(found, f"a look of {beat.part.name}")
                    return []
                held.callback(beat.looks.release)
            paused = {beat.part.name: beat.part for beat in self._beats}
            if busy := [said for part in paused.values() if isinstance(part, Replaceable) and (said := part.pause())]:
                watch.wait(found, ", ".join(busy))
                return self._go_on()
            try:
                fresh = tuple(map(_Beat, self._build(found.cluster)))
            except Exception as error:  # what it is made of does not fit: the parts before are still good
                watch.refuse(found, error)
                return self._go_on()
            if not watch.still():  # what has read the file just now has read another one
                return self._go_on()
            return self._replace(watch, found, fresh)

    def _go_on(self) -> list[threading.Thread]:
        for beat in self._beats:
            if isinstance(beat.part, Replaceable):
                beat.part.resume()
        return []

    def _replace(self, watch: DescriptionWatch, found: Description, fresh: tuple[_Beat, ...]) -> list[threading.Thread]:
        before = {beat.part.name: beat.part for beat in self._beats}
        for beat in self._beats:
            beat.over = True
        for beat in fresh:
            if isinstance(beat.part, Replaceable) and beat.part.name in before:
                beat.part.take_over(before[beat.part.name])
        for name in set(before) - {beat.part.name for beat in fresh}:
            self._begun.pop(name, None)
        self._begun.update({beat.part.name: time.monotonic() for beat in fresh})
        self._beats = fresh
        watch.take(found)
        threads = self._begin()
        for part in before.values():
            with suppress(Exception):
                part.close()
        return threads

    def _run(self, beat: _Beat) -> None:
        part, fault = beat.part, ""
        while not self._stop.is_set():
            with beat.looks:
                if beat.over:
                    return
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
            self._say(f"{part.name}: recovered")
        return new


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.connect("\0" + address[1:] if address.startswith("@") else address)
            stream.send(state.encode())


def run(path: str, name: str, parts: Callable[[Cluster], list[Part]], unasked: bool = False) -> int:
    """Run the agent of the host called *name*, until SIGTERM or SIGINT: the *parts* that it has by the description in the file
    *path*, and others when that has changed and SIGHUP comes, or *unasked*. Raises PgherdError where there is none."""
    begun: dict[str, float] = {}
    watch, unanswered = DescriptionWatch(path, log), nobody_yet()

    def build(cluster: Cluster) -> list[Part]:
        if name not in {host.name for host in cluster.hosts}:
            raise PgherdError(f"go by {path}: it has no host called {name}.")
        return with_health(cluster, name, parts(cluster), begun, unanswered, lambda: watch.told)

    agent = Agent(build(watch.by.cluster), begun=begun, watch=watch, build=build, unasked=unasked)
    written_first()
    signal.signal(signal.SIGHUP, agent.reread)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, agent.stop)
    return agent.run()
