# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Units that run with the files as they stand: what each reads at its start is compared with when it started."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ...errors import Unreachable
from ...plan import Plan, Step
from ...ports.services import Services


@dataclass(frozen=True)
class Unit:
    """One unit, and the files (or directories of files) that it reads when it starts. *description*: the file of the cluster's
    description, where it goes by one; it need not be started again for that, unless it is of an earlier release. *reloads*: files
    or directories of files that it reads again when it is told to. *stale*: why it has to be started again whatever its files
    say; '' where it has not."""

    name: str
    files: tuple[str, ...] = ()
    description: str = ""
    reloads: tuple[str, ...] = ()
    stale: str = ""


@dataclass(frozen=True)
class UnitState:
    """Since when a unit runs, None when it does not, and when each of its files last changed, in seconds since the epoch;
    a file that is missing is left out. *rereads*: it says by which description it goes. *behind*: why it does not go by the one
    that is there; '' when it does, or that was not waited for."""

    since: float | None
    changed_at: Mapping[str, float]
    rereads: bool = False
    behind: str = ""

    def newer(self) -> list[str]:
        """Files that changed since it started. That time is known to the second only: a file that was written in that second
        counts as read."""
        return [path for path, at in self.changed_at.items() if self.since is not None and at >= self.since + 1]


class SayTheirDescription(Protocol):
    """What agents say of the description that they go by (taken_up.Agents)."""

    def rereads(self, unit: str) -> bool:
        """Whether the agent that runs as *unit* says so, and takes a changed one up while it runs."""

    def behind(self, unit: str, path: str) -> str:
        """Why it does not go by the one in the file *path*, where that is waited for; '' when it does."""


def observe(unit: Unit, services: Services, agents: SayTheirDescription | None = None) -> UnitState:
    """The unit as it is. What *agents* say is only waited for where nothing else has the unit restarted. Raises as they do."""
    since = services.since(unit.name)
    rereads = bool(unit.description and since is not None and agents and agents.rereads(unit.name))
    times = {path: newest for path in _read_at_start(unit, rereads) if (newest := _newest(path)) is not None}
    found = UnitState(since, times, rereads)
    if agents and rereads and not found.newer():
        return replace(found, behind=agents.behind(unit.name, unit.description))
    return found


def confirm(units: Iterable[Unit], agents: SayTheirDescription) -> None:
    """Once they run: that agents which say it go by their descriptions. One that was being started when its description was
    written had read the one before. Raises Unreachable, and as *agents* do."""
    for unit in units:
        if unit.description and agents.rereads(unit.name) and (why := agents.behind(unit.name, unit.description)):
            raise Unreachable(f"have {unit.name} go by {unit.description}: {why}.", "Run the playbook again.")


def _read_at_start(unit: Unit, rereads: bool) -> tuple[str, ...]:
    return unit.files if rereads or not unit.description else (*unit.files, unit.description)


def _newest(path: str) -> float | None:
    try:
        if os.path.isdir(path):
            files = (os.path.join(folder, name) for folder, _folders, names in os.walk(path) for name in names)
            # What Python compiles is written when somebody first runs it, and says nothing new.
            return max((os.stat(file).st_mtime for file in files if not file.endswith(".pyc")), default=None)
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def plan(
    units: Sequence[Unit], found: Mapping[str, UnitState], changed: Iterable[str] = (), written: Iterable[str] = ()
) -> Plan:
    """Start what does not run; restart what runs since before one of its files changed, does not take up a description or is
    stale; reload what reads again what was *written*.

    *changed*: paths that check mode has not written. *written*: paths that the run writes, in check mode too.
    """
    before, after, steps = {}, {}, []
    for unit in units:
        state = found[unit.name]
        reads = _read_at_start(unit, state.rereads)
        newer = [*state.newer(), *_among(changed, reads)]
        again = _among(written, unit.reloads)
        if state.since is None:
            before[unit.name], after[unit.name] = "stopped", "running"
            steps.append(Step("start", f"start {unit.name}", {"name": unit.name}))
        elif newer or state.behind:
            before[unit.name], after[unit.name] = "running with older files", "running"
            why = f"{', '.join(dict.fromkeys(newer))} changed since it started"
            why = why if newer else f"{unit.description} changed, and {state.behind}"
            steps.append(Step("restart", f"restart {unit.name}: {why}", {"name": unit.name}))
        elif unit.stale:
            before[unit.name], after[unit.name] = "running as before", "running"
            steps.append(Step("restart", f"restart {unit.name}: {unit.stale}", {"name": unit.name}))
        elif again:
            before[unit.name], after[unit.name] = "running with older files", "running"
            steps.append(Step("reload", f"reload {unit.name}: {', '.join(again)} changed", {"name": unit.name}))
    return Plan("units", before, after, tuple(steps))


def _among(paths: Iterable[str], own: Iterable[str]) -> list[str]:
    """Those of the *paths* that are one of a unit's *own* files, or in one of its directories."""
    return [path for path in paths if any(path == one or path.startswith(one + "/") for one in own)]
