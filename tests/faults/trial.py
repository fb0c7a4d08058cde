# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A trial: writers and observers run while something breaks; at the end the rows are counted and the verdict is given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psycopg

from faults import compare
from faults.checker import endpoints, history, observer, verdict, workload
from faults.cluster import APP, CHECKOUT, Cluster, Late, until
from faults.names import Names, named

# Times what a test grants for writes to go on: several hosts share a machine. How long it took is in the record.
BUSY = 3
OPS_TO_BEGIN = 50  # acknowledged before anything is broken, by every way in
_ENV = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Way:
    """One way in: writers of their own, in a process of their own, with a history of their own."""

    via: str
    path: Path
    process: subprocess.Popen[bytes]
    tail: history.Tail


@dataclass
class Trial:
    """Writers by each of *ways* ("pgpool", "nodes", or a host's name), and the second observer, while inside ``with``. *enter*:
    by the first word of a way of two ("pod nodes"), what a command begins with to be where its writers are.

    Afterwards ``verdict`` judges all that was written, ``verdicts`` each way, and ``overlaps`` tells of two primaries.
    """

    cluster: Cluster
    directory: Path
    ways: tuple[str, ...] = ("pgpool", "nodes")
    writers: int = 4  # by each way
    period: float = 0.02
    give_up: float = 15.0
    enter: Mapping[str, list[str]] = field(default_factory=dict)
    began: float = field(default=0.0, init=False)  # CLOCK_REALTIME, for journals
    broken: float = field(default=0.0, init=False)  # CLOCK_MONOTONIC of ``now()``
    broken_at: float = field(default=0.0, init=False)  # the same in CLOCK_REALTIME

    def __enter__(self) -> Trial:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._running: list[Way] = []
        self._observers: list[subprocess.Popen[bytes]] = []
        self.began = time.time()
        self.verdict: verdict.Verdict | None = None
        self.verdicts: dict[str, verdict.Verdict] = {}
        self.overlaps: list[observer.Overlap] = []
        self.led: list[endpoints.Led] = []
        primary = self.cluster.primary()
        self.first_primary, self.first_timeline = primary, self.cluster.timeline(primary)
        with psycopg.connect(self.cluster.dsn(primary), autocommit=True) as session:
            session.execute("DROP TABLE IF EXISTS ha_log")
            session.execute(workload.TABLE)
        compare.prepare(self.cluster, primary)
        self._names = Names(self.cluster.nodes, self.cluster.place.address)
        self._names.start()
        try:
            self._observers = [self._observe(), *self._watch()]
            for number, via in enumerate(self.ways):
                self._running.append(self._write(via, 1 + number * 100))
            until("writers to be acknowledged", self._all_write, 20 * BUSY)
        except BaseException:
            self._stop()
            raise
        return self

    def _write(self, via: str, first: int) -> Way:
        where, _space, through = via.rpartition(" ")
        path = self.directory / f"history-{via.replace(' ', '-')}.jsonl"
        path.unlink(missing_ok=True)
        words = ["--dsn", self.cluster.dsn(through), "--history", str(path), "--via", via, "--first", str(first)]
        words += ["--writers", str(self.writers), "--period", str(self.period), "--give-up", str(self.give_up)]
        command = [*self.enter.get(where, []), sys.executable, "-m", "faults.checker.workload", *words]
        return Way(via, path, subprocess.Popen(command, env=_ENV, start_new_session=True), history.Tail(path))

    def _observe(self) -> subprocess.Popen[bytes]:
        self._seen = self.directory / "observed.jsonl"
        self._seen.unlink(missing_ok=True)
        nodes = self.cluster.nodes
        told = {
            "clients": {node: self.cluster.dsn(node) for node in nodes},
            "cluster": self.cluster.name,
            "described": self.cluster.described,
            "into": str(self._seen),
        }
        command = [sys.executable, "-m", "faults.checker.observer"]
        process = subprocess.Popen(command, env=_ENV, stdin=subprocess.PIPE, start_new_session=True)
        assert process.stdin
        process.stdin.write(json.dumps(told).encode())
        process.stdin.close()
        return process

    def _watch(self) -> list[subprocess.Popen[bytes]]:
        """What only this place has, where it has something."""
        self._watched = self.directory / "endpoints.jsonl"
        self._watched.unlink(missing_ok=True)
        command = self.cluster.place.watching(self._watched)
        return [subprocess.Popen(command, env=_ENV, start_new_session=True)] if command else []

    def _all_write(self) -> bool:
        return all(self.acknowledged(way.via) >= OPS_TO_BEGIN for way in self._running)

    # While it runs

    def now(self) -> None:
        """The fault comes now."""
        self.broken, self.broken_at = time.monotonic(), time.time()

    def write_to(self, via: str) -> None:
        """More writers, by another way in."""
        self._running.append(self._write(via, 1 + len(self._running) * 100))

    def ops(self, via: str = "") -> list[history.Op]:
        """What was done until now, by one way or all."""
        found = [op for way in self._running if via in ("", way.via) for op in way.tail.ops()]
        return sorted(found, key=lambda op: op.invoked)

    def acknowledged(self, via: str = "", since: float = 0.0) -> int:
        """Rows acknowledged until now that were sent after *since*."""
        return sum(op.outcome == history.OK and op.invoked > since for op in self.ops(via))

    def until_written(self, seconds: float, via: str = "", timeline: int = 0) -> float:
        """Wait until rows sent from now on are acknowledged by each way (or one), on a timeline when given: *seconds*, and
        more on a busy machine.

        Seconds from the fault to then.
        """
        asked = time.monotonic()

        def again() -> bool:
            ways = [way.via for way in self._running if via in ("", way.via)]
            return all(
                any(op.outcome == history.OK and op.invoked > asked and op.timeline >= timeline for op in self.ops(way))
                for way in ways
            )

        until("writes to go on", again, seconds * BUSY)
        return time.monotonic() - self.broken

    def hold(self, seconds: float, so: Callable[[], object], what: str) -> None:
        """*so* stays true for a time: what must not happen does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not so():
                raise AssertionError(f"{what}, but not after {seconds - (end - time.monotonic()):.1f} s")
            time.sleep(0.3)  # between two looks

    # The end

    def _stop(self) -> None:
        self._names.stop()
        processes = [way.process for way in self._running] + self._observers
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            _wait(process, self.give_up + 15)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._seen.exists():
            with self._seen.open(encoding="utf-8") as lines:
                self.overlaps = observer.two_primaries(observer.read(lines))
        if self._watched.exists():
            with self._watched.open(encoding="utf-8") as lines:
                self.led = endpoints.read(lines)

    def seals(self) -> list[tuple[float, str]]:
        """When a node that was promoted then sealed its predecessor's place, and which."""
        said = self.cluster.each(lambda node: self.cluster.place.log(node, self.began, "agent"))
        found = {node: lines for node, lines in said.items() if isinstance(lines, list)}
        return sorted((at, node) for node, lines in found.items() for at in endpoints.sealed(lines))

    def misled(self) -> list[str]:
        """What was wrong with where the service of writes led, in sentences; nothing where there is none."""
        if not self.led:
            return []
        seals = self.seals()
        return [*endpoints.two(self.led), *endpoints.late(self.led, seals), *endpoints.miscalled(self.led, seals)]

    def judge(self, seconds: float = 60.0) -> verdict.Verdict:
        """The verdict, once the cluster is whole: rows are read on the one primary, and every standby has the same."""
        rows = until("a primary that takes FOR UPDATE", self._final, seconds)
        names = self._names.found
        self.verdicts = {
            way.via: verdict.judge(named(self.ops(way.via), names), self._of(way, rows)) for way in self._running
        }
        self.verdict = verdict.judge(named(self.ops(), names), rows)
        (self.directory / "verdict.txt").write_text(
            "\n".join(f"{way}: {found}" for way, found in {"all": self.verdict, **self.verdicts}.items())
            + "".join(f"\n{count:7} {why}" for why, count in sorted(self.verdict.why.items()))
            + "".join(f"\n{overlap}" for overlap in self.overlaps)
            + "\n"
        )
        return self.verdict

    def _of(self, way: Way, rows: frozenset[int]) -> frozenset[int]:
        writers = {op.writer for op in self.ops(way.via)}
        return frozenset(row for row in rows if row // history.WRITER in writers)

    def _final(self) -> frozenset[int]:
        primary = self.cluster.primary()
        # FOR UPDATE fails on a standby, and on a primary that is fenced.
        rows = self.cluster.rows(primary, "SELECT id FROM ha_log FOR UPDATE", APP)
        found = compare.differences(self.cluster)
        if found:
            raise AssertionError("; ".join(found))
        return frozenset(row["id"] for row in rows)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


__all__ = ["Late", "Trial"]
