# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Two process 1 on one volume, each with a real PostgreSQL. They are on two machines as far as one machine can be two: each has
process numbers and shared memory of its own (unshare), so that PostgreSQL's own checks see nothing of the other, and each says
that it was started on another machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pgherd.errors import PgherdError
from pgherd.places.pod import lock_file
from pgherd.places.pod.keeper import Claim
from pgherd.places.pod.lock import BEAT, LOOK, SETTLE, STILL, Lock
from pgherd.places.pod.lock_file import NAME, LockFile
from pgherd.places.pod.processes import below
from pgherd.places.pod.services import PodServices
from pgherd.ports.services import POSTGRES, RUNNING
from test_pod import AS, PROGRAMS, made, template, until

APART = ("unshare", "--pid", "--ipc", "--mount", "--fork", "--mount-proc", "--kill-child")
# Numbers that another life's processes have are nobody's here: else PostgreSQL might by chance take one of these for a server.
PASSED = ("sh", "-c", 'n=0; while [ "$n" -lt "$0" ]; do /bin/true; n=$((n + 1)); done; exec "$@"')
WORKS = subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0 if PROGRAMS else False
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's programs are not installed here"),
    pytest.mark.skipif(not WORKS, reason="unshare may not make namespaces here: this needs root"),
]
_ = template


