# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A standby below a standby has reached its upstream a moment ago, for ever: that says nothing of the primary."""

from __future__ import annotations

import pytest
from pgherd.model import Cluster, Node
from pgherd.observe.node_state import NodeState, Survey
from pgherd.promotion.election import Candidacy, decide

UPSTREAMS = {"pg1": "", "pg2": "pg1", "pg3": "pg2", "pg4": "pg1", "pg5": "pg4"}
CLUSTER = Cluster(
    "demo",
    tuple(Node(name, int(name[-1]), "postgres", f"{name}.example", upstream) for name, upstream in UPSTREAMS.items()),
)


def named(name: str, seen: int = -1, **more: object) -> NodeState:
    upstream = f"{UPSTREAMS[name]}.example" if UPSTREAMS[name] else ""
    given = {"receive_lsn": "0/5000000", "upstream": upstream, "upstream_seen_age": seen, **more}
    return NodeState(True, 1, "7", name=name, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ((named("pg2", 9), named("pg3", 0), named("pg4", 9), named("pg5", 0)), ""),
        (
            (named("pg2", 9), named("pg3", 0), named("pg4", 0), named("pg5", 0)),
            "pg4 reached the primary 0 s ago",
        ),
        # It came back as a standby, and repmgrd reaches it: it is no primary.
        ((named("pg1"), named("pg2", 0), named("pg3", 0), named("pg4", 0)), ""),
        # Who pg4 is now, nobody but pg5 knows.
        ((named("pg2", 9), named("pg3", 0), named("pg5", 0)), "pg5 reached the primary 0 s ago"),
    ],
    ids=["the primary is gone", "it is there for pg4", "it is back", "pg4 cannot be asked"],
)
def test_only_who_reaches_the_primary_itself_has_seen_it(states: tuple[NodeState, ...], why: str) -> None:
    verdict = decide(CLUSTER, Candidacy("pg2", "pg1", Survey({one.name: one for one in states})))
    assert (verdict.allowed, why in verdict.why) == (not why, True), verdict
