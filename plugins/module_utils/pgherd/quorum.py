# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How many nodes must take part in a promotion so that no acknowledged write can be missing. Pure.

A commit is acknowledged once W of the N listed standbys have it. Whoever has stopped R of them from following (sealed
them) with R + W > N knows that no commit is acknowledged any more, and holds every acknowledged one: each set of W
listed standbys has one of the R in it. With 2 R > N any two sets of R have one in common too: two promotions in the place
of one primary exclude each other, and never begin a timeline of the same number side by side.
"""

from __future__ import annotations

from collections.abc import Iterable

from .model import Cluster


def voters(cluster: Cluster, primary: str) -> tuple[str, ...]:
    """The N standbys that can acknowledge commits of *primary*: the listed ones but itself."""
    return tuple(name for name in cluster.electable_names if name != primary)


def acknowledgers(cluster: Cluster) -> int:
    """W: how many standbys must have a commit before it is acknowledged; 0 under async durability."""
    return cluster.sync_standbys if cluster.durability == "strict" and len(cluster.electable) > 1 else 0


def seals_needed(cluster: Cluster, primary: str) -> int:
    """R: how many listed nodes other than *primary* must be sealed before another is promoted ("" where it is not known who
    was: a listed one, by the design; it counts like any other once it runs as a standby, since it has all its commits).

    Under async durability nothing is sealed for the rows' sake: a majority of all nodes must answer (see majority()).
    """
    if not acknowledgers(cluster):
        return 1
    able = len(voters(cluster, primary))
    standbys = able if primary else able - 1
    return max(standbys - acknowledgers(cluster) + 1, able // 2 + 1)


def majority(cluster: Cluster) -> int:
    """More than half of all configured nodes, witnesses included."""
    return len(cluster.nodes) // 2 + 1


def could_promote(cluster: Cluster, me: str, accounted: Iterable[str]) -> tuple[str, ...]:
    """Whether the listed standbys that are not *accounted* for are enough to promote one of them behind the back of *me*,
    the last primary: their names when they are, else ()."""
    if not voters(cluster, me):
        return ()
    known = set(accounted)
    missing = tuple(name for name in voters(cluster, me) if name not in known)
    if not acknowledgers(cluster):
        others = [node.name for node in cluster.nodes if node.name != me and node.name not in known]
        return tuple(others) if len(others) >= majority(cluster) else ()
    return missing if len(missing) >= seals_needed(cluster, me) else ()
