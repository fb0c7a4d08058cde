# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's ear: repmgrd's commands reach the running agent through a socket, which spares them a program's start.

One request is one line of JSON: the command and its arguments. The answer is lines of text as they are said, then the
exit code alone. Only this user's processes get at the socket: its directory is theirs.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import PgherdError
from .loop import Decision, log

PATH = "/run/pgherd-agent/command"
Run = Callable[[Callable[[str], None], Mapping[str, Any]], int]


class CommandPart:
    """Runs *commands* for whoever asks at the socket *path*, each in a thread of its own."""

    name = "command"
    interval = 0.5

    def __init__(self, commands: Mapping[str, Run], path: str = PATH, say: Callable[[str], None] = log) -> None:
        self._commands = commands
        self._path = path
        self._say = say
        self._ended: dict[str, tuple[float, int]] = {}
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        os.chmod(path, 0o600)
        self._socket.listen(16)
        threading.Thread(target=self._listen, daemon=True).start()

    def tick(self, now: float) -> Sequence[Decision]:
        """See loop.Part: what is said is said at once."""
        return ()

    def close(self) -> None:
        """See loop.Part."""
        self._socket.close()
        with suppress(OSError):
            os.unlink(self._path)

    def view(self) -> Mapping[str, tuple[float, int]]:
        """By command when it last ended, in seconds since the epoch, and with which exit code."""
        return dict(self._ended)

    def _listen(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection, connection.makefile("rw", encoding="utf-8") as stream:
            asked = json.loads(stream.readline())

            def say(line: str) -> None:
                self._say(f"command: {line}")
                # Whoever asked may have gone; what was begun goes on.
                with suppress(OSError, ValueError):
                    stream.write(f"{line}\n")
                    stream.flush()

            try:
                code = self._commands[asked["command"]](say, asked.get("arguments") or {})
            except PgherdError as error:
                say(f"{asked['command']}: {' '.join(str(error).split())}")
                code = 1
            self._ended[asked["command"]] = (time.time(), code)
            stream.write(f"{code}\n")


def ask(command: str, arguments: Mapping[str, Any], say: Callable[[str], None], path: str = PATH) -> int | None:
    """Have the agent on this host run *command*, and return its exit code; None when there is no agent to ask. An agent
    that ends half-way counts as exit code 1."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps({"command": command, "arguments": dict(arguments)}) + "\n")
                stream.flush()
                last = ""
                for line in stream:
                    if last:
                        say(last)
                    last = line.rstrip("\n")
                return int(last) if last.isdigit() else 1
    except OSError:
        return None
