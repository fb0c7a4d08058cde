# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether a service of writes led to two nodes at once, or to the old primary long after its seal, by what was watched. Pure.

Lines are JSON objects: *at* (seconds of CLOCK_REALTIME), *kind* ("slice" of the service's endpoints, "pod"), *event* (ADDED,
MODIFIED, DELETED, or "blind" where nobody watched any more), *name*, and *said*: of a slice NODE=true where it leads to that
node, of a pod its role.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

SEALED, PROMOTED = "promote: sealed", "promote: promoted"  # what an agent says
LATE = 10.0  # seconds: no longer does a service lead to who was the primary, once another has sealed its place


@dataclass(frozen=True)
class Led:
    """From *at* on the service led to *nodes*; *labelled* are those that were called the primary."""

    at: float
    nodes: tuple[str, ...]
    labelled: tuple[str, ...] = ()


def read(lines: Iterable[str]) -> list[Led]:
    """Each change of where it led, in order of time. While nobody watches, as when the API server is away, nothing is known."""
    slices: dict[str, tuple[str, ...]] = {}
    roles: dict[str, str] = {}
    found: list[Led] = []
    for item in sorted((json.loads(line) for line in lines if line.endswith("\n")), key=lambda one: one["at"]):
        gone = item["event"] == "DELETED"
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
        if not found or (found[-1].nodes, found[-1].labelled) != (nodes, labelled):
            found.append(Led(item["at"], nodes, labelled))
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
    and nodes."""
    ordered = sorted(seals)
    ends = [*(one.at for one in led[1:]), float("inf")]
    found = []
    for number, (sealed, node) in enumerate(ordered):
        until = ordered[number + 1][0] if number + 1 < len(ordered) else float("inf")
        for one, end in zip(led, ends, strict=True):
            began, over = max(one.at, sealed + limit), min(end, until)
            others = [name for name in one.nodes if name != node]
            if others and began < over:
                found.append(
                    f"{began - sealed:.1f} s after {node} sealed, the write service led to {', '.join(others)}"
                )
    return found
