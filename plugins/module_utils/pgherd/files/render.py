# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The files of every program, from the cluster: pure, for hosts and for ConfigMaps alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..model import Cluster
from .hostfiles import File


@dataclass(frozen=True)
class HostFacts:
    """What rendering must know of the host itself. *limits* is what a standby here must have at least (limits.floors)."""

    postgres_version: int
    apt_repository: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)


class Renderer(Protocol):
    """What each conf_*.py exports as ``files``."""

    def __call__(self, cluster: Cluster, name: str, facts: HostFacts, secrets: Mapping[str, str]) -> list[File]:
        """The files of one program on the host called *name*. *secrets* maps a role's name to its clear password."""


def single_quoted(value: Any) -> str:
    """A value in the syntax that postgresql.conf, pgpool.conf and repmgr.conf share: booleans as on/off, numbers bare,
    everything else in single quotes, with quotes doubled and backslashes escaped (manual, 19.1.2 "Parameter
    Interaction via the Configuration File")."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"


def passfile(entries: list[tuple[str, Any, str, str, str]]) -> str:
    """A libpq password file from (host, port, database, user, password) rows; ``*`` matches anything.

    Backslash and colon are escaped as in the manual, 34.16 "The Password File".
    """

    def escape(text: Any) -> str:
        return str(text).replace("\\", "\\\\").replace(":", "\\:")

    return "".join(":".join(escape(part) for part in entry) + "\n" for entry in entries)


HEADER = "# Written by pgherd.cluster. Change the inventory, not this file.\n"
