# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a crowd of slow clients at every agent's port costs a failover, and the load balancers that ask there.

    crowd.py --cluster faults --inventory molecule/faults/inventory.yml --runs 3 --clients 300 [--only gone,killed]

Every fault of failover.py that is asked for is run without the crowd and with it, in turn. Printed: write gaps, and how
long a balancer's question to a node took, by both. Nothing is asserted but what failover.py asserts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))
sys.path.insert(0, str(CHECKOUT / "tests/bench"))

import failover  # noqa: E402
from faults import inject  # noqa: E402
from faults.checker.crowd import Answer, misses  # noqa: E402
from faults.cluster import LAB, Cluster  # noqa: E402
from faults.mend import mend  # noqa: E402
from faults.siege import siege  # noqa: E402

SECONDS = 2.0  # what a balancer's check may take


@dataclass
class Beside:
    """What the balancers heard in one run: by "known" and "stranger" all answers of the nodes that stayed; clients held at
    once at most, by node."""

    run: failover.Run
    heard: dict[str, list[Answer]] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)


def once(cluster: Cluster, name: str, directory: Path, clients: int) -> Beside:
    """One run of a fault, with so many slow clients at each node's agent."""
    mend(cluster, 120)
    old = cluster.primary()
    with siege(cluster, directory, clients) as found:
        try:
            run = failover.once(failover.Pgherd(cluster), name, directory)
        except AssertionError as error:
            run = failover.Run({"pgpool": float("inf"), "nodes": float("inf")}, problems=[str(error)[:400]])
    # A host that is gone answers nobody, crowd or not.
    heard = {who: [one for one in found.answers(who) if one.target != old] for who in found.files}
    return Beside(run, heard, found.held())


def show(name: str, all_runs: dict[int, list[Beside]]) -> None:
    """Print what runs of one fault came to, without the crowd and with it."""
    print(f"\n{name}: {(failover.FAULTS[name].__doc__ or '').strip()}")
    for clients, runs in all_runs.items():
        held = max((count for one in runs for count in one.held.values()), default=0)
        crowd = f"{clients} slow clients at each node, {held} held at once" if clients else "no crowd"
        print(f"  {crowd}, {len(runs)} runs, lost {sum(one.run.lost for one in runs)}")
        for way in runs[0].run.gaps:
            gaps = [one.run.gaps[way] for one in runs]
            each = " ".join(f"{gap:.2f}" for gap in gaps)
            print(
                f"    writes through {way:7} median {statistics.median(gaps):6.2f} s  worst {max(gaps):6.2f} s   ({each})"
            )
        for who in runs[0].heard:
            show_answers(who, [one.heard[who] for one in runs])
        for one in runs:
            for problem in one.run.problems:
                print(f"    PROBLEM {problem}")


def show_answers(who: str, heard: list[list[Answer]]) -> None:
    """Print how long one balancer's questions took in all runs."""
    every = [one for run in heard for one in run]
    answered = [one.seconds for one in every if one.status]
    by_node = [
        [one for one in run if one.target == node] for run in heard for node in sorted({one.target for one in run})
    ]
    row = max((misses(found, SECONDS) for found in by_node), default=0)
    said = (
        f"median {statistics.median(answered):6.3f} s  worst {max(answered):6.3f} s" if answered else "never answered"
    )
    print(
        f"    balancer, {who:8}     {said}   ({len(every)} questions, {len(every) - len(answered)} without an answer, "
        f"{row} in a row not within {SECONDS:.0f} s)"
    )


def main() -> int:
    """Measure and print; exit code 1 when a row was lost or anything else was wrong with a history."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default="faults")
    parser.add_argument("--inventory", type=Path, default=CHECKOUT / "molecule/faults/inventory.yml")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--only", default="gone")
    given = parser.parse_args()
    cluster = Cluster(given.cluster, given.inventory)
    inject.sweep(cluster)
    found: dict[str, dict[int, list[Beside]]] = {}
    for name in given.only.split(","):
        for number in range(given.runs):
            for clients in (0, given.clients):
                directory = LAB / cluster.name / "bench" / f"crowd-{name}-{clients}-{number + 1}"
                one = once(cluster, name, directory, clients)
                found.setdefault(name, {}).setdefault(clients, []).append(one)
                print(
                    f"bench: {name} {clients} {number + 1}: {json.dumps(one.run.__dict__)}", file=sys.stderr, flush=True
                )
    for name, runs in found.items():
        show(name, runs)
    return 1 if any(one.run.problems for by in found.values() for runs in by.values() for one in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
