# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a pod's programs say comes out line by line, behind the name of who says it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pgherd.places.pod import output
from pgherd.places.pod.output import LONGEST, Output, prefixed, split


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("rest", "more", "lines", "left"),
    [
        (b"", b"one\ntwo\n", [b"one", b"two"], b""),
        (b"on", b"e\ntw", [b"one"], b"tw"),
        (b"", b"", [], b""),
        (b"", b"\n", [b""], b""),
        (b"x" * LONGEST, b"y", [b"x" * LONGEST], b"y"),
        (b"", b"x" * LONGEST + b"y\nz", [b"x" * LONGEST, b"y"], b"z"),
    ],
)
def test_lines(rest: bytes, more: bytes, lines: list[bytes], left: bytes) -> None:
    assert split(rest, more) == (lines, left)


def test_no_line_obeys_a_terminal() -> None:
    assert prefixed("postgres", b"red \x1b[31m \xff\r") == "postgres: red ?[31m \ufffd"


def test_each_says_it_under_its_name(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept = tmp_path / "log"
    pipes = Output(["a", "b"], {"b": str(kept)})
    pipes.start()
    for name in ("a", "b"):
        script = f"import os; os.write(1, b'out of {name}\\n'); os.write(2, b'error of {name}\\n')"
        subprocess.run([sys.executable, "-c", script], stdout=pipes.of(name), stderr=pipes.of(name), check=True)
    said = ""

    def all_said() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return said.count("\n") == 4

    until(all_said)
    assert sorted(said.splitlines()) == ["a: error of a", "a: out of a", "b: error of b", "b: out of b"]
    until(lambda: kept.read_text() == "out of b\nerror of b\n")
    assert pipes.of("c") is None


def test_a_kept_log_fills_no_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LARGEST", 10)
    path = str(tmp_path / "log")
    for data in (b"12345678", b"9012345678", b"new"):
        output._keep(path, data)
    assert Path(path).read_bytes() == b"new"
    output._keep(str(tmp_path / "no/such/place"), b"x")


def test_what_was_said_last_is_waited_for() -> None:
    pipes = Output(["a"])
    writing = pipes.of("a")
    assert writing is not None
    os.write(writing, b"last\n")
    began = time.monotonic()
    pipes.drain(0.2)
    assert time.monotonic() - began >= 0.2, "nobody reads"
    pipes.start()
    pipes.drain(10.0)
    assert time.monotonic() - began < 9.0
