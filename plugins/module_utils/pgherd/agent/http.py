# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The agent's part that answers over HTTPS, read-only: what other parts know, by path."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..errors import PgherdError
from ..model import SERVER_CERT_FILE, SERVER_KEY_FILE, Cluster
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


Route = Callable[[], Answer]


def as_json(data: Any, status: int = 200) -> Answer:
    """An answer of plain data."""
    return Answer(status, json.dumps(data, sort_keys=True) + "\n")


class HttpPart:
    """Serves *routes* (path -> what gives the answer) on *address* and *port*, '' being all addresses of the host.

    A certificate that was renewed is taken up without a restart.
    """

    name = "http"
    interval = 5.0

    def __init__(
        self,
        address: str,
        port: int,
        routes: Mapping[str, Route],
        certificate: str = SERVER_CERT_FILE,
        key: str = SERVER_KEY_FILE,
    ) -> None:
        self._address = address
        self._port = port
        self._routes = dict(routes)
        self._files = (certificate, key)
        self._written: tuple[float, ...] = ()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._server: _Server | None = None

    @classmethod
    def here(cls, cluster: Cluster, address: str, ip: str, routes: Mapping[str, Route]) -> HttpPart:
        """For the host that others call *address* and see at *ip* ('' where that is not known)."""
        listen = str(cluster.options.get("agent_listen") or "") or own_address(address, ip)
        return cls(listen, int(cluster.options.get("agent_port") or 8765), routes)

    @property
    def port(self) -> int:
        """The port that it listens on; of use where 0 was asked for."""
        return int(self._server.server_address[1]) if self._server else 0

    def tick(self, now: float) -> Sequence[Decision]:
        """Listen, if that is not so yet. Raises PgherdError where the address or the certificate does not serve."""
        self._load_certificate()
        if self._server:
            return ()
        try:
            self._server = _Server(self._address, self._port, self._routes, self._context)
        except OSError as error:
            where = f"{self._address or 'all addresses'} port {self._port}"
            raise PgherdError(f"listen on {where}: {error.strerror}.", "Set cluster_agent_listen.") from error
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return (Decision(f"listens on {self._address or 'all addresses'} port {self.port}"),)

    def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _load_certificate(self) -> None:
        try:
            written = tuple(os.stat(path).st_mtime for path in self._files)
            if written != self._written:
                self._context.load_cert_chain(*self._files)
                self._written = written
        except (OSError, ssl.SSLError) as error:
            raise PgherdError(f"read the certificate {self._files[0]}: {error.strerror or error}.") from error


def own_address(address: str, ip: str) -> str:
    """Where to listen so that others reach *address*: '' (everywhere) where that name leads only back to this host, as
    Debian's installer writes it into /etc/hosts."""
    try:
        found = ip or str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise PgherdError(f"find this host's own address {address}: {error.strerror}.", "Set ip for it.") from error
    return "" if found.startswith("127.") or found == "::1" else found


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, routes: Mapping[str, Route], context: ssl.SSLContext) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.routes = routes
        self._context = context
        self._free = threading.BoundedSemaphore(CLIENTS)
        super().__init__((address, port), _Handler)

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
            secured = self._context.wrap_socket(request, server_side=True)
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
        route = self.server.routes.get(self.path.split("?", 1)[0])
        try:
            answer = route() if route else as_json({"error": "no such path", "paths": sorted(self.server.routes)}, 404)
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

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Requests are not logged: each status asks once."""