class Life:
    """The pod *name* with the volume *place*, on the *machine*; '-' for *name*: one that asks for no lock."""

    def __init__(self, place: Path, name: str, machine: str, apart: tuple[str, ...]) -> None:
        assert PROGRAMS is not None
        self.place, self.name = place, name
        self.own = Path(tempfile.mkdtemp(dir="/tmp"))
        (self.own / "boot").write_text(machine)
        if AS:
            shutil.chown(self.own, "postgres", "postgres")
        self.log, self.services = self.own / "log", PodServices(f"{self.own}/services")
        script = Path(__file__).parents[1] / "pod_process.py"
        words = [str(script), str(place), "5", PROGRAMS.parent.name, str(self.own), name, f"{self.own}/boot"]
        with self.log.open("w") as log:
            argv = [*apart, sys.executable, *words]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        self._apart = bool(apart)

    @property
    def one(self) -> int:
        """The number of its process 1, 0 where there is none any more."""
        if not self._apart:
            return self.process.pid if self.process.poll() is None else 0
        found = below(self.process.pid)
        return found[0] if found else 0

    @property
    def said(self) -> str:
        return self.log.read_text()

    def runs(self) -> bool:
        """Whether its server is up."""
        with suppress(PgherdError):
            return self.services.state(POSTGRES) == RUNNING
        return False

    def sql(self, statement: str) -> str:
        argv = [f"{PROGRAMS}/psql", "-XAtq", "-h", str(self.own), "-U", "postgres", "-c", statement, "postgres"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10, **AS)  # type: ignore[call-overload]
        return str(done.stdout).strip()

    def signal(self, number: signal.Signals) -> None:
        """To everything in it at once, its process 1 last."""
        for pid in reversed(below(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        self.process.kill()
        self.process.wait(20)
        shutil.rmtree(self.own, ignore_errors=True)


class Volume:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.lives: list[Life] = []

    def life(self, name: str, machine: str, apart: tuple[str, ...] = APART) -> Life:
        passed = (*PASSED, str(100 * len(self.lives))) if apart else ()
        self.lives.append(Life(self.place, name, machine, (*apart, *passed)))
        return self.lives[-1]

    @property
    def lock(self) -> Path:
        return self.place / NAME


@pytest.fixture
def volume(template: Path) -> Iterator[Volume]:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        found = Volume(made(template, Path(place)))
        try:
            yield found
        finally:
            for one in found.lives:
                # Shown where a test fails.
                print(f"{one.name}:", one.said)
                one.end()


def test_without_the_lock_two_servers_run(volume: Volume) -> None:
    """So PostgreSQL's own checks do not see another machine, and the tests below can fail."""
    lives = [volume.life("-", "one")]
    until(lives[0].runs)
    lives.append(volume.life("-", "two"))
    until(lives[1].runs)
    assert [life.sql("SELECT 1") for life in lives] == ["1", "1"]
    assert not volume.lock.exists()


def test_one_that_lives_keeps_the_other_waiting(volume: Volume) -> None:
    first = volume.life("pg-0", "one")
    until(first.runs)
    second = volume.life("pg-0b", "two")
    until(lambda: "waits:" in second.said)
    deadline = time.monotonic() + STILL + SETTLE + 2.0
    while time.monotonic() < deadline:
        assert not second.runs()
        assert len(below(second.process.pid)) == 1, "it has started something"
        time.sleep(0.1)
    assert first.sql("SELECT 1") == "1"
    assert "is held by pod pg-0 (on node-pg-0, UID uid-pg-0)" in second.said
    # Asked to end, one that waits does so at once.
    began = time.monotonic()
    os.kill(second.one, signal.SIGTERM)
    assert second.process.wait(10) == 0
    assert time.monotonic() - began < 5.0
    assert first.runs()
    # And a clean end leaves nothing to wait for.
    os.kill(first.one, signal.SIGTERM)
    assert first.process.wait(20) == 0
    assert not volume.lock.exists()
    began = time.monotonic()
    third = volume.life("pg-0c", "two")
    until(third.runs)
    assert "waits" not in third.said
    assert time.monotonic() - began < STILL


def test_one_that_stands_still_loses_it_and_ends_when_it_goes_on(volume: Volume) -> None:
    """Its machine was taken for dead, or is as good as that. What it has in memory is not to come to the disk."""
    first = volume.life("pg-0", "one")
    until(first.runs)
    first.sql("CREATE TABLE kept AS SELECT 1 AS n")
    first.signal(signal.SIGSTOP)
    began = time.monotonic()
    second = volume.life("pg-0b", "two")
    until(second.runs, 40.0)
    took = time.monotonic() - began
    assert took > STILL + SETTLE, second.said
    assert "it has not beaten for 5 s; pod pg-0 (on node-pg-0, UID uid-pg-0) held it" in second.said
    before = below(first.process.pid)
    assert len(before) > 3, "its server is there, and stands still"
    first.signal(signal.SIGCONT)
    assert first.process.wait(BEAT + 4.0) == 1
    assert [pid for pid in before if Path(f"/proc/{pid}").exists()] == []
    assert "is held by pod pg-0b (on node-pg-0b, UID uid-pg-0b) now: all that this pod ran was killed" in first.said
    assert second.sql("SELECT n FROM kept") == "1"
    second.sql("CREATE TABLE more AS SELECT 2 AS n")
    assert second.sql("SELECT n FROM more") == "2"


def test_a_container_that_was_killed_starts_at_once(volume: Volume) -> None:
    """Restarted in place, or the pod on the same machine: there is nothing to wait for."""
    first = volume.life("pg-0", "one")
    until(first.runs)
    os.kill(first.one, signal.SIGKILL)
    first.process.wait(10)
    assert volume.lock.exists()
    second = volume.life("pg-0", "one")
    until(lambda: second.runs() or "waits" in second.said)
    assert second.runs()
    assert "has ended on this machine" in second.said


def test_what_a_killed_one_has_left_running_is_waited_for(volume: Volume) -> None:
    """Its server lives on: nothing but process 1 was killed."""
    first = volume.life("pg-0", "one", ())
    until(first.runs)
    server = first.services.process(POSTGRES)
    os.kill(server, signal.SIGSTOP)
    os.kill(first.one, signal.SIGKILL)
    first.process.wait(10)
    second = volume.life("pg-0", "one")
    until(lambda: "waits" in second.said)
    assert not second.runs()
    os.kill(server, signal.SIGKILL)
    until(second.runs)


def test_a_volume_whose_lock_is_gone_is_left(volume: Volume) -> None:
    """Another may have been there, and ended: what this one's server remembers is not what is on the disk."""
    first = volume.life("pg-0", "one")
    until(first.runs)
    volume.lock.unlink()
    assert first.process.wait(BEAT + 4.0) == 1
    assert "is gone: all that this pod ran was killed" in first.said


def test_of_many_who_take_it_one_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, by their own clocks, from a holder that does not beat any more."""
    (tmp_path / "boot").write_text("this")
    monkeypatch.setattr(lock_file, "BOOT", str(tmp_path / "boot"))
    LockFile(str(tmp_path), Lock("0" * 32, "dead")).make()
    (tmp_path / "boot").write_text("that")
    monkeypatch.setattr(LockFile, "dead", lambda *_: False)
    said: list[str] = []
    held: list[int] = []
    together, over = threading.Barrier(8), threading.Event()

    def come(number: int) -> None:
        claim = Claim(LockFile(str(tmp_path), Lock(str(number) * 32, f"pod-{number}")), said.append)
        together.wait()
        while not over.wait(LOOK):
            if claim.turn() and number not in held:
                held.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    until(lambda: held, STILL + SETTLE + 20.0)
    deadline = time.monotonic() + 2 * LOOK + 1.0
    while time.monotonic() < deadline:
        assert len(held) == 1
        time.sleep(0.05)
    over.set()
    for thread in threads:
        thread.join()
    assert len(held) == 1, said
