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


def read(lines: Iterable[str]) -> list[Op]:
    """The operations of a history, in the order in which they were sent."""
    ops: dict[int, Op] = {}
    for line in lines:
        if not line.endswith("\n"):
            continue  # the writer was killed in the middle of it
        item = json.loads(line)
        number = item["id"]
        if item["is"] == "invoke":
            ops[number] = Op(number, item["at"], via=item.get("via", ""))
            continue
        sent = ops[number]
        ops[number] = Op(
            id=number,
            invoked=sent.invoked,
            answered=item["at"],
            outcome=item["is"],
            node=item.get("node", ""),
            timeline=item.get("tli", 0),
            why=item.get("why", ""),
            via=sent.via,
        )
    return sorted(ops.values(), key=lambda op: op.invoked)


def load(*paths: Path) -> list[Op]:
    """The operations of several histories together."""

    def lines() -> Iterator[str]:
        for path in paths:
            with path.open(encoding="utf-8") as file:
                yield from file

    return read(lines())
