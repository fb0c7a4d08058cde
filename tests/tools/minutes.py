# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where the minutes of the scenarios went: molecule's phases by their lines, playbook runs by what each wrote down
(callbacks/took.py), tests by pytest's reports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

TOOLS = Path(__file__).resolve().parent
PHASES = ("create", "check", "converge", "idempotence", "verify")
_LINE = re.compile(r"\[\S+ > (\w+)\] (Executing|Executed)\b")


@dataclass(frozen=True)
class Span:
    """A phase of a scenario, or a run of a playbook. *began* in seconds since the epoch."""

    name: str
    began: float
    seconds: float


class Phases:
    """Molecule's phases, by the lines that it prints as they begin and end."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._began: dict[str, float] = {}

    def see(self, now: float, line: str) -> None:
        """Take a line of molecule's output that came *now*."""
        found = _LINE.search(line)
        if found and found[2] == "Executing":
            self._began[found[1]] = now
        elif found and found[1] in self._began:
            began = self._began.pop(found[1])
            self.spans.append(Span(found[1], began, now - began))


def environment(file: Path) -> dict[str, str]:
    """What makes Ansible write down in *file* what each run of a playbook takes."""
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(TOOLS / "callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "took",
        "PGHERD_TOOK": str(file),
    }


def runs(file: Path) -> list[Span]:
    """The runs of playbooks that a file tells of; none where there is no file."""
    if not file.exists():
        return []
    return [Span(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def slowest(reports: Iterable[Path], count: int = 10) -> list[tuple[float, str]]:
    """The slowest tests of pytest's reports with their seconds, set-up and all, the slowest first."""
    found = [
        (float(case.get("time", 0)), f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
        for report in reports
        if report.exists()
        for case in ElementTree.parse(report).getroot().iter("testcase")
    ]
    return sorted(found, reverse=True)[:count]


def table(scenarios: dict[str, tuple[float, list[Span]]], played: list[Span]) -> str:
    """By scenario the seconds of each phase, of all, and of the playbook runs that tests made. *scenarios*: name to the
    seconds of all and the phases."""
    rows = [["seconds", *PHASES, "other", "all", "playbooks in tests"]]
    for name, (total, spans) in scenarios.items():
        by_phase = {phase: sum(span.seconds for span in spans if span.name == phase) for phase in PHASES}
        rest = total - sum(by_phase.values())
        tested = [span for span in spans if span.name == "verify"]
        inside = [run.seconds for run in played if any(_within(run, span) for span in tested)]
        figures = [f"{seconds:.0f}" if seconds else "-" for seconds in (*by_phase.values(), rest, total)]
        rows.append([name, *figures, f"{sum(inside):.0f} in {len(inside)} runs" if inside else "-"])
    return "\n".join(_aligned(rows))


def recorded(page: str, day: date, commit: str, rows: Iterable[tuple[str, int, int, float]]) -> str:
    """The *page* with a line for each of *rows* at the end of its table: what ran, passed, failed, seconds."""
    lines = [
        f"| {day} | {commit} | {name} | {passed} | {failed} | {seconds / 60:.1f} |"
        for name, passed, failed, seconds in rows
    ]
    return "\n".join([page.rstrip("\n"), *lines, ""])


def _within(run: Span, span: Span) -> bool:
    return span.began <= run.began <= span.began + span.seconds


def _aligned(rows: list[list[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *rest in rows:
        yield "  ".join([first.ljust(widths[0]), *(word.rjust(width) for word, width in zip(rest, widths[1:]))])
