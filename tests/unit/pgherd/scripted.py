# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A scripted Server and Runner: the conversation with PostgreSQL or a program, line by line.

Both take (expected, answer) pairs in order. Another query or command than the expected one fails the test at once, and
so do, at the test's end, expectations that nobody asked for (fixture in conftest.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgherd.ports.run import Result

# Every script made in the running test.
made: list[_Script] = []


class _Script:
    def __init__(self, name: str, expected: Sequence[tuple[Any, Any]]) -> None:
        self.name = name
        self._expected = list(expected)
        made.append(self)

    def _answer(self, said: str, matches: Any) -> Any:
        if not self._expected:
            raise AssertionError(f"{self.name}: nothing more was expected, but came: {said}")
        expected, answer = self._expected[0]
        if not matches(expected):
            raise AssertionError(f"{self.name}: expected {expected!r}, but came: {said}")
        del self._expected[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def finish(self) -> None:
        """Fail when something expected was never asked for."""
        left = [expected for expected, _answer in self._expected]
        assert not left, f"{self.name}: never asked for: {left}"


class ScriptedServer(_Script):
    """sql.Server that answers from (regular expression, rows or exception) pairs, in order.

    The expression is searched in the query with its white space collapsed. *said* keeps (query, params) of all.
    """

    def __init__(self, name: str, expected: Sequence[tuple[str, Any]]) -> None:
        super().__init__(name, expected)
        self.said: list[tuple[str, tuple[Any, ...] | None]] = []
        self.closed = False

    def rows(self, query: str, params: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """See sql.Server.rows."""
        text = " ".join(query.split())
        self.said.append((text, None if params is None else tuple(params)))
        rows = self._answer(text, lambda expected: re.search(expected, text))
        return [dict(row) for row in rows]

    def run(self, statement: str, params: Sequence[Any] | None = None) -> None:
        """See sql.Server.run; the scripted rows, if any, are left aside."""
        self.rows(statement, params)

    def close(self) -> None:
        """See sql.Server.close."""
        self.closed = True


@dataclass(frozen=True)
class Call:
    """One call of a ScriptedRunner."""

    argv: tuple[str, ...]
    stdin: str | None
    env: Mapping[str, str]
    user: str | None
    timeout: float


class ScriptedRunner(_Script):
    """run.Runner that answers from (argv, answer) pairs, in order.

    *argv* is a list, compared whole, or a regular expression searched in the words joined by blanks. The answer is
    standard output, (exit code, output, errors), or an exception. *calls* keeps all.
    """

    def __init__(self, expected: Sequence[tuple[str | Sequence[str], Any]], name: str = "runner") -> None:
        super().__init__(name, expected)
        self.calls: list[Call] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float = 60.0,
    ) -> Result:
        """See run.Runner.run."""
        words = [str(word) for word in argv]
        line = " ".join(words)
        self.calls.append(Call(tuple(words), stdin, dict(env or {}), user, timeout))
        answer = self._answer(
            line,
            lambda expected: re.search(expected, line) if isinstance(expected, str) else list(expected) == words,
        )
        rc, out, err = (0, answer, "") if isinstance(answer, str) else answer
        return Result(tuple(words), rc, out, err)
