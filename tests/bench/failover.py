# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How long nobody can write when the primary fails, through pgpool and straight through libpq's host list.

    failover.py --cluster faults --inventory molecule/faults/inventory.yml --runs 5 [--only killed,gone]

Every run begins and ends on a whole cluster of tests/lab, and its rows are judged. Printed: median and worst write gap
by each way in, rows lost, where the time goes by the hosts' own journals, and what the agents cost. Nothing is asserted
but that no row is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from faults import endstate, inject  # noqa: E402
from faults.cluster import CLIENT, LAB, Cluster, Place, until  # noqa: E402
from faults.mend import mend  # noqa: E402
from faults.records import collect  # noqa: E402
from faults.trial import Trial  # noqa: E402

# Seconds after which a writer gives up an answer, as an application with a time limit does: the kernel of a host whose
# processes stand still goes on acknowledging, so nothing else ends such a session.
GIVE_UP = 3.0
TO_REACH = {"killed": 2.0, "gone": 6.0, "frozen": 6.0, "cut": 10.0, "switchover": 1.5}  # seconds, median

# step -> what a line of a host's journal says when it is done; the first such line after the fault counts
STEPS = {
    "locked": r"switchover: .*is locked",
    "fenced": r"switchover: .*is fenced, \d+ sessions",
    "drained": r"switchover: .*has all WAL",
    "stopped": r"switchover: .*(is down|does not stop)$",
    # Of a server that is restarted in place: systemd's lines, and the guard's between them.
    "ended": r"postgresql@.*: Main process exited",
    "starting": r"^Starting .*postgresql@",
    "allowed": r"^guard: .*starts",
    "started": r"^Started .*postgresql@",
    "noticed": r"unable to (ping|connect|reconnect)|not reachable|does not answer|NOTICE: .*node.*down",
    "decided": r"promote: considered",
    "sealed": r"promote: sealed",
    "promoted": r"promote: promoted",
    "repointed": r"promote: repointed",
    "pgpool told": r"pgpool: promote backend",
}


class System(Protocol):
    """What is measured: a cluster, and how it is driven."""

    @property
    def cluster(self) -> Cluster:
        """Its hosts."""

    def mend(self, seconds: float) -> None:
        """Wait until it is whole, and see to it. Raises AssertionError."""

    def gate(self, seconds: float) -> None:
        """Wait until it is whole by itself. Raises AssertionError."""

    def switchover(self, target: str) -> None:
        """Hand over on purpose. Raises AssertionError or LabError."""

    def collect(self, directory: Path, since: float) -> None:
        """Keep what its hosts logged since *since* (seconds of CLOCK_REALTIME)."""

    def settings(self) -> str:
        """What it was set up with, in one line."""


@dataclass(frozen=True)
class Pgherd:
    """This collection's cluster."""

    cluster: Cluster

    def mend(self, seconds: float) -> None:
        """See System."""
        mend(self.cluster, seconds)

    def gate(self, seconds: float) -> None:
        """See System."""
        endstate.gate(self.cluster, seconds)

    def switchover(self, target: str) -> None:
        """See System."""
        run = self.cluster.play("switchover", {"cluster_switchover_to": target})
        if run.rc:
            raise AssertionError(str(run))

    def collect(self, directory: Path, since: float) -> None:
        """See System."""
        collect(self.cluster, directory, since)

    def settings(self) -> str:
        """See System."""
        shown = ("synchronous_standby_names", "synchronous_commit", "ssl", "password_encryption")
        primary = self.cluster.primary()
        said = ", ".join(f"{name} {self.cluster.value(primary, f'SHOW {name}')}" for name in shown)
        return f"the defaults: {said}"


@dataclass
class Run:
    """One run: gaps by way and steps in seconds after the fault, rows lost, timelines begun."""

    gaps: dict[str, float]
    steps: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    failovers: int = 0
    problems: list[str] = field(default_factory=list)


def killed(trial: Trial, _system: System) -> None:
    """The primary's postmaster is killed."""
    inject.kill(trial.cluster, trial.first_primary, "postmaster")
    # Its backends live on for a moment, so the first answer proves nothing.
    until("a new postmaster", lambda: trial.cluster.primary() and time.monotonic() - trial.broken > 1, 60)
    trial.until_written(60)


def gone(trial: Trial, _system: System) -> None:
    """The primary's host loses power."""
    inject.power_cut(trial.cluster, trial.first_primary)
    trial.until_written(90, timeline=trial.first_timeline + 1)


def frozen(trial: Trial, _system: System) -> None:
    """The primary's host stands still."""
    inject.freeze(trial.cluster, trial.first_primary)
    trial.until_written(90, timeline=trial.first_timeline + 1)


def cut(trial: Trial, _system: System) -> None:
    """The primary is cut from its standbys, not from pgpools and clients."""
    inject.isolate(trial.cluster, trial.first_primary, but=[CLIENT, *trial.cluster.pools])
    trial.until_written(90, timeline=trial.first_timeline + 1)


def switchover(trial: Trial, system: System) -> None:
    """Another node takes over on purpose."""
    system.switchover(trial.cluster.standbys(trial.first_primary)[0])
    trial.until_written(60, timeline=trial.first_timeline + 1)


FAULTS: dict[str, Callable[[Trial, System], None]] = {
    "killed": killed,
    "gone": gone,
    "frozen": frozen,
    "cut": cut,
    "switchover": switchover,
}


