# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What pods that live may be told by their description, which is one for all of them, and which each reads at its own moment.

So who is counted and who is named stays as it is when all else changes, and changes afterwards by the stages of counting.py: one
description each, and none before all agents say that they go by the one before. Whoever runs that next begins where the
description is. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..model import Cluster
from .counting import Count, Stage, staged


def living(before: Cluster, wanted: Cluster) -> Cluster:
    """What pods that go by *before* may be told at once of *wanted*: all but who is counted and who is named. Raises Conflict
    where refused() has a word to say."""
    if "strict" not in (before.durability, wanted.durability):
        return wanted
    return staged(wanted, stage(before).to_dict())


def stage(cluster: Cluster) -> Stage:
    """The stage that pods are in which go by *cluster*."""
    counted = Count.of(cluster)
    return Stage(counted, counted if cluster.named is None else Count(cluster.named, cluster.named_needed))


def refused(before: Cluster, wanted: Cluster) -> Iterator[str]:
    """One sentence for each thing that pods which go by *before* cannot be told, by *wanted*."""
    left = [node.name for node in before.nodes if node.name not in {item.name for item in wanted.nodes}]
    if left:
        names = ", ".join(left)
        yield (
            f"{names}: in this cluster, and not in the inventory: put it back as it was, and take it out by "
            f"ansible-playbook pgherd.cluster.remove -e cluster_remove={left[0]}."
        )
    if before.durability != wanted.durability:
        yield (
            f"cluster_durability is {before.durability} in this cluster, and pods cannot be told another yet; set it to that "
            "again."
        )


def told(wanted: Cluster, before: Cluster | None, at: dict[str, Any] | None = None) -> Cluster:
    """What the pods of *wanted* are told: in the stage *at*, a Stage as plain data, else what living() has where they go by
    *before*, and all of it where there are none."""
    if at:
        return staged(wanted, at)
    return living(before, wanted) if before else wanted
