# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Collations whose order has changed with the operating system's libraries: an index on text is in the old order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ..observe.topology import Topology
from ..ports.identity import POSTGRES as OWNER
from ..ports.sql import quote
from .problem import WARNING, Cure, Problem, psql

_SHOW = "SELECT datname, datcollversion, pg_database_collation_actual_version(oid) FROM pg_database"


def collations(topology: Topology) -> Iterator[Problem]:
    """Databases that were made with another version than their server has; and standbys that have another than their primary,
    where an index cannot be right on both."""
    live = topology.live_primary()
    truth = live.postgres.collations if live and live.postgres else None
    for node in topology.nodes:
        found = node.postgres.collations if node.postgres else None
        if not node.postgres or found is None:
            continue
        if not node.postgres.in_recovery:
            for name, (made, here) in sorted(found.items()):
                text = (
                    f"database {name} was made with version {made} of its collation, and {node.name} has {here}: its indexes on "
                    "text may miss rows"
                )
                yield Problem("collation-version", WARNING, node.name, text, _rebuild(node.name, name))
        elif live and truth is not None and found != truth:
            name = min(name for name in {*found, *truth} if found.get(name) != truth.get(name))
            made = (found.get(name) or truth.get(name) or ("",))[0]
            mine, theirs = (versions.get(name, ("", made))[1] for versions in (found, truth))
            text = (
                f"{node.name} has version {mine} of the collation of database {name}, its primary {live.name} {theirs}: indexes "
                "on text are right on one of them only; give both the same release of the operating system"
            )
            yield Problem("collation-differs", WARNING, node.name, text, psql(node.name, _SHOW))


def _rebuild(node: str, database: str) -> Cure:
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", database)
    name = database if plain else quote(database)
    statements = (f"REINDEX DATABASE {name}", f"ALTER DATABASE {name} REFRESH COLLATION VERSION")
    words = " ".join(f'-c "{statement}"' if plain else f"-c {shlex.quote(statement)}" for statement in statements)
    return Cure(f"psql -d {shlex.quote(database)} {words}", node, user=OWNER)
