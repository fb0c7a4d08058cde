# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that answers over HTTPS, or HTTP where the user wants that, read-only: what parts know, by path."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qsl

from ..errors import PgherdError
from ..model import SERVER_CERT_FILE, SERVER_KEY_FILE
from .loop import Decision

# Seconds that a client may take for its handshake, its request, and to take the answer, each.
PATIENCE = 5.0
# Clients that are answered at the same time; more have to wait.
CLIENTS = 16


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


class HttpPart:
    """Serves *routes* (path -> what gives the answer) on *port* of the addresses that *where* finds, '' being all of the
    host: over TLS, unless not *secure*.

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
    ) -> None:
        self.name = name
        self._where = where
        self._port = port
        self._routes = dict(routes)
        self._files = (certificate, key)
        self._written: tuple[float, ...] = ()
        self._context: ssl.SSLContext | None = None
        if secure:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._servers: dict[str, _Server] = {}
        self._complete = False

    @property
    def port(self) -> int:
        """The port that it listens on; of use where 0 was asked for."""
        return next((int(server.server_address[1]) for server in self._servers.values()), 0)

    def tick(self, now: float) -> Sequence[Decision]:
        """Listen, where that is not so yet. Raises PgherdError where an address or the certificate does not serve."""
        if self._context:
            self._load_certificate(self._context)
        if self._complete:
            return ()
        decisions, wrong = [], ""
        for address in self._where():
            if address in self._servers:
                continue
            where = f"{address or 'all addresses'} port {self._port}"
            try:
                server = _Server(address, self._port, self._routes, self._context)
            except OSError as error:
                wrong = wrong or f"listen on {where}: {error.strerror}."
                continue
            self._servers[address] = server
            threading.Thread(target=server.serve_forever, daemon=True).start()
            found = f"{address or 'all addresses'} port {server.server_address[1]}"
            decisions.append(Decision(f"listens on {found}{'' if self._context else ' without TLS'}"))
        if wrong:
            raise PgherdError(wrong, "Set cluster_agent_listen.")
        self._complete = True
        return decisions

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self._servers, self._complete = {}, False

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        try:
            written = tuple(os.stat(path).st_mtime for path in self._files)
            if written != self._written:
                context.load_cert_chain(*self._files)
                self._written = written
        except (OSError, ssl.SSLError) as error:
            raise PgherdError(f"read the certificate {self._files[0]}: {error.strerror or error}.") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, port: int, routes: Mapping[str, Route], context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.routes = routes
        self._context = context
        self._free = threading.BoundedSemaphore(CLIENTS)
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Bind, and look up no name for it: the name service may be gone."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, once one of the places is free."""
        if self._free.acquire(timeout=PATIENCE):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands here, where a client that is slow holds up nobody else."""
        try:
            request.settimeout(PATIENCE)
            secured = self._context.wrap_socket(request, server_side=True) if self._context else request
        except OSError:  # no TLS, or gone: nothing of ours
            self.shutdown_request(request)
        else:
            super().process_request_thread(secured, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version = "pgherd"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer the path."""
        path, _mark, asked = self.path.partition("?")
        route = self.server.routes.get(path)
        try:
            query = dict(parse_qsl(asked, keep_blank_values=True)) if route else {}
            answer = (
                route(query) if route else as_json({"error": "no such path", "paths": sorted(self.server.routes)}, 404)
            )
        except PgherdError as error:
            answer = as_json({"error": str(error)}, 500)
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def do_OPTIONS(self) -> None:
        """As GET: some load balancers ask so."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Requests are not logged: each status asks once."""
