# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Random faults and switchovers under load, one after another; at the end nothing may be lost.

    python -m faults.chaos CLUSTER INVENTORY --minutes 60 --seed 7

The same seed makes the same sequence. Every fault is healed, and the end state waited for, before the next. Prints the
seed, where the history is, each fault as it comes, and the verdict; exit code 1 unless that is clean.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from faults import endstate, inject
from faults.cluster import CLIENT, LAB, Cluster, Impossible, LabError, in_pods
from faults.mend import mend
from faults.records import collect
from faults.trial import Trial

SETTLE = 180.0  # seconds from healing to the end state
Fault = Callable[[Cluster, random.Random], str]
Faults = tuple[tuple[Fault, int], ...]


def _primary(cluster: Cluster) -> str:
    return cluster.primary()


def _standby(cluster: Cluster, chance: random.Random) -> str:
    return chance.choice(sorted(cluster.standbys()))


def killed(cluster: Cluster, chance: random.Random) -> str:
    """kill -9 of something that a database cannot do without."""
    host, what = chance.choice(
        [
            (_primary(cluster), "postmaster"),
            (_primary(cluster), "backend"),
            (_primary(cluster), "checkpointer"),
            (_standby(cluster, chance), "postmaster"),
            (_standby(cluster, chance), "walreceiver"),
            (_standby(cluster, chance), "repmgrd"),
            (chance.choice(cluster.everyone), "agent"),
            (chance.choice(cluster.pools), "pgpool"),
        ]
    )
    inject.kill(cluster, host, what)
    return f"kill {what} of {host}"


def stopped(cluster: Cluster, chance: random.Random) -> str:
    """SIGSTOP."""
    host, what = chance.choice(
        [
            (_primary(cluster), "postmaster"),
            (_standby(cluster, chance), "walreceiver"),
            (_primary(cluster), "agent"),
            (_standby(cluster, chance), "agent"),
        ]
    )
    inject.stop(cluster, host, what)
    return f"stop {what} of {host}"


def powerless(cluster: Cluster, chance: random.Random) -> str:
    """One host, or all nodes, lose power."""
    hosts = chance.choice([[_primary(cluster)], [_primary(cluster)], [_standby(cluster, chance)], cluster.nodes])
    inject.power_cut(cluster, *hosts)
    if len(hosts) > 1:
        inject.power_on(cluster, *hosts)
    return f"power cut of {', '.join(hosts)}"


def frozen(cluster: Cluster, chance: random.Random) -> str:
    """One host stands still."""
    host = chance.choice(
        [_primary(cluster), _primary(cluster), _standby(cluster, chance), chance.choice(cluster.pools)]
    )
    inject.freeze(cluster, host)
    return f"freeze {host}"


def standing(cluster: Cluster, chance: random.Random) -> str:
    """One node's disk takes no writes; the primary of long ones is replaced."""
    host = chance.choice([_primary(cluster), _standby(cluster, chance)])
    try:
        inject.freeze_disk(cluster, host)
    except Impossible as error:
        return f"nothing: {error}"
    return f"the disk of {host} stands still"


def cut(cluster: Cluster, chance: random.Random) -> str:
    """One host is cut off, from all or some, both ways or one, wholly or at random."""
    host = chance.choice([_primary(cluster), _primary(cluster), _standby(cluster, chance)])
    rest = [name for name in cluster.nodes if name != host]
    kind = chance.choice(["all", "clients stay", "clients and pgpools stay", "nodes in", "nodes out", "one", "loss"])
    if kind == "all":
        inject.isolate(cluster, host)
    elif kind == "clients stay":
        inject.isolate(cluster, host, but=[CLIENT])
    elif kind == "clients and pgpools stay":
        inject.isolate(cluster, host, but=[CLIENT, *cluster.pools])
    elif kind == "one":
        rest = [chance.choice(rest)]
        inject.cut(cluster, [host], rest)
    elif kind == "loss":
        inject.cut(cluster, [host], rest, loss=0.3)
    else:
        inject.cut(cluster, [host], rest, incoming=kind == "nodes in", outgoing=kind == "nodes out")
    return f"cut {host}: {kind}{' ' + rest[0] if kind == 'one' else ''}"


def switchover(cluster: Cluster, chance: random.Random) -> str:
    """A planned one; it may be refused."""
    target = _standby(cluster, chance)
    run = cluster.play("switchover", {"cluster_switchover_to": target})
    why = next(iter(run.failed.values()), "")
    return f"switchover to {target}: exit code {run.rc}{': ' if why else ''}{' '.join(why.split())[:200]}"


FAULTS: Faults = (
    (killed, 3),
    (stopped, 2),
    (powerless, 3),
    (frozen, 2),
    (standing, 1),
    (cut, 4),
    (switchover, 3),
)


def faults_of(cluster: Cluster) -> Faults:
    """What may happen to it where its nodes live, each with its weight."""
    if not in_pods(cluster.described):
        return FAULTS
    from faults.chaos_of_pods import PODS  # it needs the lab's Kubernetes

    return (*FAULTS, *PODS)


def rounds(
    trial: Trial, chance: random.Random, until: float, say: Callable[[str], None], faults: Faults = FAULTS
) -> int:
    """Fault after fault, of *faults*, until the time is over; how many. AssertionError when the end state is not reached."""
    cluster, number = trial.cluster, 0
    while time.monotonic() < until:
        number += 1
        (fault,) = chance.choices([one for one, _weight in faults], [weight for _one, weight in faults])
        length = chance.uniform(2, 30)
        say(f"{number}: {fault(cluster, chance)}, for {length:.0f} s")
        trial.now()
        time.sleep(length)  # the fault's length
        inject.sweep(cluster)
        settled = endstate.gate(cluster, SETTLE)
        trial.until_written(60)
        say(f"{number}: whole {settled:.1f} s after healing, primary {cluster.primary()}")
    return number


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster")
    parser.add_argument("inventory", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="0: choose one")
    given = parser.parse_args()
    seed = given.seed or random.SystemRandom().randrange(1, 10**6)
    cluster = Cluster(given.cluster, given.inventory)
    directory = LAB / cluster.name / "chaos" / str(seed)
    print(f"chaos: seed {seed}, history in {directory}", flush=True)
    inject.sweep(cluster)
    mend(cluster, 60)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"chaos: {time.monotonic() - began:6.0f} s  {line}", flush=True)

    trial, wrong, number = Trial(cluster, directory, writers=4, period=0.1), "", 0
    try:
        with trial:
            number = rounds(trial, random.Random(seed), began + given.minutes * 60, say, faults_of(cluster))
    except (AssertionError, LabError, LookupError) as error:
        wrong = str(error)
        say(f"FAILED: {wrong}")
        collect(cluster, directory, trial.began)
        inject.sweep(cluster)
        mend(cluster, 120)
    found = trial.judge()
    slow = [overlap for overlap in trial.overlaps if overlap.grade == "B" and overlap.seconds > 10]
    print(f"chaos: seed {seed}: {number} faults; {found}; two primaries for clients: {slow or 'never for long'}")
    print(f"chaos: history in {directory}")
    misled = trial.misled()
    print("".join(f"chaos: {one}\n" for one in misled), end="")
    return 1 if wrong or found.problems or slow or misled else 0


if __name__ == "__main__":
    sys.exit(main())
