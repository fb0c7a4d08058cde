# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that other agents ask, over TLS with certificates both ways: who asks is whom its certificate names, and
may ask for what rights.py says.

It has a port and a thread of its own, and each member only so many places, so that nobody keeps another from being answered.
What is asked for is done in a thread of its own; bytes of data do not go through the agent at all.

One request is one line of JSON with its ``verb``; what the answer is depends on that. A refusal is {"refused": why}.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..errors import PgherdError
from ..model import CA_FILE, SERVER_CERT_FILE, SERVER_KEY_FILE, Cluster, Peer
from ..nodes import peer_evidence
from ..observe.peer_answers import VERB as EVIDENCE
from ..ports.here import Here
from ..ports.run import LocalRunner
from . import rights
from .command_part import CommandPart
from .door import PATIENCE, Door
from .door_part import DoorPart
from .known import Known
from .listen import own_addresses
from .part import Part, log
from .peer_exchange import REASONS, PeerExchange, Taken
from .seats import SeatLimits

# Answers what was asked, through the stream, unless it is refused when that is looked at again; runs in a thread of its own.
# Raises PgherdError, OSError, ValueError.
Serve = Callable[[ssl.SSLSocket, Mapping[str, Any], Callable[[], str]], None]

LIMITS = SeatLimits(strangers=32, known=64, each=16)
# What one member may have done at once.
EACH = 4
# Seconds for which a line about a client is not said again, and such lines in that time: whoever knocks fills no journal.
QUIET, MOST = 60.0, 20


