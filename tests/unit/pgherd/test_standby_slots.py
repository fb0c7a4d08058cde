# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which slots of ours are left over, and which a node is about to need."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.failover.slots import decide
from pgherd.failover.voice import Round, Voice
from pgherd.model import Cluster, Node

CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1"),
        Node("pg2", 2, "postgres", "pg2", "pg1"),
        Node("pg3", 3, "postgres", "pg3", "pg1"),
    ),
)
PRIMARY = Voice(
    "pg1",
    False,
    1,
    "7",
    "0/5000000",
    slots={"repmgr_slot_2": ("0/5000000", True), "repmgr_slot_3": ("0/5000000", True)},
)
STANDBY = Voice("pg2", True, 1, "7", upstream="pg1", receiver="streaming")


def drops(slots: dict[str, tuple[str, bool]], current: bool = True) -> list[str]:
    mine = replace(PRIMARY, slots={**PRIMARY.slots, **slots})
    round_ = Round({"pg1": mine, "pg2": STANDBY, "pg3": replace(STANDBY, name="pg3")})
    changes = decide(CLUSTER, "pg1", "pg1", round_, ("barman",), current)
    return [change.name for change in changes if change.action == "drop"]


@pytest.mark.parametrize(
    ("slots", "current", "dropped"),
    [
        ({"repmgr_slot_9": ("0/4000000", False)}, True, ["repmgr_slot_9"]),
        # A host is being added: the agent has not been told yet, and the clone has made its slot.
        ({"repmgr_slot_9": ("0/4000000", False)}, False, []),
        ({"repmgr_slot_9": ("0/4000000", True)}, True, []),
        ({"repmgr_slot_1": ("0/4000000", False)}, False, ["repmgr_slot_1"]),
        ({"theirs": ("0/4000000", False)}, True, []),
    ],
    ids=["of nobody", "of a node to come", "in use", "its own", "a foreign one"],
)
def test_left_over(slots: dict[str, tuple[str, bool]], current: bool, dropped: list[str]) -> None:
    assert drops(slots, current) == dropped
