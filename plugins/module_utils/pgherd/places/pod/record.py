# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The record that the cluster was initialised: kept in a ConfigMap by the one container of a pod that may speak to the API
server, and asked of that by the others through a socket. One request is one line of JSON, and so is the answer."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from ...errors import PgherdError, Unreachable
from ...model import build
from ...ports.initialization import NOBODY, Initialization, InitializationRecord, adopted, begun, ended
from ...ports.kubernetes_api import ApiRefusal, KubernetesApi
from .listener import listen

# Where that container listens; beside it no other of the pod's users gets at it.
SOCKET = f"{os.environ.get('PGHERD_API', '/run/pgherd-api')}/api"
# Seconds for an answer, which may take a request to the API server or two; and where only a look is asked for, which a start may
# wait for. For so many what the record says for good is not looked up again.
LIMIT, QUICK, KNOWN = 8.0, 2.0, 30.0
CONFLICT = 409


class AskedRecord:
    """See InitializationRecord: asked at the socket *path*."""

    def __init__(self, path: str = SOCKET, limit: float = LIMIT) -> None:
        self._path = path
        self._limit = limit

    def read(self) -> Initialization:
        """See InitializationRecord."""
        return build(Initialization, self._ask({"verb": "record"}, min(self._limit, QUICK)))

    def begin(self, by: str) -> Initialization:
        """See InitializationRecord."""
        return self._record(verb="record_begin", by=by)

    def end(self, by: str, system_id: str) -> Initialization:
        """See InitializationRecord."""
        return self._record(verb="record_end", by=by, system_id=system_id)

    def adopt(self, by: str, system_id: str) -> Initialization:
        """See InitializationRecord."""
        return self._record(verb="record_adopt", by=by, system_id=system_id)

    def grow(self) -> Initialization:
        """See InitializationRecord."""
        return self._record(verb="record_grow")

    def ending(self) -> tuple[str, ...]:
        """The nodes whose pods are ending, or are not there."""
        return tuple(map(str, self._ask({"verb": "ending"}).get("ending", ())))

    def _record(self, **asked: str) -> Initialization:
        return build(Initialization, self._ask(asked))

    def _ask(self, asked: Mapping[str, str], limit: float = 0.0) -> Mapping[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(limit or self._limit)
                connection.connect(self._path)
                connection.sendall(json.dumps(asked).encode() + b"\n")
                with connection.makefile(encoding="utf-8") as stream:
                    answer = dict(json.loads(stream.readline()))
        except (OSError, ValueError, TypeError) as error:
            raise Unreachable(f"{asked['verb']}: the container api of this pod does not answer: {error}.") from error
        if "error" in answer:
            raise Unreachable(str(answer["error"]))
        return answer


def serve(record: InitializationRecord, ending: Callable[[], Iterable[str]], path: str = SOCKET) -> socket.socket:
    """Answer at *path*, beside the caller, until the socket is closed. *ending*: see AskedRecord.ending()."""
    one = threading.Lock()
    # The other containers are of its group.
    return listen(path, 0o660, lambda connection: _answer(connection, record, ending, one))


def _answer(
    connection: socket.socket,
    record: InitializationRecord,
    ending: Callable[[], Iterable[str]],
    one: threading.Lock,
) -> None:
    with suppress(OSError, ValueError), connection, connection.makefile("rw", encoding="utf-8") as stream:
        connection.settimeout(LIMIT)
        asked = json.loads(stream.readline())
        try:
            with one:
                answer = answered(record, ending, asked)
        except PgherdError as error:
            answer = {"error": str(error)}
        stream.write(json.dumps(answer) + "\n")


def answered(record: InitializationRecord, ending: Callable[[], Iterable[str]], asked: Any) -> dict[str, Any]:
    """The answer to what was *asked*. Raises PgherdError."""
    verb = asked.get("verb") if isinstance(asked, Mapping) else None
    if verb == "record":
        return asdict(record.read())
    if verb == "record_begin":
        return asdict(record.begin(str(asked["by"])))
    if verb == "record_end":
        return asdict(record.end(str(asked["by"]), str(asked["system_id"])))
    if verb == "record_adopt":
        return asdict(record.adopt(str(asked["by"]), str(asked["system_id"])))
    if verb == "record_grow":
        return asdict(record.grow())
    if verb == "ending":
        return {"ending": sorted(ending())}
    raise PgherdError(f"{str(verb)[:40]}: there is no such verb to ask the container api for.")


class KubernetesRecord:
    """See InitializationRecord: the ConfigMap *name*. What is changed is the version that was read, or nothing. What it says for
    good is remembered: while the API server is away, it says that still."""

    def __init__(self, api: KubernetesApi, name: str, labels: Mapping[str, str] | None = None) -> None:
        self._api = api
        self._name = name
        self._labels = dict(labels or {})
        self._for_good: Initialization | None = None
        self._at = float("-inf")

    def read(self) -> Initialization:
        """See InitializationRecord."""
        now = time.monotonic()
        if self._for_good and now - self._at < KNOWN:
            return self._for_good
        self._at = now
        try:
            return self._known(_parsed(self._there()))
        except PgherdError as error:
            if self._for_good:
                return self._for_good
            raise _unreachable(error) from error

    def begin(self, by: str) -> Initialization:
        """See InitializationRecord."""
        return self._change(lambda found: begun(found, by))

    def end(self, by: str, system_id: str) -> Initialization:
        """See InitializationRecord."""
        return self._change(lambda found: ended(found, by, system_id))

    def adopt(self, by: str, system_id: str) -> Initialization:
        """See InitializationRecord."""
        return self._change(lambda found: adopted(found, by, system_id))

    def grow(self) -> Initialization:
        """See InitializationRecord."""
        return self._change(lambda found: replace(found, grown=True))

    def _there(self) -> dict[str, Any] | None:
        return self._api.get("configmaps", self._name)

    def _known(self, found: Initialization) -> Initialization:
        self._for_good = found if found.system_id and found.grown else None
        return found

    def _change(self, to: Callable[[Initialization], Initialization]) -> Initialization:
        try:
            there = self._there()
            found = _parsed(there)
            wanted = to(found)
            if wanted == found:
                return self._known(found)
            data = {"by": wanted.by, "system_id": wanted.system_id, "grown": str(wanted.grown).lower()}
            if there is None:
                meta = {"name": self._name, "labels": self._labels}
                self._api.create(
                    "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
                )
            else:
                # The resourceVersion in it makes this the swap that is compared.
                self._api.replace("configmaps", self._name, {**there, "data": {**(there.get("data") or {}), **data}})
            return self._known(wanted)
        except ApiRefusal as error:
            if error.status == CONFLICT:
                # Another one was first: what that one wrote counts.
                return self.read()
            raise _unreachable(error) from error


def _parsed(there: Mapping[str, Any] | None) -> Initialization:
    data = (there or {}).get("data") or {}
    if not data:
        return NOBODY
    # One without that word says nothing of others, who then may hold the cluster.
    return Initialization(str(data.get("by", "")), str(data.get("system_id", "")), data.get("grown") != "false")


def _unreachable(error: PgherdError) -> Unreachable:
    return error if isinstance(error, Unreachable) else Unreachable(str(error))
