# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pods are killed at random, one after another."""

from __future__ import annotations

import os
import random
import time

import pytest

from faults import chaos
from faults.cluster import Cluster
from faults.suite.conftest import Breaking

pytestmark = [pytest.mark.pods, pytest.mark.timeout(3600)]
MINUTES = float(os.environ.get("MINUTES") or 10)
SEED = int(os.environ.get("SEED") or 0) or random.SystemRandom().randrange(1, 10**6)


@pytest.mark.fault("C41", "random pods are killed for ten minutes")
def test_random_kills_of_pods(breaking: Breaking, cluster: Cluster) -> None:
    from faults.chaos_of_pods import KILLS  # it needs the lab's Kubernetes

    print(f"seed {SEED}")
    with breaking(settle=300, writers=4, period=0.1) as trial:
        trial.now()
        assert chaos.rounds(trial, random.Random(SEED), time.monotonic() + MINUTES * 60, print, KILLS)
