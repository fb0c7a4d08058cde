# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that answers over HTTPS, or HTTP where the user wants that, read-only: what parts know, by path."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from ..errors import PgherdError
from ..model import SERVER_CERT_FILE, SERVER_KEY_FILE
from .door import LIMITS, PATIENCE, Door
from .door_part import DoorPart
from .exchange import LONGEST, Exchange
from .seats import SeatLimits


@dataclass(frozen=True)
class Answer:
    """What a path answers: HTTP's *status*, the *body* and its *kind* of content."""

    status: int
    body: str
    kind: str = "application/json"


# What is asked for beside the path (its last value where one is given twice) -> the answer.
Route = Callable[[Mapping[str, str]], Answer]


def as_json(data: Any, status: int = 200) -> Answer:
    """An answer of plain data."""
    return Answer(status, json.dumps(data, sort_keys=True) + "\n")


class HttpPart(DoorPart):
    """Serves *routes* (path -> what gives the answer) on *port* of the addresses that *where* finds, '' being all of the
    host: over TLS, unless not *secure*. *known*: whether places are kept for an address; *unanswered*: where it is
    counted who was hung up on, by why."""

    def __init__(
        self,
        where: Callable[[], Sequence[str]],
        port: int,
        routes: Mapping[str, Route],
        certificate: str = SERVER_CERT_FILE,
        key: str = SERVER_KEY_FILE,
        secure: bool = True,
        name: str = "http",
        known: Callable[[str], bool] = lambda _address: False,
        patience: float = PATIENCE,
        limits: SeatLimits = LIMITS,
        unanswered: dict[str, int] | None = None,
    ) -> None:
        self._routes = dict(routes)
        begin = partial(Exchange, reply=partial(reply, self._routes), context=self.current if secure else None)
        door = Door(begin, known, patience, limits, unanswered)
        super().__init__(name, where, port, (certificate, key) if secure else (), door, begin, known)


def reply(routes: Mapping[str, Route], asked: bytes) -> bytes:
    """The whole answer to a request, as far as it has come; b"" while there is more to come."""
    complete = b"\r\n\r\n" in asked or b"\n\n" in asked
    if not complete and len(asked) <= LONGEST:
        return b""
    words = asked.partition(b"\n")[0].decode("latin-1").split()
    if not complete:
        method, answer = "GET", as_json({"error": "the request is too long"}, 431)
    elif len(words) != 3 or not words[2].startswith("HTTP/"):
        method, answer = "GET", as_json({"error": "this is not HTTP"}, 400)
    elif words[0] not in ("GET", "HEAD", "OPTIONS"):  # some load balancers ask by OPTIONS
        method, answer = words[0], as_json({"error": "it is GET, HEAD or OPTIONS"}, 501)
    else:
        method, answer = words[0], _answer(routes, words[1])
    return _bytes(answer, method != "HEAD")


def _answer(routes: Mapping[str, Route], target: str) -> Answer:
    path, _mark, asked = target.partition("?")
    route = routes.get(path)
    if route is None:
        return as_json({"error": "no such path", "paths": sorted(routes)}, 404)
    try:
        return route(dict(parse_qsl(asked, keep_blank_values=True)))
    except PgherdError as error:
        return as_json({"error": str(error)}, 500)
    except Exception as error:  # one path that fails takes no other with it
        return as_json({"error": f"unforeseen: {type(error).__name__}: {error}"}, 500)


def _bytes(answer: Answer, whole: bool) -> bytes:
    body = answer.body.encode()
    head = (
        f"HTTP/1.0 {answer.status:d} {HTTPStatus(answer.status).phrase}\r\nServer: pgherd\r\n"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}\r\n"
        f"Content-Type: {answer.kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (body if whole else b"")
