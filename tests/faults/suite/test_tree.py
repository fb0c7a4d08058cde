# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What only a tree of five shows: nodes in the middle, and branches."""

from __future__ import annotations

import pytest

from faults import inject
from faults.cluster import Cluster, until
from faults.suite.conftest import Breaking
from faults.suite.steps import fails_over, others, stays

pytestmark = pytest.mark.tree
fault = pytest.mark.fault


HOME = 120.0  # seconds: one minute until a leaf goes back to its upstream by design, and what a busy machine takes


def middle_and_leaf(cluster: Cluster) -> tuple[str, str]:
    """A standby that others follow, and one of those. After the fault before, a leaf may not have gone back yet."""
    primary = cluster.primary()

    def found() -> tuple[str, str] | None:
        pairs = ((node, leaf) for node in others(cluster, primary) for leaf in others(cluster, primary, node))
        return next(((node, leaf) for node, leaf in pairs if upstream(cluster, leaf) == node), None)

    pair = until("a standby to follow a standby", found, HOME, 2)
    assert pair
    return pair


def upstream(cluster: Cluster, node: str) -> str:
    """Whom a node streams from, '' if nobody."""
    rows = cluster.rows(node, "SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'")
    host = rows[0]["sender_host"] if rows else ""
    return host if host in cluster.nodes else cluster.name_of(host)


@fault("C78", "a node in the middle loses power (A13)")
def test_a_leaf_finds_another_upstream_and_goes_back(breaking: Breaking, cluster: Cluster) -> None:
    middle, leaf = middle_and_leaf(cluster)
    with breaking() as trial:
        trial.now()
        inject.power_cut(cluster, middle)
        until(f"{leaf} to stream from another", lambda: upstream(cluster, leaf) not in ("", middle), 60)
        stays(trial, 5, *others(cluster, middle))
        inject.power_on(cluster, middle)
        until(f"{leaf} to stream from {middle} again", lambda: upstream(cluster, leaf) == middle, HOME, 2)


@fault("C78", "the primary and the middle of a branch lose power")
def test_a_branch_without_its_middle_follows_the_new_primary(breaking: Breaking, cluster: Cluster) -> None:
    middle, leaf = middle_and_leaf(cluster)
    with breaking() as trial:
        old = trial.first_primary
        trial.now()
        inject.power_cut(cluster, old)
        new = fails_over(trial, old)
        until(f"{leaf} to stream", lambda: upstream(cluster, leaf) not in ("", old), 60)
        if middle != new:
            inject.power_cut(cluster, middle)
            until(f"{leaf} to stream from another", lambda: upstream(cluster, leaf) not in ("", middle), 60)
            inject.power_on(cluster, middle)
        inject.power_on(cluster, old)


@fault("F09", "the primary and one branch on one side, the rest on the other")
def test_a_split_in_two_has_one_side_that_writes(breaking: Breaking, cluster: Cluster) -> None:
    middle, leaf = middle_and_leaf(cluster)
    with breaking() as trial:
        old = trial.first_primary
        left = [old, middle, leaf]
        trial.now()
        for host in others(cluster, *left):
            inject.cut(cluster, [host], left)
        # W = 1 of the two listed standbys is on the primary's side: it goes on, and nobody else may.
        stays(trial, 25)
        trial.until_written(10)
