# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Kubernetes' Events say of pods that a run waits for in vain. **PRIVATE**."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Sentences at most: of a whole cluster that has the same fault, one says it.
MOST = 4


def explained(waits: Sequence[str], events: Sequence[Mapping[str, Any]]) -> list[str]:
    """In sentences the last warning among *events* of each pod, and of each claim of a pod, that *waits* name: sentences that
    begin with the name of a host and a colon. What they say already is left out, and what is said twice. Pure."""
    hosts = [sentence.partition(":")[0] for sentence in waits]
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in sorted(events, key=_at):
        about = event.get("involvedObject") or {}
        kind, name = str(about.get("kind") or ""), str(about.get("name") or "")
        if event.get("type") == "Warning" and any(_is_of(kind, name, host) for host in hosts):
            last[kind, name] = event
    found: dict[str, str] = {}
    for (_kind, name), event in sorted(last.items()):
        why = ": ".join(" ".join(str(part).split()) for part in (event.get("reason"), event.get("message")) if part)
        message = " ".join(str(event.get("message") or "").split()).rstrip(".")
        if message and not any(message in sentence for sentence in waits):
            found.setdefault(message.replace(name, ""), f"Kubernetes says of {name}, {why}".rstrip(".") + ".")
    return list(found.values())[:MOST]


def _at(event: Mapping[str, Any]) -> str:
    """When it was last so. Kubernetes writes times so that they sort as texts."""
    series = event.get("series") or {}
    return str(event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime") or "")


def _is_of(kind: str, name: str, host: str) -> bool:
    """Whether an object is the *host*'s: its pod, a claim of that, or one of a pgpool's pods or what makes them."""
    if kind == "PersistentVolumeClaim":
        return name.endswith(f"-{host}")
    return name == host or (kind in ("Pod", "ReplicaSet") and name.startswith(f"{host}-"))
