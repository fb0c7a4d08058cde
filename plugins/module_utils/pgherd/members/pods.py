# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What of a living cluster of pods may not change by their description. Pure.

All pods read a new description within a minute or so, each at its own moment, and there is nobody who would see that one stage
of counting.py is over before the next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Cluster
from .counting import Count


def refused(before: Cluster, wanted: Cluster) -> Iterator[str]:
    """One sentence for each thing that pods which go by *before* cannot be told in one step, by *wanted*."""
    left = [node.name for node in before.nodes if node.name not in {item.name for item in wanted.nodes}]
    if left:
        yield f"{', '.join(left)}: nodes that are pods cannot leave yet; keep them in the inventory."
    if before.durability != wanted.durability:
        yield (
            f"cluster_durability is {before.durability} in this cluster, and pods cannot be told another yet; set it to that "
            "again."
        )
    elif wanted.durability == "strict":
        old, new = Count.of(before), Count.of(wanted)
        if set(old.names) != set(new.names):
            yield (
                f"Electable are {', '.join(old.names)}, and would be {', '.join(new.names)}; pods cannot be told so in stages "
                "yet, so let priority, upstream and location be as they were, and give new nodes priority 0."
            )
        if old.needed != new.needed:
            yield (
                f"cluster_sync_standbys is {old.needed} in this cluster, and pods cannot be told another number yet; set it to "
                "that again."
            )
