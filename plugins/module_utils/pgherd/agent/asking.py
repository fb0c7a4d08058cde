# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Has the agent on this host, or another node's, do the steps of a plan, and follows them; where no agent runs here they are done
by who asks.

See verbs.py for the conversation.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Union

from ..errors import PgherdError, ProtocolError
from ..ports.directories import as_owner
from ..ports.lines import Lines

# Seconds until it has to be ready, and for which it may then be silent. It gives a sign of life every five.
READY, SILENT = 10.0, 60.0


# Where an agent is asked: the path of its socket here, or what connects to another node's.
Way = Union[str, Callable[[], socket.socket]]


class Asking:
    """An executor whose steps the agent of the node *me* does, asked by *way*. *said* takes each line when it is said; *own* has,
    by step, what does it in this process where no agent runs; nothing where that is another's host."""

    def __init__(
        self, me: str, way: Way, said: Callable[[str], None], own: Mapping[str, Callable[..., object]]
    ) -> None:
        self._me = me
        self._way = way
        self._said = said
        self._own = own

    def switchover(self, primary: str) -> None:
        """Take over from *primary*."""
        self._do("switchover", primary=primary)

    def promote(self, primary: str, accept_loss: bool) -> None:
        """Take the place of *primary*, which is gone."""
        self._do("promote", primary=primary, accept_loss=accept_loss)

    def rejoin(self, target: str) -> None:
        """Come back below *target*."""
        self._do("rejoin", target=target)

    def _do(self, verb: str, **arguments: Any) -> None:
        why: list[str] = []
        if ask(verb, self._me, arguments, self._said, self._way, why.append) is not None:
            return
        if verb not in self._own:
            raise PgherdError(
                f"{verb} on {self._me}: its agent cannot be asked from here: {why[0]}.", f"Run it on {self._me}."
            )
        self._own[verb](**arguments)


def ask(
    verb: str,
    node: str,
    arguments: Mapping[str, Any],
    said: Callable[[str], None],
    way: Way,
    nobody: Callable[[str], object] = lambda _why: None,
) -> Mapping[str, Any] | None:
    """Have the agent that is asked by *way*, which has to be that of *node*, do *verb*; its answer. None where no agent does it,
    and *nobody* takes why: none is there, or it is of a release that does not know the verb, or it did not come to begin. Raises
    PgherdError when it refuses, or failed, and when it is not known how it ended."""
    try:
        connection = _connected(way) if isinstance(way, str) else way()
    except OSError as error:
        nobody(_words(error))
        return None
    with connection:
        lines = Lines(connection)
        try:
            lines.send({"verb": verb, "node": node, "arguments": dict(arguments)})
            first = lines.next(READY)
        except (OSError, ProtocolError) as error:
            nobody(_words(error))
            return None
        if "refused" in first:
            raise PgherdError(str(first["refused"]))
        if first.get("ready") != node:
            nobody(f"it says {str(dict(first))[:80]}")
            return None
        try:
            return _follow(lines, said, f"{verb} on {node}")
        except KeyboardInterrupt:
            said(f"{verb} on {node} goes on: its agent does it, and its log says how it ends.")
            raise


def who(path: str) -> Mapping[str, Any]:
    """What the agent at the socket *path* says of itself: ``node``, its name, and ``postgres``, the major version as a number;
    nothing where there is no agent that says it. Raises PgherdError where there may be one, and this user may not ask it."""
    try:
        with _connected(path) as connection:
            lines = Lines(connection)
            lines.send({"verb": "who"})
            found = lines.next(READY)
    except PermissionError as error:
        raise PgherdError(f"ask the agent on this host, at {path}: {error.strerror}.", "Run it as root.") from error
    except (OSError, ProtocolError):
        return {}
    version = found.get("postgres")
    known = isinstance(found.get("node"), str) and isinstance(version, int) and not isinstance(version, bool)
    return found if known else {}


def _follow(lines: Lines, said: Callable[[str], None], what: str) -> Mapping[str, Any]:
    """Have *what* the agent is ready for begin, and wait until it is done. What *said* raises is its own."""
    try:
        lines.send({"go": True})
    except OSError as error:
        raise _lost(what, error) from error
    while True:
        try:
            words = lines.next(SILENT)
            if not isinstance(words.get("done", {}), dict):
                raise ProtocolError(f"it says {str(words)[:80]!r}")
        except (OSError, ProtocolError) as error:
            raise _lost(what, error) from error
        if "said" in words:
            said(str(words["said"]))
        if "failed" in words:
            raise PgherdError(str(words["failed"]))
        if "done" in words:
            return dict(words["done"])


def _words(error: Exception) -> str:
    said = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return str(said).rstrip(".")


def _lost(what: str, why: Exception) -> PgherdError:
    cure = "It may go on, or have ended: see pgherd status, and the log of that agent."
    return PgherdError(f"{what}: its agent was at it, and is not heard any more: {why}.", cure)


def _connected(path: str) -> socket.socket:
    """Raises OSError. As root with the rights of the agent's user: its directory is not root's, and what stands there could lead
    to another's socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(READY)
        with as_owner(os.path.dirname(path)):
            connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
