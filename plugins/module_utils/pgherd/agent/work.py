# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a data node's duties share: who this host is and how it reaches others, and the work that runs beside the looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import PgherdError
from ..failover.links import Links
from ..failover.memory import Memory
from ..failover.rejoin import Rejoin
from ..files.conf_postgres import data_directory, unit
from ..model import Cluster, Node
from ..ports.run import Runner
from ..ports.service import Service


@dataclass(frozen=True)
class Here:
    """The data node that this agent is on, with PostgreSQL of major *version*. *say* takes one line of the log."""

    cluster: Cluster
    node: Node
    version: int
    memory: Memory
    links: Links
    runner: Runner
    service: Service
    say: Callable[[str], None]

    @property
    def me(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def directory(self) -> str:
        """Its data directory."""
        return data_directory(self.cluster, self.version)

    @property
    def unit(self) -> str:
        """PostgreSQL's unit."""
        return unit(self.version)

    def come_back(self, target: str) -> None:
        """Bring it back below *target*. Raises as Rejoin.run()."""
        args = (self.cluster, self.me, self.version, self.runner, self.service, self.links, self.say)
        Rejoin(*args).run(target)


class Work:
    """What takes longer than a moment, one at a time, when each action was last decided (seconds since the epoch), and
    when each ended (monotonic seconds)."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._thread: threading.Thread | None = None
        self.ended: dict[str, float] = {}
        self.decided: dict[str, float] = {}

    @property
    def name(self) -> str:
        """What runs now; '' for nothing."""
        thread = self._thread
        return thread.name if thread and thread.is_alive() else ""

    def since(self, name: str, now: float) -> float:
        """For how many seconds what was begun as *name* has been over at *now* (monotonic); infinite when it never was."""
        return now - self.ended.get(name, float("-inf"))

    def decide(self, action: str, said: str) -> None:
        """Say that *action* was decided, with *said* about it, before it is done."""
        self._say(said)
        self.decided[action] = time.time()

    def begin(self, name: str, job: Callable[[], None]) -> None:
        """Run *job*; why it fails is said."""

        def run() -> None:
            try:
                job()
            except PgherdError as error:
                self._say(f"{name}: failed: {' '.join(str(error).split())}")
            finally:
                self.ended[name] = time.monotonic()

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()
