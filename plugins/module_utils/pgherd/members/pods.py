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


def unapplied(before: Cluster | None, whole: Cluster, leaving: str) -> str:
    """Why *leaving* cannot be taken out of pods that go by *before*, None where nobody knows, while *whole* is the inventory with
    that node; '' where it can. The first stage without it counts as the inventory does, and nobody has seen that those who are
    counted by that hold all that those of before have confirmed."""
    first = "run the site playbook first, with the node in the inventory"
    if before is None:
        return f"{leaving}: there is no ConfigMap that says by which description the pods go: {first}."
    counted, wanted = set(before.electable_names), set(whole.electable_names)
    if counted - {leaving} != wanted - {leaving}:
        return (
            f"{leaving}: the pods count {', '.join(sorted(counted))} as electable, and the inventory says "
            f"{', '.join(sorted(wanted))}: {first}."
        )
    if (before.durability, before.sync_standbys) != (whole.durability, whole.sync_standbys):
        return (
            f"{leaving}: the pods go by cluster_durability {before.durability} and cluster_sync_standbys {before.sync_standbys}, "
            f"and the inventory says {whole.durability} and {whole.sync_standbys}: {first}."
        )
    return ""


def told(wanted: Cluster, before: Cluster | None, at: dict[str, Any] | None = None) -> Cluster:
    """What the pods of *wanted* are told: in the stage *at*, a Stage as plain data, else what living() has where they go by
    *before*, and all of it where there are none."""
    if at:
        return staged(wanted, at)
    return living(before, wanted) if before else wanted
