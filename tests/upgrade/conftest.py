# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The cluster is of the last release's code, as molecule's converge made it; one run of today's site playbook, with writers.

It comes before all other tests of the session, which are about today's code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks.means import started
from faults.checker.verdict import Verdict
from faults.cluster import CHECKOUT, LAB, Cluster, Run
from faults.records import collect
from faults.trial import Trial

from upgrade import owner


@dataclass(frozen=True)
class Upgrade:
    """What was before and after, and what the writers saw. *taken*: who became superuser; *planted*: in whose databases
    there was a trap for that."""

    began: float  # CLOCK_REALTIME
    run: Run
    verdict: Verdict
    gaps: dict[str, float]  # seconds without an acknowledgement, by way in
    primaries: tuple[str, str]
    timelines: tuple[int, int]
    starts: tuple[str, str]  # of the primary
    planted: list[str]
    taken: list[str]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First of all."""
    items.sort(key=lambda item: item.get_closest_marker("upgrade") is None)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that is upgraded."""
    default = CHECKOUT / "molecule/faults/inventory.yml"
    return Cluster(os.environ.get("LAB_CLUSTER", "faults"), Path(os.environ.get("PGHERD_TEST_INVENTORY", default)))


@pytest.fixture(scope="module")
def upgraded(cluster: Cluster) -> Iterator[Upgrade]:
    """The one run."""
    primary = cluster.primary()
    before = cluster.timeline(primary), started(cluster, primary)
    planted = owner.plant(cluster, primary)
    directory = LAB / cluster.name / "trials/upgrade"
    try:
        with Trial(cluster, directory) as trial:
            trial.now()
            run = cluster.play("site")
            trial.until_written(30)
        verdict = trial.judge()
        now = cluster.primary()
        gaps = {way: round(found.gaps.overall, 2) for way, found in trial.verdicts.items()}
        print(f"\nupgrade in {run.seconds:.0f} s: {verdict}; {gaps}")
        yield Upgrade(
            trial.began,
            run,
            verdict,
            gaps,
            (primary, now),
            (before[0], cluster.timeline(now)),
            (before[1], started(cluster, now)),
            planted,
            owner.superusers(cluster, now),
        )
    finally:
        collect(cluster, directory, time.time() - 600)
        owner.clear(cluster, cluster.primary())
