# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Services of a pod as its other processes have them: asked of process 1, through a socket that only its user gets at.

One request is one line of JSON, the verb and its arguments, and so is the answer.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from functools import partial
from typing import Any

from ...errors import CommandError, PgherdError, Unreachable
from .listener import listen
from .supervisor import Supervisor

VERBS = ("state", "since", "process", "start", "stop", "restart", "reload")
# Seconds that process 1 has to answer, beside those that a verb may take.
ANSWER = 10.0


class PodServices:
    """See ports/services.py. *path* is process 1's socket. Raises Unreachable where that does not answer, too."""

    def __init__(self, path: str) -> None:
        self._path = path

    def state(self, name: str) -> str:
        """See Services.state."""
        return str(self._ask("state", name))

    def since(self, name: str) -> float | None:
        """See Services.since."""
        found = self._ask("since", name)
        return None if found is None else float(found)

    def process(self, name: str) -> int:
        """See Services.process."""
        return int(self._ask("process", name))

    def start(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Services.start."""
        self._ask("start", name, timeout=timeout, wait=wait)

    def stop(self, name: str, timeout: float = 120.0) -> None:
        """See Services.stop."""
        self._ask("stop", name, timeout=timeout)

    def restart(self, name: str, timeout: float = 120.0, wait: bool = True) -> None:
        """See Services.restart."""
        self._ask("restart", name, timeout=timeout, wait=wait)

    def reload(self, name: str) -> None:
        """See Services.reload."""
        self._ask("reload", name)

    def reread(self) -> None:
        """See Services.reread: how a service is started is part of process 1."""

    def written(self, name: str) -> float:
        """See Services.written."""
        return 0.0

    def log(self, *names: str) -> str:
        """See Services.log: all that a pod says is one log."""
        return f"kubectl logs {socket.gethostname()}"

    def _ask(self, verb: str, name: str, **more: Any) -> Any:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2 * float(more.get("timeout", 0.0)) + ANSWER)
                connection.connect(self._path)
                connection.sendall(json.dumps({"verb": verb, "name": name, **more}).encode() + b"\n")
                with connection.makefile(encoding="utf-8") as stream:
                    answer = json.loads(stream.readline() or "{}")
        except (OSError, ValueError) as error:
            raise Unreachable(f"{verb} {name}: process 1 does not answer: {error}.") from error
        if "answer" in answer:
            return answer["answer"]
        reason = f"Its reason: {self.log()}"
        if answer.get("argv"):
            raise CommandError(f"{verb} {name}", answer["argv"], answer["rc"], "", answer["error"], reason)
        kind = Unreachable if answer.get("late") else PgherdError
        raise kind(answer.get("error") or f"{verb} {name}: process 1 gave no answer.", reason)


def serve(supervisor: Supervisor, path: str) -> socket.socket:
    """Answer at *path*, beside the caller, until the socket is closed."""
    return listen(path, 0o600, partial(_answer, supervisor))


def _answer(supervisor: Supervisor, connection: socket.socket) -> None:
    with suppress(OSError, ValueError), connection, connection.makefile("rw", encoding="utf-8") as stream:
        asked = json.loads(stream.readline())
        verb, name = asked.pop("verb", ""), str(asked.pop("name", ""))
        answer: dict[str, Any]
        try:
            if verb not in VERBS:
                raise PgherdError(f"{verb} {name}: process 1 knows no such verb.")
            answer = {"answer": getattr(supervisor, verb)(name, **asked)}
        except CommandError as error:
            answer = {"error": error.err, "argv": error.argv, "rc": error.rc}
        except PgherdError as error:
            answer = {"error": str(error), "late": isinstance(error, Unreachable)}
        stream.write(json.dumps(answer) + "\n")
