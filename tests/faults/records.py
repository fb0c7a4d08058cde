# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What each run of a fault came to, kept as JSON lines, and the table of them in docs/faults.md.

python -m faults.records RESULTS.jsonl ... > docs/faults.md
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from faults.cluster import Cluster, LabError
from faults.trial import Trial


@dataclass
class Record:
    """One run. Gaps and *settled* (from healing to the end state) in seconds; *timelines* is how many were begun."""

    fault: str
    title: str
    at: float
    verdict: str = "not judged"
    failovers: int = 0
    gap: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    acknowledged: int = 0
    settled: float = 0.0
    two: float = 0.0  # seconds in which two nodes were writable for clients

    def judged(self, trial: Trial) -> None:
        """Take over what a trial found."""
        assert trial.verdict
        self.failovers = trial.cluster.timeline(trial.cluster.primary()) - trial.first_timeline
        self.gap = {way: round(found.gaps.overall, 2) for way, found in trial.verdicts.items()}
        self.lost = len(trial.verdict.lost)
        self.acknowledged = trial.verdict.counts.get("ok", 0)
        self.two = round(max((o.seconds for o in trial.overlaps if o.grade == "B"), default=0.0), 1)

    def save(self, path: Path) -> None:
        """Append to a file of results."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.__dict__) + "\n")


def collect(cluster: Cluster, directory: Path, since: float) -> None:
    """Keep the journals of all hosts beside a history, for whoever looks for the cause."""

    def one(host: str) -> None:
        try:
            said = cluster.place.report(host, since, "agent", "repmgrd", "pgpool", "postgres")
        except LabError as error:
            said = str(error)
        (directory / f"journal-{host}.txt").write_text(said, encoding="utf-8")

    directory.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, cluster.everyone))


def last_lines(directory: Path, hosts: Iterable[str], count: int = 25) -> str:
    """The ends of what collect() has kept of *hosts*: where a run's files are out of reach, its output is all there is."""
    said = []
    for host in hosts:
        lines = (directory / f"journal-{host}.txt").read_text(encoding="utf-8").splitlines()[-count:]
        said += [f"-- {host}", *(line[:300] for line in lines)]
    return "\n".join(said)


def load(paths: Iterable[Path]) -> list[Record]:
    """All runs of files of results."""
    return [Record(**json.loads(line)) for path in paths for line in path.read_text().splitlines()]


def table(records: Iterable[Record]) -> str:
    """A Markdown table, one row a fault."""
    by: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by.setdefault((record.fault, record.title), []).append(record)
    lines = [
        "| fault | | runs | failovers | write gap, median / worst | acknowledged | lost | ended well |",
        "|" + "---|" * 8,
    ]
    for (fault, title), runs in sorted(by.items()):
        judged = [run for run in runs if run.acknowledged]
        failovers = sorted({run.failovers for run in judged})
        span = "-".join(map(str, dict.fromkeys([failovers[0], failovers[-1]]))) if failovers else ""
        ways = dict.fromkeys(way for run in judged for way in run.gap)
        gaps = "; ".join(f"{way} {_span([run.gap[way] for run in judged if way in run.gap])}" for way in ways)
        well = sum(run.verdict == "ok" for run in runs)
        counts = f"{sum(run.acknowledged for run in judged)} | {sum(run.lost for run in judged)} | {well}/{len(runs)}"
        lines.append(f"| {fault} | {title} | {len(runs)} | {span} | {gaps} | {counts} |")
    return "\n".join(lines)


def _span(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} / {max(values):.1f} s"


def main() -> int:
    """The table of the named files of results."""
    print(table(load(map(Path, sys.argv[1:]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
