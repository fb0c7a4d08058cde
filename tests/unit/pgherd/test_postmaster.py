# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Stopping a postmaster, which may hang, or be gone and leave its number to another process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pgherd.failover import postmaster

HEARS = "import signal; signal.sigwait([signal.SIGINT])"
DEAF = "import time; time.sleep(60)"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that postmaster.pid names, with this status."""
    running = []

    def run(program: str, status: str = "ready   ", cwd: Path = tmp_path) -> subprocess.Popen[str]:
        # Blocked from the beginning: a signal that comes before it is waited for is not lost.
        blocked = (
            f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); print(flush=True); {program}"
        )
        process = subprocess.Popen([sys.executable, "-c", blocked], cwd=cwd, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout
        process.stdout.readline()
        (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n" + "x\n" * 6 + f"{status}\n")
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()


def stopped(tmp_path: Path, process: subprocess.Popen[str], timeout: float) -> tuple[bool, float]:
    """Whether it stopped, and after how many seconds; what has ended is reaped, as its parent would."""
    threading.Thread(target=process.wait, daemon=True).start()
    began = time.monotonic()
    return postmaster.stop_postmaster(str(tmp_path), timeout), time.monotonic() - began


def test_one_that_hears_stops(tmp_path: Path, start: Start) -> None:
    ended, _seconds = stopped(tmp_path, start(HEARS), 10)
    assert ended


@pytest.mark.parametrize(("status", "at_least", "at_most"), [("ready   ", 0.2, 1.0), ("stopping", 1.5, 10.0)])
def test_one_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: Start, status: str, at_least: float, at_most: float
) -> None:
    """F06: its clients' sessions go on. One that only takes long has ended them."""
    monkeypatch.setattr(postmaster, "HEAR", 0.2)
    ended, seconds = stopped(tmp_path, start(DEAF, status), 1.5)
    assert not ended
    assert at_least <= seconds < at_most


def test_one_that_hangs_can_be_killed(tmp_path: Path, start: Start) -> None:
    process = start(DEAF)
    process.send_signal(signal.SIGSTOP)
    postmaster.kill_postmaster(str(tmp_path))
    assert process.wait(10) == -signal.SIGKILL


def test_another_process_with_its_number_is_left_alone(tmp_path: Path, start: Start) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = start(DEAF, cwd=elsewhere)
    postmaster.kill_postmaster(str(tmp_path))
    assert postmaster.stop_postmaster(str(tmp_path), 5)
    assert process.poll() is None


@pytest.mark.parametrize("text", [None, "", "none\n"])
def test_where_none_runs_there_is_nothing_to_stop(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "postmaster.pid").write_text(text)
    assert postmaster.stop_postmaster(str(tmp_path), 5)
