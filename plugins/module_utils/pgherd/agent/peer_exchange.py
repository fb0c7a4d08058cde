# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One client of the port for peers: handshake with a certificate, one line that says what is wanted. What comes then is another
thread's, so that it holds up nobody here."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Protocol, Union

from .exchange import LONGEST, RECORD, Exchange

# What is left to do when the door has let go of the stream; or the answer, where nothing is.
Taken = Union[Callable[[], None], bytes]


# Why a client is refused, as metrics have it: what it shows is no certificate of the cluster's; it asks for nothing in time, or
# too much; it is no member; its kind of host may not ask for that; too many of its requests are being answered; it was tried, and
# not done.
REASONS = ("certificate", "request", "member", "right", "busy", "failed")


class Desk(Protocol):
    """Who decides about clients."""

    def take(self, stream: ssl.SSLSocket, line: bytes) -> Taken:
        """What becomes of the client that has asked for *line*. Waits for nothing."""

    def refused(self, who: str, why: str, reason: str) -> None:
        """Nothing becomes of the client at *who*, and *why*. *reason*: of which kind that is, one of REASONS."""


class PeerExchange(Exchange):
    """See Exchange."""

    def __init__(
        self,
        stream: socket.socket,
        source: str,
        known: bool,
        ends: float,
        desk: Desk,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        super().__init__(stream, source, known, ends, lambda _asked: b"", context)
        self._desk = desk
        self._taken: Callable[[], None] | None = None

    def go_on(self) -> bool:
        """See Exchange.go_on."""
        try:
            return super().go_on()
        except ssl.SSLError as error:
            self._desk.refused(self.source, _words(error), "certificate")
            raise

    def lost(self, why: str) -> None:
        """See Exchange.lost."""
        self._desk.refused(self.source, why, "request")

    def close(self) -> None:
        """Hang up, or have another thread go on."""
        if self._taken:
            self._taken()
        else:
            super().close()

    def _read(self) -> bool:
        part = self._stream.recv(RECORD)
        if not part:
            raise ConnectionError("the client went away")
        self._asked += part
        line, end, more = self._asked.partition(b"\n")
        if not end and len(self._asked) <= LONGEST:
            return False
        if not end or more or not isinstance(self._stream, ssl.SSLSocket):
            self.lost("it says more than one line of a request may have")
            raise ConnectionError("it says too much")
        taken = self._desk.take(self._stream, line)
        if isinstance(taken, bytes):
            self._rest = memoryview(taken)
        else:
            self._taken = taken
        return True


def _words(error: ssl.SSLError) -> str:
    """Why a handshake fails, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
    reason = (error.reason or "it speaks something else").replace("_", " ").lower()
    if reason == "peer did not return a certificate":
        return "it shows no certificate"
    return f"it does not speak TLS as is wanted here: {reason}"
