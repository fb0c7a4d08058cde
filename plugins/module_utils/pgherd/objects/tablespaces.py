# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Tablespaces: where they lie and whose they are. Their directories are made before, on every node, by the role postgres."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Conflict
from ..plan import Plan, Step
from ..ports.sql import Server, literal, quote


@dataclass(frozen=True)
class Tablespace:
    """A tablespace at *location*, an absolute path. *owner* None leaves one that is there its owner, and gives a new one the
    login role."""

    name: str
    location: str
    owner: str | None = None

    def __str__(self) -> str:
        return f"tablespace {self.name}"


@dataclass(frozen=True)
class FoundTablespaces:
    """What observe() found, by name; the default is an empty server."""

    tablespaces: Mapping[str, Tablespace] = field(default_factory=dict)


_TABLESPACES = """
SELECT spcname::text AS name, pg_tablespace_location(t.oid) AS location, pg_get_userbyid(spcowner)::text AS owner
  FROM pg_tablespace t
"""


def observe(sessions: Callable[[str], Server]) -> FoundTablespaces:
    """Read all tablespaces. *sessions* gives a superuser's session in a named database. Raises SqlError."""
    found = [Tablespace(**row) for row in sessions("postgres").rows(_TABLESPACES)]
    return FoundTablespaces({tablespace.name: tablespace for tablespace in found})


def plan(tablespaces: Sequence[Tablespace], state: FoundTablespaces) -> Plan:
    """What makes *tablespaces* be there, and be their owners'. Raises ConfigError for one that is stated twice; Conflict for
    one that lies elsewhere, since its files are not moved here."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    steps: list[Step] = []
    wanted = {tablespace.name: tablespace for tablespace in tablespaces}
    twice = [each for each in dict.fromkeys(tablespaces) if wanted[each.name] != each]
    if twice:
        raise ConfigError([f"The {each} is stated twice, and differently: drop one of both." for each in twice])
    for name, tablespace in wanted.items():
        found = state.tablespaces.get(name)
        if found is None:
            owned = f", owned by {tablespace.owner}" if tablespace.owner else ""
            before[str(tablespace)], after[str(tablespace)] = "absent", f"at {tablespace.location}{owned}"
            steps.append(Step("create", f"create {tablespace} at {tablespace.location}", {"tablespace": tablespace}))
            continue
        # As PostgreSQL writes it down (canonicalize_path()).
        if found.location != os.path.normpath(tablespace.location):
            raise Conflict(
                f"{tablespace}",
                f"the location {tablespace.location}",
                found.location or "one of PostgreSQL's own, in the data directory",
                "Name the location that it has, or another tablespace: what is in this one is not moved.",
            )
        if tablespace.owner and found.owner != tablespace.owner:
            before[str(tablespace)], after[str(tablespace)] = f"owned by {found.owner}", f"owned by {tablespace.owner}"
            steps.append(Step("own", f"give {tablespace} to {tablespace.owner}", {"tablespace": tablespace}))
    return Plan("tablespaces", before, after, tuple(steps))


class TablespaceExecutor:
    """Runs the steps of the plan. *sessions* as for observe(). Commits locally, as that of roles.py does."""

    def __init__(self, sessions: Callable[[str], Server]) -> None:
        self._sessions = sessions

    def create(self, tablespace: Tablespace) -> None:
        """Make it, which PostgreSQL does outside of transactions only. Raises SqlError."""
        owner = f" OWNER {quote(tablespace.owner)}" if tablespace.owner else ""
        self._run(f"CREATE TABLESPACE {quote(tablespace.name)}{owner} LOCATION {literal(tablespace.location)}")

    def own(self, tablespace: Tablespace) -> None:
        """Give it to its owner. Raises SqlError."""
        self._run(f"ALTER TABLESPACE {quote(tablespace.name)} OWNER TO {quote(str(tablespace.owner))}")

    def _run(self, statement: str) -> None:
        server = self._sessions("postgres")
        server.run("SET synchronous_commit = local")
        server.run(statement)
