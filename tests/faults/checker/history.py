# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What writers did and what they were told, one JSON object a line in a file that is only ever appended to.

Times are seconds of CLOCK_MONOTONIC, which all processes of the machine share, so histories of several processes can be
laid side by side.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

OK, FAIL, INFO = "ok", "fail", "info"
WRITER = 10**9  # ids of writer w are w * 10^9 + 1, 2, ...


@dataclass(frozen=True)
class Op:
    """One attempted row: sent at *invoked*, answered at *answered* with *outcome*.

    ok: acknowledged by *node* (address) on *timeline*. fail: refused, nothing happened. info: nobody knows; so is an
    operation whose answer is not in the history.
    """

    id: int
    invoked: float
    answered: float | None = None
    outcome: str = INFO
    node: str = ""
    timeline: int = 0
    why: str = ""
    via: str = ""

    @property
    def writer(self) -> int:
        """Whose row it is."""
        return self.id // WRITER


class Log:
    """Appends to a history. Each line is one write(2), so nothing is lost when the process is killed."""

    def __init__(self, path: Path, via: str = "") -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._via = via

    def invoke(self, number: int) -> None:
        """An id is about to be sent."""
        self._write({"id": number, "is": "invoke", "via": self._via})

    def answer(self, number: int, outcome: str, node: str = "", timeline: int = 0, why: str = "") -> None:
        """What became of it."""
        more = {"node": node, "tli": timeline} if outcome == OK else {"why": why}
        self._write({"id": number, "is": outcome, **more})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, (json.dumps({"at": round(time.monotonic(), 6), **line}) + "\n").encode())

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)


class Reader:
    """Operations out of a history's lines, as they come."""

    def __init__(self) -> None:
        self._ops: dict[int, Op] = {}

    def feed(self, line: str) -> None:
        """One whole line."""
        item = json.loads(line)
        number = item["id"]
        if item["is"] == "invoke":
            self._ops[number] = Op(number, item["at"], via=item.get("via", ""))
            return
        sent = self._ops[number]
        self._ops[number] = Op(
            id=number,
            invoked=sent.invoked,
            answered=item["at"],
            outcome=item["is"],
            node=item.get("node", ""),
            timeline=item.get("tli", 0),
            why=item.get("why", ""),
            via=sent.via,
        )

    @property
    def ops(self) -> list[Op]:
        """What was read, in the order in which it was sent."""
        return sorted(self._ops.values(), key=lambda op: op.invoked)


class Tail:
    """A history that is still being written."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._rest, self._reader = path, 0, b"", Reader()

    def ops(self) -> list[Op]:
        """The operations until now."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read()
            self._at += len(new)
            *lines, self._rest = (self._rest + new).split(b"\n")
            for line in lines:
                self._reader.feed(line.decode())
        return self._reader.ops


def read(lines: Iterable[str]) -> list[Op]:
    """The operations of a history, in the order in which they were sent."""
    reader = Reader()
    for line in lines:
        if line.endswith("\n"):  # else the writer was killed in the middle of it
            reader.feed(line)
    return reader.ops


def load(*paths: Path) -> list[Op]:
    """The operations of several histories together."""

    def lines() -> Iterator[str]:
        for path in paths:
            with path.open(encoding="utf-8") as file:
                yield from file

    return read(lines())
