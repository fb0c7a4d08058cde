# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that answers over HTTPS, or HTTP where the user wants that, read-only: what parts know, by path."""

from __future__ import annotations

import json
import os
import ssl
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
from .exchange import LONGEST
from .part import Decision, Part, Replaceable
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


class HttpPart(Replaceable):
    """Serves *routes* (path -> what gives the answer) on *port* of the addresses that *where* finds, '' being all of the
    host: over TLS, unless not *secure*. *known*: whether places are kept for an address; *unanswered*: where it is
    counted who was hung up on, by why.

    A certificate that was renewed is taken up without a restart. Addresses are looked for until all are listened on.
    """

    interval = 5.0

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
        self.name = name
        self._where = where
        self._port = port
        self._routes = dict(routes)
        self._files = (certificate, key)
        self._written: tuple[float, ...] = ()
        self._secure = secure
        self._context = _context() if secure else None
        self._answers = partial(reply, self._routes), self._current if secure else None, known
        self.door = Door(*self._answers, patience, limits, unanswered)
        self._complete = self._replaced = self._taken = False

    @property
    def port(self) -> int:
        """The port that it listens on; of use where 0 was asked for."""
        return next(iter(self.door.ports.values()), 0)

    def tick(self, now: float) -> Sequence[Decision]:
        """Listen, where that is not so yet. Raises PgherdError where an address or the certificate does not serve."""
        if self._secure:
            self._load_certificate()
        fault = self.door.fault()
        if fault:
            raise PgherdError(f"answer on port {self.port}: {fault}")
        if self._complete:
            return ()
        decisions, wrong, wanted = [], "", self._where()
        # First: all addresses and one of them are not to be had together.
        for address in set(self.door.ports) - {*wanted} if self._taken else ():
            self.door.leave(address)
        self._taken = False
        for address in wanted:
            if address in self.door.ports:
                continue
            where = address or "all addresses"
            try:
                port = self.door.listen(address, self._port)
            except OSError as error:
                wrong = wrong or f"listen on {where} port {self._port}: {error.strerror}."
                continue
            decisions.append(Decision(f"listens on {where} port {port}{'' if self._secure else ' without TLS'}"))
        if wrong:
            raise PgherdError(wrong, "Set cluster_agent_listen.")
        self._complete = True
        return decisions

    def close(self) -> None:
        """Stop listening."""
        if not self._replaced:
            self.door.close()

    def take_over(self, before: Part) -> None:
        """See part.Replaceable: the same sockets, where they are on the same port and as open as these shall be."""
        if isinstance(before, HttpPart) and (before._port, before._secure) == (self._port, self._secure):
            self._context, self._written = before._context, before._written
            before.door.answer_by(*self._answers, self.door.unanswered)
            self.door, self._taken, before._replaced = before.door, True, True

    def _current(self) -> ssl.SSLContext:
        if self._context is None:
            raise AssertionError("only asked where there is TLS")
        return self._context

    def _load_certificate(self) -> None:
        """Into a context of its own: one that does not serve leaves the last one as it is."""
        try:
            written = tuple(os.stat(path).st_mtime for path in self._files)
            if written != self._written:
                context = _context()
                context.load_cert_chain(*self._files)
                self._context, self._written = context, written
        except (OSError, ssl.SSLError) as error:
            raise PgherdError(f"read the certificate {self._files[0]}: {error.strerror or error}.") from error


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # one handshake for each client
    return context


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
