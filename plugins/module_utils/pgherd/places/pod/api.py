# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The one process of a data node's pod that may speak to the API server: it sets the pod's labels, takes a label that another
pod's agent cannot take any more, tells of it by Events, and keeps the record of the cluster's initialisation.

Nobody waits for it: not a fence, not a promotion, not a start.
"""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ...description import read
from ...errors import PgherdError
from ...model import CONFIG_FILE, POD, Cluster
from ...ports.kubernetes_api import STEPS, ApiRefusal, KubernetesApi
from . import labels
from .files import host_of
from .labels import AgentAnswers, Labels
from .record import SOCKET, KubernetesRecord, serve

# Seconds for an answer of the agent; from one look at the labels of this pod, and of others, to the next.
LIMIT, OWN, OTHERS = 2.0, 10.0, 2.0
GONE, FAILED_TEST = 404, 422


class AgentWatch:
    """What the agent of this pod answers at *address*. Its certificate is not looked at: who answers there is this pod."""

    def __init__(self, address: str, port: int) -> None:
        self._where = address, port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def look(self) -> AgentAnswers:
        """What it says now."""
        found = AgentAnswers(self._get("/primary"))
        return found if found.is_primary else AgentAnswers(found.primary, self._get("/replica"))

    def _get(self, path: str) -> dict[str, Any] | None:
        connection = http.client.HTTPSConnection(*self._where, timeout=LIMIT, context=self._context)
        try:
            connection.request("GET", path)
            found = json.loads(connection.getresponse().read())
            return found if isinstance(found, dict) else None
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class Labeller:
    """Has the pods of *cluster* carry the labels that the agent of *me* wants, through *api*. *say* takes a line for people.
    *last* is the role that this pod had last, None where that is not known."""

    def __init__(
        self, api: KubernetesApi, cluster: Cluster, me: str, say: Callable[[str], None], last: str | None = None
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._me = me
        self._say = say
        self._set: dict[str, str | None] = {}
        self._own_at = self._others_at = self._heard = float("-inf")
        self._primary = ""
        self.last = last

    def look(self, said: AgentAnswers, now: float) -> None:
        """Do what follows from what the agent *said* at *now*, monotonic seconds. Raises PgherdError."""
        self._heard = now if said.whole else self._heard
        if labels.waited_for(said, now - self._heard):
            return
        wanted = labels.wanted(said)
        if wanted != self._set or now - self._own_at >= OWN:
            self._own(wanted)
            self._own_at = now
        primary = labels.real_primary(self._me, said)
        if primary and (primary != self._primary or now - self._others_at >= OTHERS):
            self._others_at, self._primary = now, primary
            self._take_from_others(primary)

    def _own(self, wanted: dict[str, str | None]) -> None:
        there = self._api.get("pods", self._me)
        if there is None:
            raise PgherdError(f"label {self._me}: there is no such pod.")
        found = there["metadata"].get("labels") or {}
        if change := labels.differing(found, wanted):
            self._api.patch("pods", self._me, {"metadata": {"labels": change}})
            self._say(f"labels: {_said(wanted)}")
            self._tell(there, found, wanted)
        self._set = wanted
        self.last = labels.last_role(self.last, found, wanted)

    def _take_from_others(self, primary: str) -> None:
        for node in self._cluster.data_nodes:
            if node.name in (self._me, primary) or node.place != POD:
                continue
            found = ((self._api.get("pods", node.name) or {}).get("metadata") or {}).get("labels") or {}
            if labels.is_stale(node.name, primary, found):
                self._take(node.name, found)
                self._say(f"labels: {node.name} is not called primary any more: {primary} is it")

    def _take(self, name: str, found: dict[str, str]) -> None:
        """Only what was seen: its own agent may have changed it since."""
        steps = [{"op": "test", "path": _path(labels.ROLE), "value": found[labels.ROLE]}]
        steps += [{"op": "remove", "path": _path(key)} for key in (labels.ROLE, labels.READ) if key in found]
        try:
            self._api.patch("pods", name, steps, STEPS)
        except ApiRefusal as error:
            if error.status not in (GONE, FAILED_TEST):
                raise

    def _tell(self, pod: dict[str, Any], before: Labels, after: Labels) -> None:
        told = labels.event(before, after, self._me, self.last)
        if told is None:
            return
        at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
        try:
            self._api.create(
                "events",
                {
                    "metadata": {"generateName": f"{self._me}.", "namespace": self._api.namespace},
                    "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
                    "reason": told[0],
                    "message": told[1],
                    "type": "Normal",
                    "source": {"component": "pgherd", "host": self._me},
                    "firstTimestamp": at,
                    "lastTimestamp": at,
                    "count": 1,
                },
            )
        except PgherdError as error:
            self._say(f"events: {error}")


def _path(label: str) -> str:
    """A label as JSON Pointer (RFC 6901) has it."""
    return f"/metadata/labels/{label.replace('~', '~0').replace('/', '~1')}"


def _said(wanted: Labels) -> str:
    return ", ".join(f"{key}={value}" for key, value in wanted.items() if value) or "none"


def ending(api: KubernetesApi, cluster: Cluster) -> list[str]:
    """The data nodes whose pods are ending, or are not there. Raises PgherdError."""
    found = {node.name: api.get("pods", node.name) for node in cluster.data_nodes if node.place == POD}
    return [name for name, pod in found.items() if pod is None or pod["metadata"].get("deletionTimestamp")]


def main(name: str, say: Callable[[str], None], config: str = CONFIG_FILE, path: str = SOCKET) -> int:
    """Run for the pod called *name* until SIGTERM or SIGINT."""
    over, said = threading.Event(), ""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    by = read(config)
    cluster = by.cluster
    mine = host_of(cluster, name)
    marks = {"app.kubernetes.io/name": "pgherd", "app.kubernetes.io/instance": cluster.name}
    # What is asked for through the socket waits for no look.
    asked = KubernetesApi()
    serve(KubernetesRecord(asked, f"{cluster.name}-record", marks), lambda: ending(asked, read(config).cluster), path)
    agent, labeller = (
        AgentWatch(mine.address, cluster.options.agent_port),
        Labeller(KubernetesApi(), cluster, name, say),
    )
    say(f"keeps the labels of {name} and the record of {cluster.name}")
    data = name in {node.name for node in cluster.data_nodes}
    pause, role_at = labels.LOOK, time.monotonic()
    while not over.wait(pause):
        try:
            if (there := read(config)).digest != by.digest:
                by = there
                agent = AgentWatch(host_of(by.cluster, name).address, by.cluster.options.agent_port)
                labeller = Labeller(KubernetesApi(), by.cluster, name, say, labeller.last)
            if data:
                found, now = agent.look(), time.monotonic()
                role_at = now if found.is_primary or found.is_standby else role_at
                pause = labels.pause(now - role_at)
                labeller.look(found, now)
            words = ""
        except (PgherdError, KeyError) as error:  # the loop goes on
            words = " ".join(str(error).split())
        if words and words != said:
            say(f"fault: {words}")
        said = words
    return 0
