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
from pgherd.data import postmaster

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


def stopped(tmp_path: Path, process: subprocess.Popen[str], timeout: float, hear: float = 3.0) -> tuple[bool, float]:
    """Whether it stopped, and after how many seconds; what has ended is reaped, as its parent would."""
    threading.Thread(target=process.wait, daemon=True).start()
    began = time.monotonic()
    return postmaster.stop_postmaster(str(tmp_path), timeout, hear), time.monotonic() - began


def test_one_that_hears_stops(tmp_path: Path, start: Start) -> None:
    ended, _seconds = stopped(tmp_path, start(HEARS), 10)
    assert ended


@pytest.mark.parametrize(("status", "at_least", "at_most"), [("ready   ", 0.2, 1.0), ("stopping", 1.5, 10.0)])
def test_one_that_hangs_is_not_waited_for(
    tmp_path: Path, start: Start, status: str, at_least: float, at_most: float
) -> None:
    """F06: its clients' sessions go on. One that only takes long has ended them."""
    ended, seconds = stopped(tmp_path, start(DEAF, status), 1.5, 0.2)
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


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_file_that_names_another_process_goes(tmp_path: Path, start: Start, sign: str) -> None:
    """It would keep the server from starting for as long as that process lives."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = start(DEAF, cwd=elsewhere)
    file = tmp_path / "postmaster.pid"
    file.write_text(sign + file.read_text())
    said = postmaster.forget_gone(str(tmp_path))
    assert f"process {process.pid} (python" in said
    assert f"is no server of {tmp_path}" in said
    assert not file.exists()
    assert process.poll() is None


def test_a_lock_of_its_socket_that_names_another_process_goes(tmp_path: Path, start: Start) -> None:
    """/run outlives a container that starts again. Of other servers' locks, and of one that names the server, none goes."""
    sockets, elsewhere, data = (tmp_path / name for name in ("run", "elsewhere", "data"))
    for place in (sockets, elsewhere, data):
        place.mkdir()
    stranger = start(DEAF, cwd=elsewhere)
    texts = {5432: f"{stranger.pid}\n{data}\n", 5433: f"{stranger.pid}\n{elsewhere}\n", 5434: "4194304\n"}
    for port, text in texts.items():
        (sockets / f".s.PGSQL.{port}.lock").write_text(text)
    assert postmaster.another(str(data), str(sockets)).startswith(f"process {stranger.pid} ")
    said = postmaster.forget_gone(str(data), str(sockets))
    assert "which .s.PGSQL.5432.lock names" in said
    assert sorted(path.name for path in sockets.iterdir()) == [".s.PGSQL.5433.lock", ".s.PGSQL.5434.lock"]
    (sockets / ".s.PGSQL.5432.lock").write_text(f"{start(DEAF, cwd=data).pid}\n{data}\n")
    assert postmaster.forget_gone(str(data), str(sockets)) == ""


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_file_that_names_the_server_stays(tmp_path: Path, start: Start, sign: str) -> None:
    start(DEAF)
    file = tmp_path / "postmaster.pid"
    file.write_text(sign + file.read_text())
    assert postmaster.forget_gone(str(tmp_path)) == ""
    assert file.exists()


def test_a_file_that_names_a_thread_goes(tmp_path: Path) -> None:
    """The kernel sends a signal to a thread's number too."""
    (tmp_path / "main").mkdir()
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    (tmp_path / "main/postmaster.pid").write_text(f"{thread.native_id}\n")
    assert "is no server of" in postmaster.forget_gone(str(tmp_path / "main"))
    over.set()
    thread.join()


@pytest.mark.parametrize("text", [None, "", "none\n", "0\n", "4194304\n"])
def test_a_file_that_names_nobody_is_left_to_who_starts_the_server(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "postmaster.pid").write_text(text)
    assert postmaster.forget_gone(str(tmp_path)) == ""
    assert (tmp_path / "postmaster.pid").exists() == (text is not None)


def test_one_that_cannot_be_looked_at_is_taken_for_the_server(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(DEAF)

    def refused(path: str) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(postmaster.os, "readlink", refused)
    assert postmaster.forget_gone(str(tmp_path)) == ""
    assert (tmp_path / "postmaster.pid").exists()