class PeerPart(DoorPart):
    """Has *verbs* done for members of *cluster*, on its port of the addresses that *where* finds. *files*: the host's
    certificate, its key, and the authority."""

    def __init__(
        self,
        cluster: Cluster,
        where: Callable[[], Sequence[str]],
        verbs: Mapping[str, Serve],
        files: Sequence[str] = (SERVER_CERT_FILE, SERVER_KEY_FILE, CA_FILE),
        say: Callable[[str], None] = log,
        patience: float = PATIENCE,
    ) -> None:
        self._cluster = cluster
        self._verbs = dict(verbs)
        self._say = Quiet(say)
        self._served: Counter[str] = Counter()
        self._refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._lock = threading.Lock()
        self._after: PeerPart | None = None
        known = Known([(host.address, place) for host in cluster.hosts for place in host.origins.short or ("",)])
        begin = partial(PeerExchange, desk=self, context=self.current)
        door = Door(begin, known, patience, LIMITS)
        super().__init__("peer", where, cluster.options.peer_port, files, door, begin, known, "cluster_peer_port")

    def take_over(self, before: Part) -> None:
        """See part.Replaceable. Whoever has come before is judged by this one."""
        super().take_over(before)
        if isinstance(before, PeerPart):
            before._after = self
            self._say, self._served, self._lock = before._say, before._served, before._lock
            self._refused = before._refused

    def view(self) -> Mapping[str, int]:
        """By reason how many requests were refused."""
        with self._lock:
            return dict(self._refused)

    def take(self, stream: ssl.SSLSocket, line: bytes) -> Taken:
        """See peer_exchange.Desk."""
        asked, names = _read(line), rights.shown(stream.getpeercert())
        verb = str(asked.get("verb", ""))[:40]
        host, why = self._judge(names, verb)
        name = host.name if host else str(stream.getpeername()[0])
        if why:
            return self._no(name, why, "right" if host else "member")
        if why := self._seat(name):
            return self._no(name, why, "busy")
        return partial(self._begin, stream, name, asked, lambda: self._judge(names, verb)[1])

    def _judge(self, names: Iterable[str], verb: str) -> tuple[Peer | None, str]:
        """Whose certificate is for *names*, and why that one may not ask for *verb*, by the description that is gone by."""
        if self._after:
            return self._after._judge(names, verb)
        host, why = rights.member(self._cluster, names)
        return host, why or (rights.refusal(host, verb) if host else "")

    def refused(self, who: str, why: str, reason: str) -> None:
        """See peer_exchange.Desk."""
        with self._lock:
            self._refused[reason] += 1
        self._say(f"peer: {who} is refused: {why}")

    def _no(self, who: str, why: str, reason: str) -> bytes:
        self.refused(who, why, reason)
        return json.dumps({"refused": why}).encode() + b"\n"

    def _seat(self, name: str) -> str:
        """Have a place for *name* taken; why there is none, or ''."""
        with self._lock:
            if self._served[name] >= EACH:
                return f"{EACH} of its requests are being answered"
            self._served[name] += 1
        return ""

    def _begin(self, stream: ssl.SSLSocket, name: str, asked: Mapping[str, Any], refused: Callable[[], str]) -> None:
        thread = threading.Thread(target=self._serve, args=(stream, name, asked, refused), name="peer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are no more threads
            self._leave(name)
            stream.close()

    def _serve(self, stream: ssl.SSLSocket, name: str, asked: Mapping[str, Any], refused: Callable[[], str]) -> None:
        verb = asked["verb"]
        try:
            with suppress(OSError, ValueError), stream:
                stream.settimeout(PATIENCE)
                try:
                    if verb != EVIDENCE:
                        self._say.at_once(f"peer: {name} asks for {verb}")
                    self._verbs[verb](stream, asked, refused)
                except PgherdError as error:
                    stream.sendall(self._no(name, f"{verb}: {' '.join(str(error).split())}", "failed"))
        except Exception as error:  # what was not foreseen is to be seen all the same
            self.refused(name, f"unforeseen: {type(error).__name__}: {error}", "failed")
        finally:
            self._leave(name)

    def _leave(self, name: str) -> None:
        with self._lock:
            self._served[name] -= 1


class Quiet:
    """Says a line once in QUIET seconds, and MOST lines in that time."""

    def __init__(self, say: Callable[[str], None]) -> None:
        #: What says a line in any case.
        self.at_once = say
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._since = 0.0
        self._more = 0

    def __call__(self, line: str) -> None:
        with self._lock:
            now, more = time.monotonic(), 0
            if now - self._since >= QUIET:
                more, self._since, self._more = self._more, now, 0
                self._said.clear()
            new = line not in self._said and len(self._said) < MOST
            self._said |= {line} if new else set()
            self._more += not new
        if more:
            self.at_once(f"peer: {more} more were refused before")
        if new:
            self.at_once(line)


def _read(line: bytes) -> Mapping[str, Any]:
    """What is asked for; nothing where that cannot be read."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def answering(answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Serve:
    """What sends the one *answer* to what was asked."""

    def serve(stream: ssl.SSLSocket, asked: Mapping[str, Any], _refused: Callable[[], str]) -> None:
        stream.sendall(json.dumps(answer(asked)).encode() + b"\n")

    return serve


def conversing(cluster: Cluster, commands: CommandPart) -> Serve:
    """What has a verb done as *commands* have it done for who asks on this host; followed live, see verbs.py."""
    names = [node.name for node in cluster.data_nodes]

    def serve(stream: ssl.SSLSocket, asked: Mapping[str, Any], refused: Callable[[], str]) -> None:
        if why := rights.unfit(asked["verb"], asked.get("arguments"), names):
            raise PgherdError(why)
        commands.converse(stream, asked, refused)

    return serve


def part(here: Here, commands: CommandPart) -> PeerPart:
    """That of the agent of the data node *here*, which does by *commands* what is asked of it."""
    address, known = here.node.address, here.node.origins.short

    done = conversing(here.cluster, commands)
    verbs = {
        EVIDENCE: answering(partial(peer_evidence.answer, here)),
        **dict.fromkeys((rights.SWITCHOVER, rights.PROMOTE, rights.REJOIN), done),
    }
    return PeerPart(here.cluster, lambda: own_addresses(address, known, LocalRunner()), verbs)
