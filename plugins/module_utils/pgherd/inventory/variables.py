# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether an inventory's variables are ones that there are, and mean one thing for the whole cluster. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .values import shown

HOST_KEYS = ("node_id", "upstream", "priority", "location", "address", "ip", "place", "replicas")
# What a variable of an earlier release is called now, where no likeness of the names would tell.
RENAMED = {"cluster_platform": "place, of a host or a group"}
# Where else than at all hosts a variable that holds for the whole cluster may be set: at all hosts of one group.
HOMES = {"cluster_pgpool_": "pgpool", "cluster_pcp_": "pgpool", "cluster_barman_": "barman", "cluster_": "postgres"}


@dataclass(frozen=True)
class Host:
    """One inventory host: its *groups* among GROUPS, and all *variables* set for it (without role defaults)."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)


def unknown_variables(names: Iterable[str], known: Iterable[str], where: str) -> list[str]:
    """One sentence for each ``cluster_*`` name that no specification knows, with the name that was probably meant."""
    known = sorted(known)
    sentences = []
    for name in sorted(set(names)):
        if name.startswith("cluster_") and name not in known:
            close = [RENAMED[name]] if name in RENAMED else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else "see docs/variables.md for the names there are."
            sentences.append(f"{where}: there is no variable {name}; {hint}")
    return sentences


def unknown_host_keys(host: Host) -> list[str]:
    """One sentence for each host variable that is almost one of HOST_KEYS."""
    sentences = []
    for key in sorted(host.variables):
        if key in HOST_KEYS or key.startswith(("ansible_", "cluster_")):
            continue
        close = difflib.get_close_matches(key, HOST_KEYS, n=1, cutoff=0.8)
        if close and close[0] not in host.variables and key != close[0] + "s":
            sentences.append(f"{host.name}: there is no host variable {key}; did you mean {close[0]}?")
    return sentences


def one_value(variable: str, default: Any, hosts: Sequence[Host]) -> tuple[Any, list[str]]:
    """The value of a cluster-wide *variable*: what hosts say, else *default*. With a sentence where they do not agree, or
    where only some hosts have it, for whom alone it was perhaps meant."""
    said = [(host.name, host.variables[variable]) for host in hosts if variable in host.variables]
    if not said:
        return default, []
    first_host, value = said[0]
    for host, other in said[1:]:
        if other != value:
            differ = (
                f"{first_host} says {value!r} and {host} says {other!r}"
                if shown(variable, value, other)
                else f"{first_host} and {host} say different things"
            )
            return value, [f"{variable} holds for the whole cluster, but {differ}; set it once, for all hosts."]
    home = next(group for prefix, group in HOMES.items() if variable.startswith(prefix))
    names = {name for name, _value in said}
    at_home = {host.name for host in hosts if home in host.groups}
    if len(names) < len(hosts) and not (at_home and at_home <= names):
        return value, [
            f"{', '.join(name for name, _value in said)}: {variable} holds for the whole cluster and cannot differ by host; "
            f"set it for all hosts or for the group {home}."
        ]
    return value, []
