# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The crowd that is sent to the agents' ports, and the balancers beside it, at a door of an agent's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from faults.checker.crowd import Answer, answers, misses
from pgherd.agent.http import HttpPart, as_json

TESTS = Path(__file__).resolve().parents[2]


def heard(*seconds: float) -> list[Answer]:
    """Answers that took so long; 0 for none."""
    return [Answer("", "pg1", float(at), took, 200 if took else 0) for at, took in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "row"),
    [((), 0), ((0.1, 0.2), 0), ((0.1, 0, 0.1), 1), ((0, 2.1, 0.1, 0), 2), ((0.1, 2.5, 2.5, 0), 3)],
)
def test_misses_in_a_row(seconds: tuple[float, ...], row: int) -> None:
    assert misses(heard(*seconds), 2.0) == row


@contextmanager
def running(told: dict[str, Any]) -> Iterator[None]:
    command = [sys.executable, "-m", "faults.checker.crowd"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(json.dumps(told).encode())
        process.stdin.close()
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def until(so: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_crowd_is_held_and_a_balancer_is_answered(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("server.crt", "server.key")]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=pg1"]
    words = [
        "openssl",
        "req",
        "-x509",
        *kind,
        "-addext",
        "subjectAltName=DNS:pg1",
        "-out",
        files[0],
        "-keyout",
        files[1],
    ]
    subprocess.run(words, check=True, capture_output=True)
    part = HttpPart(lambda: ["127.0.0.1"], 0, {"/primary": lambda _asked: as_json({}, 503)}, *files)
    part.tick(0)
    into = {name: tmp_path / name for name in ("crowd", "answers")}
    told = {"targets": {"pg1": "127.0.0.1"}, "port": part.port, "ca": files[0]}
    crowd = {"sources": ["127.0.0.2", "127.0.0.3"], "clients": 30, "into": str(into["crowd"])}
    balancer = {"sources": ["127.0.0.4"], "into": str(into["answers"])}
    try:
        with running({**told, **crowd}):
            until(lambda: part.door.inside >= 25)
            until(lambda: '"pg1": 2' in into["crowd"].read_text() or '"pg1": 3' in into["crowd"].read_text())
            with running({**told, **balancer}):
                until(lambda: into["answers"].exists() and len(into["answers"].read_text().splitlines()) >= 2)
        found = answers(into["answers"].open())
        assert {(one.source, one.target, one.status, one.why) for one in found} == {("127.0.0.4", "pg1", 503, "")}
    finally:
        part.close()
