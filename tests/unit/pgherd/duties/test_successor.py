# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""F26: a primary whose disk stands still goes only where others could take its place."""

from __future__ import annotations

from typing import Any

import pytest
from pgherd.duties.successor import hindrance
from pgherd.errors import Unreachable
from pgherd.ports.links import Links
from scripted import ScriptedServer
from states import cluster
from test_seal import row

FIVE = cluster(5, sync_standbys=2)
FOLLOWS = row(has_upstream=True, pointed_at="pg1")
WRITES = ("ALTER SYSTEM RESET default_transaction_read_only", [])
STANDS = (WRITES[0], Unreachable("no answer in time"))


@pytest.mark.parametrize(
    ("what", "nodes", "said"),
    [
        ("all can write", {2: [WRITES], 3: [WRITES], 4: [WRITES], 5: [WRITES]}, ""),
        ("enough can", {2: [WRITES], 3: [STANDS], 4: [WRITES], 5: [WRITES]}, ""),
        (
            "their disks stand too",
            {2: [STANDS], 3: [STANDS], 4: [WRITES], 5: [WRITES]},
            "found 2 (pg4, pg5); pg2: Unreachable: no answer",
        ),
        ("some are gone", {4: [WRITES], 5: [WRITES]}, "3 standbys that can write are needed, found 2 (pg4, pg5)"),
    ],
)
def test_who_could_take_its_place(what: str, nodes: dict[int, Any], said: str) -> None:
    def open_(name: str) -> Any:
        if int(name[2:]) not in nodes:
            raise Unreachable(f"{name} is gone")
        return ScriptedServer(name, [("AS in_recovery", [FOLLOWS]), *nodes[int(name[2:])]])

    found = hindrance(FIVE, "pg1", Links(open_, lambda: None))
    assert bool(found) == bool(said), what
    assert said in found


def test_one_that_was_promoted_and_one_in_a_promotion_do_not_count() -> None:
    answers = {"pg2": row(in_recovery=False), "pg3": row(has_upstream=True, locked=1)}
    links = Links(lambda name: ScriptedServer(name, [("AS in_recovery", [answers[name]])]), lambda: None)
    assert hindrance(cluster(3), "pg1", links).endswith("found none")
