# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who may work on a volume that more than one machine may have mounted: what the lock there says, and what follows from that.
Pure; docs/safety.md, "Two hands on one directory", argues it.

Who holds the lock counts up in it, a beat each second. Whoever comes later goes by whether that changes while it looks, by its
own clock alone: clocks of two machines are never compared.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ...model import build

# Seconds from one beat of the holder to the next, and from one look of whoever waits to the next.
BEAT, LOOK = 1.0, 0.5
# Seconds without a beat after which another's lock is taken, and for which it has to stay one's own before anything is started:
# a holder that lives has seen by then that it was taken, and has killed what it had started.
STILL, SETTLE = 5.0, 3.0
# Seconds that one look counts for at most. Where storage stood still for all, nobody could beat, and that says nothing.
MOST = 2 * LOOK
# What is written is always as long: who reads it meanwhile finds one or the other.
LENGTH = 1024


@dataclass(frozen=True)
class Lock:
    """What a lock says: whose it is (*life*, another word at each start of a process 1, and the one that is compared), and the
    number of its last *beat*. For people the *pod*, its *uid* and its *node*. *machine*: what two processes have in common that
    see each other's locks of files there. One that cannot be read is nobody's known."""

    life: str
    pod: str = ""
    uid: str = ""
    node: str = ""
    machine: str = ""
    beat: int = 0

    def text(self) -> bytes:
        """As it is written."""
        said = json.dumps(asdict(self)).encode()
        return said[: LENGTH - 1].ljust(LENGTH - 1) + b"\n"

    @property
    def holder(self) -> str:
        """For people."""
        if not self.life:
            return "somebody whose words cannot be read"
        known = [f"on {self.node}"] * bool(self.node) + [f"UID {self.uid}"] * bool(self.uid)
        return f"pod {self.pod}" + (f" ({', '.join(known)})" if known else "")


def parse(said: bytes) -> Lock:
    """What is *said* there."""
    try:
        return build(Lock, json.loads(said.decode()))
    except (ValueError, TypeError, AttributeError):
        return Lock("")


# What is to be done: there is no lock, and it is made; another's is taken, and used at once or when it has settled; nothing yet.
MAKE, INHERIT, TAKE, WAIT = "make", "inherit", "take", "wait"


@dataclass(frozen=True)
class Watched:
    """What was *seen* at the time *at*, in seconds of a monotonic clock, and for how many it has been *still*."""

    seen: bytes | None = None
    at: float = 0.0
    still: float = 0.0


def look(seen: bytes | None, dead: bool, before: Watched, now: float) -> tuple[str, Watched]:
    """What is to be done about a lock in which that is *seen* now, None for no lock, and what has to be remembered until the next
    look; *before* is what was. *dead*: whether its holder was on this machine, and certainly has ended, with all it started."""
    if seen is None:
        return MAKE, Watched()
    if dead:
        return INHERIT, Watched()
    still = before.still + min(now - before.at, MOST) if seen == before.seen else 0.0
    return (TAKE if still >= STILL else WAIT), Watched(seen, now, still)


@dataclass(frozen=True)
class Settling:
    """A lock that was taken: by the look *at*, it has been one's own *since* so many seconds."""

    at: float
    since: float = 0.0

    def again(self, now: float) -> Settling:
        """It is still one's own *now*."""
        return Settling(now, self.since + min(now - self.at, MOST))

    @property
    def over(self) -> bool:
        """Whether whoever held it before has had the time to see that it does not."""
        return self.since >= SETTLE
