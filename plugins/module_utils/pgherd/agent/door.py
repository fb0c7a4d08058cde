# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Serves the clients of one port in one thread, however many there are and however slow they are.

The thread waits for nobody, and does one step for each client at a time: so handshakes run one after another, and all
clients together cost the agent's other threads, which fence and promote, half of one core at most.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .exchange import READ, Exchange
from .seats import SeatLimits, leaves, source

# Seconds from when a client is let in to the last byte of its answer.
PATIENCE = 5.0
# Those that the kernel keeps until they are let in, and those let in at once.
BACKLOG, AT_ONCE = 2048, 128
# Seconds that it rests after a round at most; otherwise for as long as it has used a processor in that round.
REST = 0.2
# Seconds that a round may take before it is said: what is asked for has hung, and nobody else is answered.
HUNG = 10.0
LIMITS = SeatLimits()

# What is begun with a client: its stream, whom it counts for, whether places are kept for it, when it ends (monotonic).
Begin = Callable[[socket.socket, str, bool, float], Exchange]


def nobody_yet() -> dict[str, int]:
    """Counts of those that are hung up on: they took too long, or gave up their places to others."""
    return {"late": 0, "displaced": 0}


def _nobody(_address: str) -> bool:
    return False


class Door:
    """Has each client served by what *begin* gives for it. *known*: whether places are kept for an address."""

    def __init__(
        self,
        begin: Begin,
        known: Callable[[str], bool] = _nobody,
        patience: float = PATIENCE,
        limits: SeatLimits = LIMITS,
        unanswered: dict[str, int] | None = None,
    ) -> None:
        self._begin = begin
        self._known = known
        self._patience = patience
        self._limits = limits
        self._listeners: dict[str, socket.socket] = {}
        self._inside: dict[int, Exchange] = {}  # by descriptor; who came first is first
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault = ""
        self._began = 0.0  # the round that is under way, 0 while it waits for clients
        #: How many were not answered, by why.
        self.unanswered = nobody_yet() if unanswered is None else unanswered

    def answer_by(self, begin: Begin, known: Callable[[str], bool], unanswered: dict[str, int]) -> None:
        """Answer so from now on; who is inside already is answered as before."""
        self._begin, self._known, self.unanswered = begin, known, unanswered

    def leave(self, address: str) -> None:
        """Listen there no more; who is inside is answered."""
        listener = self._listeners.pop(address)
        self._selector.unregister(listener)
        listener.close()

    def listen(self, address: str, port: int) -> int:
        """Listen on an address too, '' being all of IPv4; returns the port. Raises OSError."""
        listener = _listener(address, port)
        self._listeners[address] = listener
        if not self._thread:
            self._selector = selectors.DefaultSelector()
            self._bell, bell = socket.socketpair()
            self._selector.register(bell, READ)
            self._thread = threading.Thread(target=self._serve, name="door", daemon=True)
            self._thread.start()
        self._selector.register(listener, READ, self._let_in)
        return int(listener.getsockname()[1])

    @property
    def ports(self) -> dict[str, int]:
        """Where it listens: address -> port."""
        return {address: int(listener.getsockname()[1]) for address, listener in self._listeners.items()}

    @property
    def inside(self) -> int:
        """How many are being served."""
        return len(self._inside)

    def fault(self) -> str:
        """What went wrong unforeseen since this was last asked, '' for nothing."""
        began, (said, self._fault) = self._began, (self._fault, "")
        hung = time.monotonic() - began if began else 0.0
        return f"what a client asks for has hung for {hung:.0f} s, and nobody is answered" if hung > HUNG else said

    def close(self) -> None:
        """Stop listening, and hang up on everybody."""
        self._closing.set()
        if self._thread:
            self._bell.close()
            self._thread.join(5.0)
            self._selector.close()
        for listener in self._listeners.values():
            listener.close()
        self._listeners = {}

    # In the thread

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._guarded_turn()
        self._empty()

    def _guarded_turn(self) -> None:
        try:
            self._turn()
        except Exception as error:  # whatever somebody has found, who comes after it is served
            self._began, self._fault = 0.0, f"unforeseen: {type(error).__name__}: {error}"
            self._empty()
            self._closing.wait(REST)

    def _empty(self) -> None:
        for exchange in list(self._inside.values()):
            self._hang_up(exchange)

    def _turn(self) -> None:
        """One step for everybody who is ready; then whoever came is let in."""
        first = next(iter(self._inside.values()), None)
        ready = self._selector.select(max(0.0, first.ends - time.monotonic()) if first else None)
        self._began, used = time.monotonic(), time.thread_time()
        for key, _events in ready:
            if isinstance(key.data, Exchange):
                self._go_on(key.data)
        for key, _events in ready:
            if key.data == self._let_in:
                self._let_in(key.fileobj)
        self._end_late()
        self._began = 0.0
        self._closing.wait(min(REST, time.thread_time() - used))

    def _go_on(self, exchange: Exchange) -> None:
        waited, done = exchange.waits, True
        with suppress(OSError):
            done = exchange.go_on()
        if done:
            self._hang_up(exchange)
        elif exchange.waits != waited:
            self._selector.modify(exchange.descriptor, exchange.waits, exchange)

    def _let_in(self, listener: Any) -> None:
        for _one in range(AT_ONCE):
            try:
                stream, (address, *_port) = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # it has gone already, or there are no more descriptors
                self._closing.wait(0.05)
                return
            known, ends = self._known(address), time.monotonic() + self._patience
            exchange = self._begin(stream, source(address), known, ends)
            gives_up = leaves(self._inside.values(), exchange, self._limits)
            if gives_up:
                self.unanswered["displaced"] += 1
                gives_up.lost("others have come, and it had asked for nothing yet")
                self._hang_up(gives_up)
            self._inside[exchange.descriptor] = exchange
            self._selector.register(exchange.descriptor, exchange.waits, exchange)

    def _end_late(self) -> None:
        now = time.monotonic()
        for exchange in list(self._inside.values()):
            if exchange.ends > now:
                return
            self.unanswered["late"] += 1
            exchange.lost(f"it has not asked for anything within {self._patience:g} s")
            self._hang_up(exchange)

    def _hang_up(self, exchange: Exchange) -> None:
        if self._inside.pop(exchange.descriptor, None):
            self._selector.unregister(exchange.descriptor)
        exchange.close()


def _listener(address: str, port: int) -> socket.socket:
    """Looks up no name: the name service may be gone."""
    six = ":" in address
    listener = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # For what the kernel still has to send when a client that does not read is hung up on.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * 1000))
        if six:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
