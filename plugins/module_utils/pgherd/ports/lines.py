# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Plain data through a stream, a line each."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from ..errors import ProtocolError
from ..text import cleaned

# Bytes of one line, and of all: signs of life alone would be that much after months.
LONGEST, MOST = 1 << 20, 64 << 20


class Lines:
    """What comes is another's word: of bounded length, all of it too, and with nothing that a terminal obeys."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""
        self._heard = 0

    def send(self, words: Mapping[str, Any]) -> None:
        """Raises OSError."""
        self._connection.sendall(json.dumps(words).encode() + b"\n")

    def next(self, seconds: float) -> Mapping[str, Any]:
        """The next one. Raises OSError when none comes within *seconds* or ever, ProtocolError when it is no such thing."""
        self._connection.settimeout(seconds)
        while b"\n" not in self._rest:
            part = self._connection.recv(65536)
            if not part:
                raise ConnectionError("it has hung up")
            self._rest += part
            self._heard += len(part)
            if len(self._rest) > LONGEST or self._heard > MOST:
                raise ProtocolError("it says more than it may")
        line, _end, self._rest = self._rest.partition(b"\n")
        try:
            found = cleaned(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"it says {line[:80]!r}") from error
        if not isinstance(found, dict):
            raise ProtocolError(f"it says {line[:80]!r}")
        return found
