# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Real servers on this machine, for tests of what only PostgreSQL can say: by sockets in a directory of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from pgherd.ports.sql import connect

VERSIONS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
AS = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
installed = pytest.mark.skipif(not VERSIONS, reason="PostgreSQL's programs are not installed here")
# What repmgr's extension has, as far as agents ask for it.
REPMGR = """
CREATE SCHEMA repmgr;
CREATE FUNCTION repmgr.repmgrd_is_running() RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION repmgr.get_upstream_last_seen() RETURNS int LANGUAGE sql AS 'SELECT -1';
"""


class RealServers:
    """Servers in *place*, one directory each, by the *programs* of one version. *PORTS*: by name; the last is stopped first."""

    PORTS: Mapping[str, int] = {}

    def __init__(self, place: Path, programs: Path) -> None:
        self.place, self.programs = place, programs

    def begin(self) -> None:
        """Make what all tests begin with."""

    def run(self, program: str, *words: str) -> str:
        """What a program says; it has to succeed."""
        argv = [f"{self.programs}/{program}", *words]
        # Into a file: a server that is started keeps it open.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(argv, check=False, stdout=said, stderr=said, **AS)  # type: ignore[call-overload]
            said.seek(0)
            answer = said.read()
        assert done.returncode == 0, answer
        return answer

    def data(self, name: str) -> str:
        """The data directory."""
        return f"{self.place}/{name}"

    def start(self, name: str) -> None:
        """Start it, and wait until it answers."""
        data = self.data(name)
        self.run("pg_ctl", "-D", data, "-l", f"{data}.log", "-o", f"-p {self.PORTS[name]}", "-w", "start")

    def stop(self, name: str, how: str = "fast") -> None:
        """Stop it."""
        self.run("pg_ctl", "-D", self.data(name), "-m", how, "-w", "stop")

    def login(self, name: str, role: str, database: str) -> dict[str, object]:
        """How a *role* connects."""
        return {"host": str(self.place), "port": self.PORTS[name], "user": role, "dbname": database}

    def sql(self, name: str, text: str, database: str = "postgres") -> None:
        """A statement by the superuser."""
        with connect(name, self.login(name, "postgres", database)) as server:
            server.run(text)

    def until(self, done: Callable[[], object]) -> None:
        """Wait for it, half a minute at most."""
        deadline = time.monotonic() + 30.0
        while not done():
            assert time.monotonic() < deadline, "not within its time"
            time.sleep(0.05)

    def end(self) -> None:
        """Stop all that run."""
        for name in reversed(self.PORTS):
            if (self.place / name / "postmaster.pid").exists():
                self.stop(name, "immediate")


S = TypeVar("S", bound=RealServers)


@contextmanager
def running(kind: type[S], initdb: Path) -> Iterator[S]:
    """Servers of a *kind* by the version that *initdb* is of, in a directory that goes with them."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        if AS:
            shutil.chown(made, "postgres", "postgres")
        found = kind(Path(made), initdb.parent)
        try:
            found.begin()
            yield found
        finally:
            found.end()