def once(system: System, name: str, directory: Path, ways: tuple[str, ...] = ("pgpool", "nodes")) -> Run:
    """One run of a fault, with writers by each of *ways*."""
    cluster = system.cluster
    system.mend(120)
    trial = Trial(cluster, directory, ways, writers=4, period=0.02, give_up=GIVE_UP)
    with trial:
        trial.now()
        try:
            FAULTS[name](trial, system)
        finally:
            inject.sweep(cluster)
        system.gate(180)
        trial.until_written(30)
    found = trial.judge()
    system.collect(directory, trial.began)
    return Run(
        gaps={way: verdict.gaps.overall for way, verdict in trial.verdicts.items()},
        steps=steps(trial),
        lost=len(found.lost),
        failovers=cluster.timeline(cluster.primary()) - trial.first_timeline,
        problems=found.problems,
    )


def _said(place: Place, host: str, since: float) -> list[tuple[float, str]]:
    """What a host's services have said, and a module that hands over there."""
    handed = [(at, line) for at, line in place.log(host, since) if "switchover: " in line]
    return [*place.log(host, since, "agent", "repmgrd", "postgres"), *handed]


def steps(trial: Trial) -> dict[str, float]:
    """When each step was done, in seconds after the fault."""
    lines = [line for host in trial.cluster.everyone for line in _said(trial.cluster.place, host, trial.broken_at)]
    found = {}
    for step, pattern in STEPS.items():
        times = [at for at, line in lines if at >= trial.broken_at and re.search(pattern, line)]
        if times:
            found[step] = min(times) - trial.broken_at
    if "starting" in found and "allowed" in found:
        found["guard's part"] = found["allowed"] - found["starting"]
    for way, verdict in trial.verdicts.items():
        found[f"write by {way}"] = verdict.gaps.ended - trial.broken
    return found


def cost(cluster: Cluster, seconds: float) -> dict[str, tuple[float, float]]:
    """By host: the agent's share of one core over *seconds*, and its resident memory in MiB."""
    tick = os.sysconf("SC_CLK_TCK")

    def used(process: int) -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / tick

    agents = {host: inject.processes(cluster, host, "agent") for host in cluster.everyone}
    before, began = {host: sum(map(used, found)) for host, found in agents.items()}, time.monotonic()
    time.sleep(seconds)  # the measurement's own length
    passed = time.monotonic() - began

    def resident(process: int) -> float:
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[0]) / 1024

    return {
        host: ((sum(map(used, found)) - before[host]) / passed, sum(map(resident, found)))
        for host, found in agents.items()
    }


def show(name: str, runs: list[Run]) -> None:
    """Print what runs of one fault came to."""
    print(f"\n{name}: {(FAULTS[name].__doc__ or '').strip()} {len(runs)} runs, to reach {TO_REACH[name]:.1f} s")
    for way in runs[0].gaps:
        gaps = [run.gaps[way] for run in runs]
        each = " ".join(f"{gap:.2f}" for gap in gaps)
        print(f"  through {way:7} median {statistics.median(gaps):6.2f} s  worst {max(gaps):6.2f} s   ({each})")
    failovers = " ".join(str(run.failovers) for run in runs)
    print(f"  lost {sum(run.lost for run in runs)}, failovers {failovers}")
    for step in (*STEPS, *(f"write by {way}" for way in runs[0].gaps), "guard's part"):
        times = [run.steps[step] for run in runs if step in run.steps]
        if times:
            after = "after the fault" if step != "guard's part" else "from the start of the service to its word"
            print(f"    {step:18} {statistics.median(times):6.2f} s {after}  (in {len(times)} of {len(runs)} runs)")
    for run in runs:
        for problem in run.problems:
            print(f"  PROBLEM {problem}")


def main() -> int:
    """Measure and print; exit code 1 when a row was lost or anything else was wrong with a history."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default="faults")
    parser.add_argument("--inventory", type=Path, default=CHECKOUT / "molecule/faults/inventory.yml")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(FAULTS))
    parser.add_argument("--cost", type=float, default=60.0, help="seconds for measuring the agents; 0: not at all")
    given = parser.parse_args()
    cluster = Cluster(given.cluster, given.inventory)
    inject.sweep(cluster)
    all_runs: dict[str, list[Run]] = {}
    for name in given.only.split(","):
        for number in range(given.runs):
            directory = LAB / cluster.name / "bench" / f"{name}-{number + 1}"
            try:
                run = once(Pgherd(cluster), name, directory)
            except AssertionError as error:
                run = Run({"pgpool": float("inf"), "nodes": float("inf")}, problems=[str(error)[:400]])
            all_runs.setdefault(name, []).append(run)
            print(f"bench: {name} {number + 1}: {json.dumps(run.__dict__)}", file=sys.stderr, flush=True)
    print(
        f"Write gaps on {len(cluster.nodes)} nodes, {len(cluster.pools)} pgpools; {os.cpu_count()} cores for all hosts"
    )
    for name, runs in all_runs.items():
        show(name, runs)
    if given.cost:
        print("\nagents")
        mend(cluster, 60)
        for host, (share, resident) in cost(cluster, given.cost).items():
            print(f"  {host:10} {share:6.2%} of a core  {resident:5.1f} MiB")
    return 1 if any(run.problems for runs in all_runs.values() for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
