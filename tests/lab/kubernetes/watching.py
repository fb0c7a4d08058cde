# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Watches where the write service of a cluster in pods leads, and which pod is labelled as the primary, as Kubernetes has it.

watching.py NAMESPACE CLUSTER FILE     until SIGTERM, or until who started it has ended; each change is a line of JSON in FILE
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import state

WATCHED = {
    "slice": (
        "endpointslices",
        "kubernetes.io/service-name={}-write",
        '{.type} {.object.metadata.name}{range .object.endpoints[*]} {.targetRef.name}={.conditions.ready}{end}{"\\n"}',
    ),
    "pod": (
        "pods",
        "app.kubernetes.io/instance={},app.kubernetes.io/component=postgres",
        '{.type} {.object.metadata.name} {.object.metadata.labels.pgherd\\.io/role}{"\\n"}',
    ),
}


class Watch:
    """One kind of object, watched again whenever the API server has ended it."""

    def __init__(self, kind: str, space: str, cluster: str, into: TextIO) -> None:
        what, selector, form = WATCHED[kind]
        self._kind, self._into, self._ended = kind, into, False
        program = [state.running().program("kubectl"), f"--kubeconfig={state.ADMIN}", "-n", space, "get", what]
        how = ["--watch", "--output-watch-events", "-o", f"jsonpath={form}", "-l", selector.format(cluster)]
        self._command = [*program, *how]
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            for line in self._process.stdout or ():
                self._write(line)
            self._process.wait()
            if not self._ended:
                self._note(event="blind", name="", said=[])
                time.sleep(0.5)  # before it is asked for again

    def _write(self, line: str) -> None:
        event, name, *said = line.split()
        self._note(event=event, name=name, said=said)

    def _note(self, **what: Any) -> None:
        self._into.write(json.dumps({"at": time.time(), "kind": self._kind, **what}) + "\n")
        self._into.flush()

    def end(self) -> None:
        """No more is watched."""
        self._ended = True
        if self._process:
            self._process.kill()
        self._thread.join(5)


def main() -> int:
    """Watch until told to stop."""
    space, cluster, path = sys.argv[1:4]
    parent, stop = os.getppid(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Path(path).open("a", encoding="utf-8") as into:
        watches = [Watch(kind, space, cluster, into) for kind in WATCHED]
        while not stop.wait(1) and os.getppid() == parent:
            pass
        for watch in watches:
            watch.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
