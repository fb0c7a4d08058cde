# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What people and playbooks have done on a node, done by its running agent: one at a time, and told step by step.

The conversation goes through the socket of command_part.py, each a line of JSON:

    who asks   {"verb": "switchover", "node": "pg2", "arguments": {"primary": "pg1"}}
    the agent  {"ready": "pg2"}, or {"refused": why}, or {"unknown": "switchover"}
    who asks   {"go": true}
    the agent  {"said": line} for each step when it is done, {"goes_on": true} where there was none for a while
    the agent  {"done": answer}, or {"failed": why}

Before "go" nothing has begun. So whoever waits no longer for "ready" hangs up, and may do it itself. After it nobody who goes
away ends it half-way: who asked may go, or read nothing any more. A stop of the agent does end it: its locks end, the notes about
half-made data stay, and the journal says what was cut off.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from ..errors import PgherdError
from .part import log
from .work import WAY_OUT

# Says each step; the arguments; what is answered, plain data.
Verb = Callable[[Callable[[str], None], Mapping[str, Any]], Mapping[str, Any]]

# Seconds that "go" may take, and each line until it is taken; from one sign of life to the next.
PATIENCE, BEAT = 10.0, 5.0


class Verbs:
    """What the agent of the node *me* does when it is asked. *about* is what it says of itself to whoever asks who it is."""

    def __init__(
        self, me: str, verbs: Mapping[str, Verb], about: Mapping[str, Any], say: Callable[[str], None] = log
    ) -> None:
        self._me = me
        self._verbs = dict(verbs)
        self._about = {"node": me, **about}
        self._say = say
        self._lock = threading.Lock()
        self._at_work = ""
        self._ending = False

    @property
    def at_work(self) -> str:
        """What it does now; '' for nothing."""
        return self._at_work

    def serve(self, connection: socket.socket, stream: TextIO, asked: Mapping[str, Any]) -> None:
        """Hold the conversation that begins with what was *asked*. Raises OSError, ValueError before anything has begun."""
        connection.settimeout(PATIENCE)
        verb = str(asked["verb"])
        if verb == "who":
            _send(connection, self._about)
            return
        if verb not in self._verbs:
            _send(connection, {"unknown": verb})
            return
        refused = self._take(verb, str(asked.get("node") or self._me))
        if refused:
            _send(connection, {"refused": refused})
            return
        told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        try:
            _send(connection, {"ready": self._me})
            if json.loads(stream.readline() or "{}") != {"go": True}:
                raise ConnectionError("whoever asked has hung up")
            arguments = dict(asked.get("arguments") or {})
            threading.Thread(target=self._run, args=(verb, arguments, told.put), name=verb, daemon=True).start()
        except BaseException:
            self._leave()
            raise
        self._follow(connection, verb, told)

    def _take(self, verb: str, node: str) -> str:
        """Be the only one at work; why not, or ''."""
        if node != self._me:
            return f"{verb} on {node}: the agent that was asked is that of {self._me}."
        with self._lock:
            if self._ending:
                return f"{verb} on {node}: its agent is being stopped. Ask again."
            if self._at_work:
                at_work = f"{verb} on {node}: its agent is at work: {self._at_work}."
                return f"{at_work} Wait for that to end; its log says how. {WAY_OUT}"
            self._at_work = verb
        return ""

    def close(self) -> None:
        """Begin nothing any more, since the agent ends, and say what ends with it."""
        with self._lock:
            self._ending, at_work = True, self._at_work
        if at_work:
            self._say(f"command: {at_work} is cut off, since the agent ends; its locks end too. See pgherd status")

    def _leave(self) -> None:
        with self._lock:
            self._at_work = ""

    def _run(self, verb: str, arguments: Mapping[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
        """In a thread of its own: it waits for nobody who listens."""

        def say(line: str) -> None:
            self._say(f"command: {line}")
            tell({"said": line})

        why, answer = "", {}
        try:
            answer = dict(self._verbs[verb](say, arguments))
        except (PgherdError, OSError) as error:
            why = " ".join(str(error).split())
        except Exception as error:  # what was not foreseen is to be seen all the same
            why = f"unforeseen: {type(error).__name__}: {error}"
        finally:
            self._leave()
        if why:
            self._say(f"command: {verb} failed: {why}")
        tell({"failed": why} if why else {"done": answer})

    def _follow(self, connection: socket.socket, verb: str, told: queue.SimpleQueue[dict[str, Any]]) -> None:
        while True:
            try:
                words = told.get(timeout=BEAT)
            except queue.Empty:
                words = {"goes_on": True}
            try:
                _send(connection, words)
            except OSError:
                if not {"done", "failed"} & set(words):
                    self._say(f"command: whoever asked for {verb} has gone; it goes on")
                return
            if {"done", "failed"} & set(words):
                return


def _send(connection: socket.socket, words: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(words).encode() + b"\n")
