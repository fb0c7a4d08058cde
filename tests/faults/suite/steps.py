# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What tests of faults say again and again."""

from __future__ import annotations

from faults.cluster import Cluster, until
from faults.trial import Trial

FAILOVER = 90.0  # seconds within which a failover that must come has come


def others(cluster: Cluster, *but: str) -> list[str]:
    """The data nodes except some."""
    return [node for node in cluster.nodes if node not in but]


def new_primary(trial: Trial, *gone: str, seconds: float = FAILOVER) -> str:
    """Wait until the nodes that are not *gone* have one primary, on a newer timeline; its name."""
    rest = others(trial.cluster, *gone)

    def promoted() -> str:
        name = trial.cluster.primary(rest)
        return name if trial.cluster.timeline(name) > trial.first_timeline else ""

    return until(f"one of {', '.join(rest)} to be promoted", promoted, seconds)


def fails_over(trial: Trial, *gone: str, seconds: float = FAILOVER) -> str:
    """The same, and every way in is writing again on the new timeline."""
    name = new_primary(trial, *gone, seconds=seconds)
    trial.until_written(seconds, timeline=trial.first_timeline + 1)
    return name


def stays(trial: Trial, seconds: float, *asked: str) -> None:
    """For a time nobody is promoted, and the first primary stays primary."""
    trial.hold(seconds, lambda: same(trial, *asked), f"{trial.first_primary} stays the only primary")


def same(trial: Trial, *asked: str) -> bool:
    """Whether the primary is the first one, on its first timeline. *asked*: the nodes to ask, otherwise all."""
    found = trial.cluster.primaries(asked)
    return found == [trial.first_primary] and trial.cluster.timeline(trial.first_primary) == trial.first_timeline


def nobody(trial: Trial, seconds: float, *asked: str) -> None:
    """For a time none of *asked* is promoted."""
    trial.hold(seconds, lambda: not trial.cluster.primaries(asked), f"none of {', '.join(asked)} is promoted")
