# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The same faults, the same writers and the same hosts for pgherd and for a peer, in turn in one run.

    beside.py --peer patroni --runs 5 [--only killed,gone,switchover]

Three nodes each, and four writers that go straight to them through libpq's host list. Printed: what both were set up with, every
gap, both medians and their ratio. Below 1, pgherd's clients wait for less. Nothing is asserted but that no row is lost.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests"), str(Path(__file__).resolve().parent)]

import failover  # noqa: E402
import patroni  # noqa: E402
from faults import inject, prepare  # noqa: E402
from faults.cluster import LAB, Cluster  # noqa: E402

PEERS: dict[str, Callable[[], failover.System]] = {"patroni": patroni.up}
# Of ours beside the peer's: what is to be reached.
TO_REACH = {"killed": 0.30, "gone": 0.20, "switchover": 0.60}
NODES = ("nodes",)


@dataclass
class Side:
    """One of the two: its runs by fault."""

    name: str
    system: failover.System
    runs: dict[str, list[failover.Run]]

    def gap(self, fault: str) -> float:
        """The median gap, in seconds."""
        return statistics.median(run.gaps["nodes"] for run in self.runs[fault])

    def shown(self, fault: str) -> str:
        """All gaps and their median."""
        each = " ".join(f"{run.gaps['nodes']:.2f}" for run in self.runs[fault])
        lost = sum(run.lost for run in self.runs[fault])
        return f"{self.name:8} median {self.gap(fault):6.2f} s   ({each})   lost {lost}"


def three() -> Cluster:
    """Ours: hosts of its own, from nothing or from what an earlier run left."""
    inventory = Path(__file__).with_name("three.yml")
    if not prepare.ready("three", inventory):
        raise SystemExit(1)
    return Cluster("three", inventory)


def measure(sides: list[Side], faults: list[str], runs: int) -> None:
    """Make each fault *runs* times on each side in turn."""
    for fault in faults:
        for number in range(runs):
            for side in sides:
                directory = LAB / side.system.cluster.name / "bench" / f"{fault}-{number + 1}"
                try:
                    run = failover.once(side.system, fault, directory, NODES)
                except AssertionError as error:
                    run = failover.Run({"nodes": float("inf")}, problems=[str(error)[:400]])
                side.runs.setdefault(fault, []).append(run)
                print(
                    f"bench: {side.name} {fault} {number + 1}: {run.gaps['nodes']:.2f} s", file=sys.stderr, flush=True
                )


def main() -> int:
    """Measure and print; exit code 1 when a history of ours was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=sorted(PEERS), required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(TO_REACH))
    given = parser.parse_args()
    ours, theirs = failover.Pgherd(three()), PEERS[given.peer]()
    sides = [Side("pgherd", ours, {}), Side(given.peer, theirs, {})]
    for side in sides:
        inject.sweep(side.system.cluster)
        print(f"{side.name}: {side.system.settings()}")
    measure(sides, given.only.split(","), given.runs)
    print(f"\nWrite gaps on three nodes each, in turn; {os.cpu_count()} cores for all six hosts")
    for fault in given.only.split(","):
        ratio = sides[0].gap(fault) / sides[1].gap(fault)
        reach = f", to reach {TO_REACH[fault]:.2f}" if fault in TO_REACH else ""
        print(f"\n{fault}: {(failover.FAULTS[fault].__doc__ or '').strip()} Ratio {ratio:.2f}{reach}")
        for side in sides:
            print(f"  {side.shown(fault)}")
            for problem in (problem for run in side.runs[fault] for problem in run.problems):
                print(f"  PROBLEM {problem}")
    return 1 if any(run.problems for runs in sides[0].runs.values() for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
