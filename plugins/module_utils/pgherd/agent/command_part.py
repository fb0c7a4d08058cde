# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's socket: repmgrd's commands, the start guard's question and the verbs of people reach the running agent by a socket.

That spares them a program's start, or most of it.

One request is one line of JSON: the command and its arguments. The answer is lines of text as they are said, then the
exit code alone. For verbs see verbs.py. Only this user's processes get at the socket: its directory is theirs.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

from ..errors import PgherdError
from .command_socket import CommandSocket
from .part import Decision, Part, Replaceable, log
from .verbs import Verbs

Run = Callable[[Callable[[str], None], Mapping[str, Any]], int]


class CommandPart(Replaceable):
    """Runs *commands* for whoever asks at the socket *path*, or by the *listener* that outlives this part, each in a thread of
    its own, and *verbs*."""

    name = "command"
    interval = 0.5

    def __init__(
        self,
        commands: Mapping[str, Run],
        listener: str | CommandSocket[CommandPart],
        say: Callable[[str], None] = log,
        verbs: Verbs | None = None,
    ) -> None:
        self._commands = commands
        self._verbs = verbs
        self._say = say
        self._listener: CommandSocket[CommandPart] = CommandSocket(listener) if isinstance(listener, str) else listener
        self._replaced = False
        self._listener.open(self, partial(_serve, self._listener))

    def tick(self, now: float) -> Sequence[Decision]:
        """See part.Part: what is said is said at once."""
        return ()

    def close(self) -> None:
        """See part.Part."""
        if not self._replaced:
            self._listener.close()
            if self._verbs:
                self._verbs.close()

    def pause(self) -> str:
        """See part.Replaceable: what is asked for waits until resume()."""
        # What a verb has begun goes on when whoever asked for it has gone.
        return ", ".join(
            filter(None, dict.fromkeys((self._listener.pause(), self._verbs.at_work if self._verbs else "")))
        )

    def resume(self) -> None:
        """See part.Replaceable."""
        self._listener.resume()

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: from now on, what is asked for is begun here."""
        if isinstance(before, CommandPart):
            before._replaced = True
            self._listener.resume(self)

    def view(self) -> Mapping[str, tuple[float, int]]:
        """By command when it last ended, in seconds since the epoch, and with which exit code."""
        return dict(self._listener.ended)

    def converse(self, connection: socket.socket, asked: Mapping[str, Any], refused: Callable[[], str]) -> None:
        """Hold the conversation of verbs.py that began with what was *asked*, as whichever part is in this one's place by then.
        *refused* says why nothing may begin, looked at then, or ''. Raises PgherdError, OSError, ValueError."""
        with connection.makefile("rw", encoding="utf-8") as stream, self._listener.at_work(str(asked["verb"])) as part:
            if why := refused():
                raise PgherdError(why)
            if part._verbs:
                part._verbs.serve(connection, stream, asked)

    def _answer(self, stream: TextIO, asked: Mapping[str, Any]) -> None:
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
        self._listener.ended[asked["command"]] = (time.time(), code)
        stream.write(f"{code}\n")


def _serve(listener: CommandSocket[CommandPart], connection: socket.socket) -> None:
    with suppress(OSError, ValueError), connection, connection.makefile("rw", encoding="utf-8") as stream:
        asked = json.loads(stream.readline())
        with listener.at_work(str(asked["verb"] if "verb" in asked else asked["command"])) as part:
            if part._verbs and "verb" in asked:
                part._verbs.serve(connection, stream, asked)
            else:
                part._answer(stream, asked)


def ask(
    command: str,
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    path: str,
) -> int | None:
    """Have the agent on this host run *command*, and return its exit code; None when there is no agent to ask. An agent that ends
    half-way counts as exit code 1."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            connection.sendall(json.dumps({"command": command, "arguments": dict(arguments)}).encode() + b"\n")
            last = ""
            for line in _lines(connection):
                if last:
                    say(last)
                last = line
            return int(last) if last.isdigit() else 1
    except OSError:
        return None


def _lines(connection: socket.socket) -> Iterator[str]:
    """What comes, line by line. Raises OSError."""
    rest = b""
    while True:
        data = connection.recv(65536)
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        if not data:
            break
    if rest:
        yield rest.decode(errors="replace")
