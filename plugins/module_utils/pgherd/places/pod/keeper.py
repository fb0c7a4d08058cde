# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Process 1 and the locks of its volumes: it waits for them before it starts anything, has them beat, and ends all at once where
one is not its own any more."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from .lock import BEAT, INHERIT, LOOK, MAKE, STILL, TAKE, WAIT, Lock, Settling, Watched, look, parse
from .lock_file import LockFile

# Seconds after which what is waited for is said again.
AGAIN = 30.0
# Shown by `kubectl describe pod` for a container that has ended.
LAST_WORDS = "/dev/termination-log"
_ENDING = (signal.SIGTERM, signal.SIGINT)


def lock_of(environment: Mapping[str, str], pod: str) -> Lock:
    """The lock as this start of the *pod*'s process 1 holds it, by its *environment*."""
    return Lock(os.urandom(16).hex(), pod, environment.get("POD_UID", ""), environment.get("POD_NODE", ""))


class Claim:
    """The lock of one volume, from the first look at it until it is held. *say* takes one line."""

    def __init__(self, file: LockFile, say: Callable[[str], None]) -> None:
        self.file = file
        self._say = say
        self._look = Watched()
        self._settling: Settling | None = None
        self._held = False
        # The holder that was named last, and when.
        self._named, self._said = "", float("-inf")

    def turn(self) -> bool:
        """Look once; whether it is held. Raises OSError where that cannot be told now."""
        if self._held or self._settling:
            return self._still(time.monotonic())
        found, now = self.file.read(), time.monotonic()
        seen = found or b""
        action, self._look = look(found, bool(seen) and self._dead(seen), self._look, now)
        if action == MAKE:
            self._held = self.file.make()
        elif action == INHERIT and self.file.inherit(seen):
            self._say(f"{self.file.path}: {parse(seen).holder}, which held it, has ended on this machine")
            # One that stood still in between may have put it over one that another has taken by then.
            self._held = time.monotonic() - now < LOOK
            self._settling = None if self._held else Settling(time.monotonic())
        elif action == TAKE:
            self._say(f"takes {self.file.path}: it has not beaten for {STILL:g} s; {parse(seen).holder} held it")
            self.file.take()
            self._settling = Settling(time.monotonic())
        elif action == WAIT:
            self._waits(parse(seen).holder, now)
        return self._held

    def _dead(self, seen: bytes) -> bool:
        # What cannot be told here is found out by waiting.
        with suppress(OSError):
            return self.file.dead(seen)
        return False

    def _still(self, now: float) -> bool:
        """Whether one that was taken, or is held while another one is waited for, is held now."""
        if not self.file.beat():
            self._say(f"{self.file.path} was taken by another while this pod took it")
            self._held, self._settling = False, None
        elif self._settling:
            self._settling = self._settling.again(now)
            self._held = self._settling.over
            self._settling = None if self._held else self._settling
        return self._held

    def _waits(self, holder: str, now: float) -> None:
        if holder == self._named and now - self._said < AGAIN:
            return
        more = f"; it is taken when it has not beaten for {STILL:g} s"
        if holder == self._named:
            more = ", and beats: that pod lives, and this one starts nothing beside it"
        self._say(f"waits: {self.file.path} is held by {holder}{more}")
        self._named, self._said = holder, now


class Keeper:
    """The locks in *directories*, as *mine* says. *say* takes one line for people."""

    def __init__(self, directories: Sequence[str], mine: Lock, say: Callable[[str], None]) -> None:
        self._claims = [Claim(LockFile(directory, mine), self._told) for directory in directories]
        self._say = say
        # By who found it, what is wrong with a lock's file.
        self._wrong: dict[tuple[str, str], str] = {}
        self._over = threading.Event()
        self._keeping: list[threading.Thread] = []

    def hold(self) -> bool:
        """Wait until all locks are held, which any time may take; False where this process is asked to end before."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            # One after the other, so that two who wait do not have one each.
            while not all(map(self._turn, self._claims)):
                if signal.sigtimedwait(_ENDING, LOOK):
                    self.end()
                    return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return True

    def keep(self, kill: Callable[[], None], leave: Callable[[int], object] = os._exit) -> None:
        """Have the locks beat, beside the caller. Where one is another's, *kill* ends all that was started, and *leave* this
        process. A beat takes as long as a disk needs to write it, and whether the lock is another's is looked for beside that."""
        for name, look_at in (("beat", LockFile.beat), ("look", LockFile.mine)):
            thread = threading.Thread(target=self._keep, args=(name, look_at, kill, leave), name=name, daemon=True)
            self._keeping.append(thread)
            thread.start()

    def barred(self) -> str:
        """Why nothing is to be started now, '' where something may be: a process that stood still, and goes on, does not know
        whether it has the locks before it has looked."""
        late = max((time.monotonic() - claim.file.seen for claim in self._claims), default=0.0)
        return f"whether this pod has its volumes' locks was not seen for {late:.0f} s" if late > STILL else ""

    def end(self) -> None:
        """Give the locks up. To be called when nothing that was started is there any more."""
        self._over.set()
        for thread in self._keeping:
            thread.join(BEAT)
        if any(thread.is_alive() for thread in self._keeping):
            self._told("the locks stay: a volume does not answer")
            return
        for claim in reversed(self._claims):
            with self._noting("end", claim):
                claim.file.end()

    def _turn(self, claim: Claim) -> bool:
        with self._noting("hold", claim):
            return claim.turn()
        return False

    def _keep(
        self,
        name: str,
        look_at: Callable[[LockFile], bool],
        kill: Callable[[], None],
        leave: Callable[[int], object],
    ) -> None:
        while not self._over.wait(BEAT):
            for claim in self._claims:
                # That it cannot be told is no other holder: who comes takes it if this lasts, and then it is seen.
                mine = True
                with self._noting(name, claim):
                    mine = look_at(claim.file)
                if not mine:
                    kill()
                    self._told(f"{claim.file.path} {_now(claim.file)}: all that this pod ran was killed at once")
                    leave(1)
                    return

    @contextmanager
    def _noting(self, who: str, claim: Claim) -> Iterator[None]:
        """Say once what is wrong with a lock's file, until it is well again."""
        key = who, claim.file.path
        try:
            yield
            self._wrong.pop(key, None)
        except OSError as error:
            line = f"{claim.file.path}: {error.strerror}"
            if self._wrong.get(key) != line:
                self._wrong[key] = line
                self._told(line)

    def _told(self, line: str) -> None:
        self._say(line)
        with suppress(OSError):
            handle = os.open(LAST_WORDS, os.O_WRONLY | os.O_TRUNC)
            with os.fdopen(handle, "w") as stream:
                stream.write(f"{line}\n")


def _now(file: LockFile) -> str:
    """What became of a lock that was one's own."""
    with suppress(OSError):
        found = file.read()
        return "is gone" if found is None else f"is held by {parse(found).holder} now"
    return "cannot be read"
