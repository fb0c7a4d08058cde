# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a service of writes led to two nodes at once, or to the old primary long after its seal, or that one was called the
primary for as long, by what was watched. Pure.

Lines are JSON objects: *at* (seconds of CLOCK_REALTIME), *kind* ("slice" of the service's endpoints, "pod"), *event* (ADDED,
MODIFIED, DELETED, or "blind" where nobody watched any more), *name*, and *said*: of a slice NODE=true where it leads to that
node, of a pod its role.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

SEALED, PROMOTED = "promote: sealed", "promote: promoted"  # what an agent says
LATE = 10.0  # seconds: no longer does a service lead to who was the primary, once another has sealed its place
# Kubernetes' controllers, which have a service lead elsewhere, watch again so long after the API server was away: each has waited
# longer before every attempt, in the end up to thirty seconds and as many again by chance (client-go's reflectors).
CONTROLLERS = 60.0
AWAY = 3.0  # seconds: for less, only a watch has ended and was begun anew


@dataclass(frozen=True)
class Led:
    """From *at* on the service led to *nodes*; *labelled* are those that were called the primary. *blind*: nobody could watch."""

    at: float
    nodes: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    blind: bool = False


def read(lines: Iterable[str]) -> list[Led]:
    """Each change of where it led, in order of time. While nobody watches, as when the API server is away, nothing is known."""
    slices: dict[str, tuple[str, ...]] = {}
    roles: dict[str, str] = {}
    unseen: set[str] = set()
    found: list[Led] = []
    for item in sorted((json.loads(line) for line in lines if line.endswith("\n")), key=lambda one: one["at"]):
        gone = item["event"] == "DELETED"
        (unseen.add if item["event"] == "blind" else unseen.discard)(item["kind"])
        if item["event"] == "blind":
            (slices if item["kind"] == "slice" else roles).clear()
        elif item["kind"] == "slice":
            ready = (word.rpartition("=") for word in item["said"])
            # An endpoint that says nothing counts as ready.
            slices[item["name"]] = () if gone else tuple(name for name, _is, word in ready if name and word != "false")
        else:
            roles[item["name"]] = "" if gone else " ".join(item["said"])
        nodes = tuple(sorted({name for names in slices.values() for name in names}))
        labelled = tuple(sorted(name for name, role in roles.items() if role == "primary"))
        led = Led(item["at"], nodes, labelled, bool(unseen))
        if not found or replace(led, at=found[-1].at) != found[-1]:
            found.append(led)
    return found


def two(led: Iterable[Led]) -> list[str]:
    """When it led to more than one node, in sentences."""
    return [f"at {one.at:.3f} the write service led to {', '.join(one.nodes)}" for one in led if len(one.nodes) > 1]


def sealed(lines: Iterable[tuple[float, str]]) -> list[float]:
    """When the node whose agent has said *lines* sealed its predecessor's place and was promoted then. A promotion that was given
    up has let all go again."""
    found, last = [], 0.0
    for at, line in sorted(lines):
        if SEALED in line:
            last = at
        elif PROMOTED in line and last:
            found.append(last)
            last = 0.0
    return found


def late(led: list[Led], seals: Iterable[tuple[float, str]], limit: float = LATE) -> list[str]:
    """Where it led to another node than the one that had sealed its predecessor's place *limit* seconds before. *seals*: times
    and nodes. While the API server is away nobody can change where a service leads, nor right afterwards."""
    said = "{:.1f} s after {} sealed, the write service led to {}"
    return _late(led, seals, limit, CONTROLLERS, lambda one: one.nodes, said)


def miscalled(led: list[Led], seals: Iterable[tuple[float, str]], limit: float = LATE) -> list[str]:
    """The same of who was called the primary, which pods see to by themselves: *limit* seconds also after the API server was
    away."""
    return _late(
        led, seals, limit, limit, lambda one: one.labelled, "{:.1f} s after {} sealed, {} was called the primary"
    )


def _late(
    led: list[Led],
    seals: Iterable[tuple[float, str]],
    limit: float,
    back: float,
    of: Callable[[Led], tuple[str, ...]],
    said: str,
) -> list[str]:
    ordered = sorted(seals)
    outages = _outages(led)
    ends = [*(one.at for one in led[1:]), float("inf")]
    found = []
    for number, (sealed, node) in enumerate(ordered):
        until = ordered[number + 1][0] if number + 1 < len(ordered) else float("inf")
        due = sealed + limit
        for begun, over in outages:
            due = max(due, over + back) if begun < due else due
        for one, end in zip(led, ends, strict=True):
            began = max(one.at, due)
            others = [name for name in of(one) if name != node]
            if others and began < min(end, until):
                found.append(said.format(began - sealed, node, ", ".join(others)))
    return found


def _outages(led: list[Led]) -> list[tuple[float, float]]:
    """From when to when the API server was away."""
    found, begun = [], None
    for one in led:
        if one.blind:
            begun = one.at if begun is None else begun
        elif begun is not None:
            found.append((begun, one.at))
            begun = None
    return [(begun, over) for begun, over in found if over - begun >= AWAY]
