# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A crowd at the agents' ports of a lab's nodes, and two balancers that ask beside: one on a host of the cluster, one on an
address that nobody has named. All run on this machine, which takes more addresses in the hosts' network for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from place import CROWD

from faults.checker.crowd import Answer
from faults.checker.crowd import answers as heard
from faults.cluster import CHECKOUT, CLIENT, Cluster, Impossible, LabError, until

SOURCES = 20  # addresses that the crowd comes from
FIRST = 200  # the first of them in the hosts' /24, where no host is
PORT = 8765
_ENV = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Siege:
    """What is known of one: *files* by the balancer, "known" or "stranger", and of the crowd."""

    files: dict[str, Path]
    crowd: Path

    def answers(self, who: str, target: str = "") -> list[Answer]:
        """What a balancer has heard until now, of one target or all."""
        with self.files[who].open(encoding="utf-8") as lines:
            return [one for one in heard(lines) if target in ("", one.target)]

    def held(self) -> dict[str, int]:
        """By node, how many slow clients it had at once, at most."""
        most: dict[str, int] = {}
        for line in self.crowd.read_text(encoding="utf-8").splitlines():
            for target, count in json.loads(line).items():
                most[target] = max(most.get(target, 0), count)
        return most


@contextmanager
def siege(cluster: Cluster, directory: Path, clients: int) -> Iterator[Siege]:
    """Inside, *clients* slow clients are at each data node's agent (0: none), and both balancers ask."""
    if why := cluster.place.cannot(CROWD):
        raise Impossible(why)
    directory.mkdir(parents=True, exist_ok=True)
    found = Siege({who: directory / f"answers-{who}.jsonl" for who in ("known", "stranger")}, directory / "crowd.jsonl")
    told = {
        "targets": {node: cluster.address(node) for node in cluster.nodes},
        "port": PORT,
        "ca": str(cluster.secrets / "ca.crt"),
    }
    for path in (*found.files.values(), found.crowd):
        path.write_text("", encoding="utf-8")
    with ExitStack() as stack:
        stranger, *sources = stack.enter_context(_addresses(cluster, 1 + SOURCES))
        inside = cluster.place.entered(cluster.pools[0])
        stack.enter_context(_running({**told, "sources": [""], "into": str(found.files["known"])}, *inside))
        stack.enter_context(_running({**told, "sources": [stranger], "into": str(found.files["stranger"])}))
        if clients:
            more = {"sources": sources, "clients": clients, "into": str(found.crowd)}
            stack.enter_context(_running({**told, **more}))
            until("a crowd at every node", lambda: len(found.held()) == len(cluster.nodes) and all(_some(found)), 30)
        until("balancers to be answered", lambda: all(found.answers(who) for who in found.files), 30)
        yield found


def _some(found: Siege) -> list[bool]:
    return [count >= 10 for count in found.held().values()]


@contextmanager
def _running(told: dict[str, Any], *before: str) -> Iterator[None]:
    command = [*before, sys.executable, "-m", "faults.checker.crowd"]
    process = subprocess.Popen(command, env=_ENV, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin
    process.stdin.write(json.dumps(told).encode())
    process.stdin.close()
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _addresses(cluster: Cluster, count: int) -> Iterator[list[str]]:
    """More addresses for this machine in the hosts' network, for a while."""
    network = cluster.address(CLIENT).rsplit(".", 1)[0]
    link = json.loads(_ip("-json", "route", "get", cluster.address(cluster.nodes[0])))[0]["dev"]
    given = [f"{network}.{FIRST + number}" for number in range(count)]
    if taken := {cluster.place.address(node) for node in cluster.place.nodes()} & set(given):
        raise LabError(f"hosts of {cluster.name} have the addresses {', '.join(sorted(taken))}")
    try:
        for address in given:
            _ip("address", "replace", f"{address}/32", "dev", link)
        yield given
    finally:
        for address in given:
            _ip("address", "delete", f"{address}/32", "dev", link, check=False)


def _ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], text=True, capture_output=True, check=False)
    if check and done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
