# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The work that runs beside the looks of a data node's duties."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..data.outside import InTheWay
from ..errors import Busy, PgherdError

# Seconds until what a person has to make room for is tried again, beside what it waits in any case.
REFUSED = 60.0
# What a person can do where something that hangs is in the way. Promotions' locks end with the sessions of the agent.
WAY_OUT = (
    "Where it does not end, stop the agent on this node: its locks end with it. Ask again, which is then done without it, and "
    "start the agent."
)


class Work:
    """What takes longer than a moment, one at a time, when each action was last decided (seconds since the epoch), when
    each ended (monotonic seconds), and why the last one was *refused* before it touched anything, '' where it was not."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._name = ""
        self._thread: threading.Thread | None = None
        self.ended: dict[str, float] = {}
        self.decided: dict[str, float] = {}
        self.refused = ""

    @property
    def name(self) -> str:
        """What runs now; '' for nothing."""
        return self._name

    def since(self, name: str, now: float) -> float:
        """For how many seconds what was begun as *name* has been over at *now* (monotonic); infinite when it never was."""
        return now - self.ended.get(name, float("-inf"))

    def decide(self, action: str, said: str) -> None:
        """Say that *action* was decided, with *said* about it, before it is done."""
        self._say(said)
        self.decided[action] = time.time()

    def take_over(self, before: Work) -> None:
        """Know what *before* did, which has nothing at work."""
        self.ended, self.decided, self.refused = before.ended, before.decided, before.refused

    def begin(self, name: str, job: Callable[[], object]) -> None:
        """Run *job* beside who calls this; why it fails is said. Nothing is begun while something else is at work."""
        if not self._take(name):
            return

        def run() -> None:
            pause, refused = 0.0, ""
            try:
                job()
            except InTheWay as error:
                pause, refused = REFUSED, " ".join(str(error).split())
                self._say(f"{name}: refused: {refused}")
            except (PgherdError, OSError) as error:
                self._say(f"{name}: failed: {' '.join(str(error).split())}")
            except Exception as error:  # what was not foreseen is to be seen all the same
                self._say(f"{name}: failed: unforeseen: {type(error).__name__}: {error}")
            finally:
                self._end(name, pause, refused)

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # there are no more threads
            self._name = ""
            raise

    @contextmanager
    def taken(
        self, name: str, attempted: str, patience: float, others: Mapping[str, float] | None = None
    ) -> Iterator[None]:
        """The block is what is at work, as *name*. Waits *patience* seconds for what is at work before; *others* has the seconds
        for what is not waited for that long, or longer, by name: 0.0 for what makes another thing of the block. Raises Busy
        for what was *attempted* when that goes on."""
        began = time.monotonic()
        while not self._take(name):
            at_work = self._name
            if at_work and time.monotonic() - began >= (others or {}).get(at_work, patience):
                cure = f"Look again when that has ended, as the log of this node's agent says. {WAY_OUT}"
                raise Busy(attempted, at_work, cure)
            time.sleep(0.05)
        pause, refused = 0.0, ""
        try:
            yield
        except InTheWay as error:
            pause, refused = REFUSED, " ".join(str(error).split())
            raise
        finally:
            self._end(name, pause, refused)

    def _take(self, name: str) -> bool:
        with self._lock:
            if self._name:
                return False
            self._name = name
            return True

    def _end(self, name: str, pause: float, refused: str) -> None:
        self.ended[name], self.refused = time.monotonic() + pause, refused
        self._name = ""
