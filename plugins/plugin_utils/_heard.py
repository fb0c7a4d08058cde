# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What hosts said of themselves, kept beside the secrets for those that do not answer later: they are still let in from their
addresses when they come back, and what they are described as does not change meanwhile. **PRIVATE**.

It is heard before a living cluster is recognised, and written only after that: a run that is refused leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.hosts import is_ip
from ansible_collections.pgherd.cluster.plugins.plugin_utils._private import PrivateDirectory
from ansible_collections.pgherd.cluster.plugins.plugin_utils._run import leave, recall


@dataclass(frozen=True)
class Heard:
    """By host its *addresses*, and PostgreSQL's major *versions*."""

    addresses: dict[str, list[str]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


def _are_addresses(entry: Any) -> bool:
    return isinstance(entry, list) and all(is_ip(str(one)) for one in entry)


def _is_version(entry: Any) -> bool:
    return isinstance(entry, int) and not isinstance(entry, bool) and entry > 0


# Each in a file of its name, with what an entry must be.
KINDS: dict[str, Callable[[Any], bool]] = {"addresses": _are_addresses, "versions": _is_version}


def kept(place: str) -> Heard:
    """What earlier runs have kept in the directory of secrets *place*. Raises ConfigError for a file that holds anything else."""
    return Heard(**{kind: _read(place, kind) for kind in KINDS})


def _read(place: str, kind: str) -> dict[str, Any]:
    try:
        found = json.loads(PrivateDirectory(place, forecast=True).read(f"{kind}.json") or "{}")
        good = all(KINDS[kind](entry) for entry in found.values())
    except (ValueError, AttributeError):
        good = False
    if not good:
        raise ConfigError([f"{place}/{kind}.json does not hold {kind} by host; take the file away."])
    return {str(name): entry for name, entry in found.items()}


def hear(place: str, heard: Heard) -> None:
    """Leave what this run has *heard* to keep()."""
    leave(_name(place), asdict(heard))


def keep(place: str, forecast: bool) -> None:
    """Write what this run has heard, where that is new and the run is no *forecast*. Raises ConfigError, PgherdError."""
    heard, before = recall(_name(place)), asdict(kept(place))
    for kind in KINDS:
        if heard[kind] != before[kind] and not forecast:
            PrivateDirectory(place).write(f"{kind}.json", json.dumps(heard[kind], indent=1, sort_keys=True) + "\n")


def _name(place: str) -> str:
    return f"what hosts said, for {place}"
