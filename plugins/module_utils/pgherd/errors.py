# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the core raises. Every error says what was attempted, on which node, what came back, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PgherdError(Exception):
    """Root of all errors of the core.

    *cure* is one sentence that says what to do; it is appended to the message.
    """

    def __init__(self, message: str, cure: str = "") -> None:
        self.cure = cure
        super().__init__(f"{message} {cure}".strip() if cure else message)


class ConfigError(PgherdError):
    """The inventory or a variable is wrong. *problems* holds one sentence each, with host and cure."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class CommandError(PgherdError):
    """A program exited with an unexpected code. Carries *argv*, *rc* and both outputs."""

    def __init__(self, attempted: str, argv: Sequence[str], rc: int, out: str, err: str, cure: str = "") -> None:
        self.argv = tuple(argv)
        self.rc = rc
        self.out = out
        self.err = err
        said = (err.strip() or out.strip() or "(nothing)")[-2000:]
        super().__init__(f"{attempted}: {argv[0]} exited {rc}: {said}", cure)


class Unreachable(PgherdError):
    """A node, port or service did not answer."""


class SqlError(PgherdError):
    """A statement failed on a server that answered. *said* is the server's message, *sqlstate* PostgreSQL's
    five-character code, or ''."""

    def __init__(self, attempted: str, node: str, message: str, sqlstate: str = "", cure: str = "") -> None:
        self.node = node
        self.said = message.strip()
        self.sqlstate = sqlstate
        super().__init__(f"{attempted} on {node}: {self.said}", cure)


class ProtocolError(PgherdError):
    """A program answered in a form that is not known: the raw text is in the message."""


class Conflict(PgherdError):
    """What is there contradicts what is wanted, and replacing it is not this call's right. Carries both values."""

    def __init__(self, message: str, wanted: Any, found: Any, cure: str = "") -> None:
        self.wanted = wanted
        self.found = found
        super().__init__(f"{message}: {self._said()}.", cure)

    def _said(self) -> str:
        return f"wanted {self.wanted}, found {self.found}"


class Busy(Conflict):
    """What would be in the way of another, which runs already. *running* names that one."""

    def __init__(self, message: str, running: str, cure: str = "") -> None:
        super().__init__(message, None, running, cure)

    def _said(self) -> str:
        return f"{self.found} is running already"
