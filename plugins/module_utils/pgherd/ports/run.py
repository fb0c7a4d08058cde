# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Running programs: one small port, so that tests can script the conversation."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol, TextIO

from ..errors import CommandError, Unreachable
from .identity import Identity, of_user


@dataclass(frozen=True)
class Result:
    """What a program answered: *rc* its exit code, *out* and *err* its decoded outputs."""

    argv: tuple[str, ...]
    rc: int
    out: str = ""
    err: str = ""

    def expect(self, attempted: str, *codes: int, cure: str = "") -> Result:
        """Return self if the exit code is one of *codes* (default: 0), else raise CommandError."""
        if self.rc in (codes or (0,)):
            return self
        raise CommandError(attempted, self.argv, self.rc, self.out, self.err, cure)


class Runner(Protocol):
    """Runs a program and waits for its end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
        user: Optional[str] = None,
        timeout: float = 60.0,
    ) -> Result:
        """Run *argv* without a shell, as *user* (default: the calling user), for at most *timeout* seconds.

        *env* is added to the environment. Passwords go by *stdin* or *env*, never by *argv*.
        Raises Unreachable when the program does not exist or does not end in time.
        """


class LocalRunner:
    """Runner on this machine.

    It waits for the program alone: outputs go to memory and not into pipes, which a process that the program left
    behind would hold open.
    """

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
        user: Optional[str] = None,
        timeout: float = 60.0,
    ) -> Result:
        """See Runner.run."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
        identity = _identity(user)
        if identity:
            environment["HOME"] = identity.home
        with _memory("out") as out, _memory("err") as err:
            try:
                done = subprocess.run(
                    list(argv),
                    input=stdin,
                    stdin=None if stdin is not None else subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    text=True,
                    env=environment,
                    cwd="/",
                    timeout=timeout,
                    check=False,
                    user=identity.uid if identity else None,
                    group=identity.gid if identity else None,
                    extra_groups=identity.groups if identity else None,
                )
            except FileNotFoundError as error:
                raise Unreachable(f"run {argv[0]}: the program is not installed here.") from error
            except subprocess.TimeoutExpired as error:
                raise Unreachable(f"run {' '.join(argv)}: no end after {timeout:g} s.") from error
            return Result(tuple(argv), done.returncode, _written(out), _written(err))


def _memory(name: str) -> TextIO:
    """A file without a name in any directory, and without a disk that could be full."""
    return open(os.memfd_create(name), "w+", encoding="utf-8", errors="replace")


def _written(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()


def _identity(user: Optional[str]) -> Optional[Identity]:
    """Whom to run as; None when no change is needed."""
    found = None if user is None else of_user(user)
    return None if found is None or found.uid == os.geteuid() else found
