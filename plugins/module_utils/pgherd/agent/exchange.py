# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One client of the agent's port: handshake, request, answer, without ever waiting for it."""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# Bytes that a request with its headers may have.
LONGEST = 8192
# A record of TLS holds no more, so none is left half read, where select would not see it.
RECORD = 16384
# Request as far as it has come -> the answer, b"" when it is not complete.
Reply = Callable[[bytes], bytes]


class Exchange:
    """What is between this host and a client of *source* until *ends* (monotonic seconds). Over TLS with a *context*, which
    costs something from the client's first byte on only."""

    def __init__(
        self,
        stream: socket.socket,
        source: str,
        known: bool,
        ends: float,
        reply: Reply,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.source = source
        self.known = known
        self.ends = ends
        #: What it waits for: READ or WRITE.
        self.waits = READ
        #: The descriptor to wait for. The stream itself forgets it when it breaks.
        self.descriptor = stream.fileno()
        stream.setblocking(False)
        self._stream = stream
        self._reply = reply
        self._context = context
        self._secured = context is None
        self._asked = b""
        self._rest = memoryview(b"")

    def go_on(self) -> bool:
        """Do what can be done now. True when the answer is on its way. Raises OSError when the client is gone, or speaks
        something else."""
        try:
            self._shake_hands()
            if not self._rest and not self._read():
                self.waits = READ
                return False
            while self._rest:
                self._rest = self._rest[self._stream.send(self._rest) :]
        except ssl.SSLWantReadError:
            self.waits = READ
        except ssl.SSLWantWriteError:
            self.waits = WRITE
        except BlockingIOError:
            self.waits = WRITE if self._rest else READ
        else:
            return True
        return False

    def lost(self, why: str) -> None:
        """It is about to be hung up on without an answer: *why*."""

    def close(self) -> None:
        """Hang up. What was sent still arrives."""
        with suppress(OSError, ValueError):
            if self._secured and isinstance(self._stream, ssl.SSLSocket):
                with suppress(OSError):
                    self._stream.unwrap()  # says that this is the end, and waits for nothing
            self._stream.shutdown(socket.SHUT_WR)
        self._stream.close()

    def _shake_hands(self) -> None:
        if self._secured or self._context is None:
            return
        if not isinstance(self._stream, ssl.SSLSocket):
            if not self._stream.recv(1, socket.MSG_PEEK):
                raise ConnectionError("the client went away")
            self._stream = self._context().wrap_socket(self._stream, server_side=True, do_handshake_on_connect=False)
        self._stream.do_handshake()
        self._secured = True

    def _read(self) -> bool:
        part = self._stream.recv(RECORD)
        if not part:
            raise ConnectionError("the client went away")
        self._asked += part
        self._rest = memoryview(self._reply(self._asked))
        return bool(self._rest)
