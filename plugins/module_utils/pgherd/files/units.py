# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Units that run with the files as they stand: what each reads at its start is compared with when it started."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..plan import Plan, Step
from ..ports.service import Service


@dataclass(frozen=True)
class Unit:
    """One unit, and the files (or directories of files) that it reads when it starts."""

    name: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """Since when a unit runs, None when it does not, and when each of its files last changed, in seconds since the epoch;
    a file that is missing is left out."""

    since: float | None
    changed_at: Mapping[str, float]


def observe(unit: Unit, service: Service) -> State:
    """The unit as it is."""
    times = {path: newest for path in unit.files if (newest := _newest(path)) is not None}
    return State(service.active_since(unit.name), times)


def _newest(path: str) -> float | None:
    try:
        if os.path.isdir(path):
            files = (os.path.join(folder, name) for folder, _folders, names in os.walk(path) for name in names)
            # What Python compiles is written when somebody first runs it, and says nothing new.
            return max((os.stat(file).st_mtime for file in files if not file.endswith(".pyc")), default=None)
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def plan(units: Sequence[Unit], found: Mapping[str, State], changed: Iterable[str] = ()) -> Plan:
    """Start what does not run; restart what runs since before one of its files changed.

    *changed*: paths that check mode has not written. The start's time is known to the second only: a file that was
    written in that second counts as read.
    """
    before, after, steps = {}, {}, []
    for unit in units:
        state = found[unit.name]
        newer = [path for path, at in state.changed_at.items() if state.since is not None and at >= state.since + 1]
        newer += [path for path in changed if any(path == own or path.startswith(own + "/") for own in unit.files)]
        if state.since is None:
            before[unit.name], after[unit.name] = "stopped", "running"
            steps.append(Step("start", f"start {unit.name}", {"unit": unit.name}))
        elif newer:
            before[unit.name], after[unit.name] = "running with older files", "running"
            why = f"restart {unit.name}: {', '.join(dict.fromkeys(newer))} changed since it started"
            steps.append(Step("restart", why, {"unit": unit.name}))
    return Plan("units", before, after, tuple(steps))
