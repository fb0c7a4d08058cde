# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Kubernetes' API server, as a pod's service account reaches it: the few requests that are needed, in a few kilobytes of
memory."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Union
from urllib.parse import quote

from ..errors import PgherdError, Unreachable
from .certificates import trusting

# Where a pod has its service account's token, the API server's authority, and its namespace.
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# Seconds for a connection, and for an answer.
LIMIT = 5.0
MERGE, STEPS, PLAIN = "application/merge-patch+json", "application/json-patch+json", "application/json"

Body = Union[Mapping[str, Any], Sequence[Mapping[str, Any]]]


class ApiRefusal(PgherdError):
    """The API server answered with a *status* of HTTP that is an error, and its *reason*."""

    def __init__(self, attempted: str, status: int, reason: str, said: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"{attempted}: the API server answers {status} {reason}: {said}")


class KubernetesApi:
    """The API server of the cluster that this pod is in, for its *namespace*, '' for the pod's own. *server*: its host and port.
    Not for two threads at once."""

    def __init__(
        self, namespace: str = "", account: str = ACCOUNT, server: tuple[str, int] | None = None, limit: float = LIMIT
    ) -> None:
        self._account = account
        self._limit = limit
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        self._server = server or (host, int(port))
        self.namespace = namespace or self._read("namespace")
        self._connection: http.client.HTTPSConnection | None = None

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object *name* of a core *kind*, such as ``pods``; None where there is none. Raises Unreachable, ApiRefusal."""
        try:
            return self._ask("GET", kind, name)
        except ApiRefusal as error:
            if error.status == http.client.NOT_FOUND:
                return None
            raise

    def create(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object. Raises Unreachable, ApiRefusal: 409 where there is one of its name."""
        return self._ask("POST", kind, "", body)

    def replace(self, kind: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object; with a resourceVersion in it, only where it is still that one. Raises Unreachable, ApiRefusal:
        409."""
        return self._ask("PUT", kind, name, body)

    def patch(self, kind: str, name: str, body: Body, how: str = MERGE) -> dict[str, Any]:
        """Change an object, by a merge patch or, as STEPS, by a list. Raises Unreachable, ApiRefusal: 422 for a test that
        fails."""
        return self._ask("PATCH", kind, name, body, how)

    def _ask(self, method: str, kind: str, name: str, body: Body | None = None, how: str = PLAIN) -> dict[str, Any]:
        attempted = f"{method} {kind}{'/' if name else ''}{name} in namespace {self.namespace}"
        path = f"/api/v1/namespaces/{quote(self.namespace)}/{kind}" + (f"/{quote(name)}" if name else "")
        status, reason, data = self._exchange(attempted, method, path, None if body is None else json.dumps(body), how)
        try:
            found = json.loads(data or b"{}")
        except ValueError:
            found = {}
        if status >= http.client.BAD_REQUEST or not isinstance(found, dict):
            said = str(found.get("message", "")) if isinstance(found, dict) else ""
            raise ApiRefusal(attempted, status, reason, said or data[:200].decode(errors="replace"))
        return found

    def _exchange(self, attempted: str, method: str, path: str, body: str | None, how: str) -> tuple[int, str, bytes]:
        # Tokens are renewed while the pod runs.
        headers = {"Authorization": f"Bearer {self._read('token')}", "Accept": PLAIN, "Content-Type": how}
        for again in (True, False):
            fresh = self._connection is None
            try:
                connection = self._connection = self._connection or self._connect()
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.reason, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A connection that stayed open may have been closed at the other end since.
                if fresh or not again:
                    words = str(error) or type(error).__name__
                    raise Unreachable(f"{attempted}: the API server does not answer: {words}.") from error
        raise AssertionError("the second attempt returns or raises")

    def _connect(self) -> http.client.HTTPSConnection:
        if not self._server[0]:
            raise OSError("KUBERNETES_SERVICE_HOST is not set: this is no pod")
        try:
            context = trusting(os.path.join(self._account, "ca.crt"))
        except ssl.SSLError as error:
            raise OSError(f"the authority in {self._account} is none: {error}") from error
        return http.client.HTTPSConnection(*self._server, timeout=self._limit, context=context)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _read(self, name: str) -> str:
        path = os.path.join(self._account, name)
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read().strip()
        except OSError as error:
            raise Unreachable(f"read {path}: {error.strerror}.", "The pod's container api has it mounted.") from error
