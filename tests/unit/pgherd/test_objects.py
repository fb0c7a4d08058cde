# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every server must hold, whichever node it is."""

from __future__ import annotations

import pytest
from pgherd.model import MONITOR_ROLE, REPMGR_ROLE, Cluster, Node
from pgherd.nodes.objects import objects
from pgherd.objects.grants import PUBLIC, ObjectState, plan
from pgherd.objects.roles import Draft

CLUSTER = Cluster(
    "demo",
    (Node("pg1", 1, "postgres", "pg1"), Node("w1", 9, "witness", "w1", "pg1", priority=0)),
    durability="async",
)
READ = ("get_upstream_last_seen()", "repmgrd_is_paused()", "repmgrd_is_running()")
EXECUTE = frozenset(["EXECUTE"])


@pytest.mark.parametrize("name", ["pg1", "w1"])
@pytest.mark.parametrize("version", [15, 17])
def test_repmgrs_functions_are_repmgrs_and_the_monitor_only_reads(name: str, version: int) -> None:
    """As the extension leaves them, everybody may call them: who may afterwards?"""
    may = {(PUBLIC, function) for function in ("repmgr.repmgrd_pause(boolean)", *(f"repmgr.{item}" for item in READ))}
    grants = [grant for grant in objects(CLUSTER, name, version).grants if "FUNCTION" in grant.kind]
    found = {}
    for grant in grants:
        names = sorted(item for _role, item in may) if grant.kind.startswith("ALL") else [grant.object]
        ours = [item for item in names if item.startswith("repmgr.")]
        found[grant] = tuple(
            ObjectState(item, "FUNCTION", False, EXECUTE if (grant.role, item) in may else frozenset(), EXECUTE)
            for item in ours
        )
    draft = Draft()
    plan(draft, grants, found)
    statements = [step.args["statement"] for step in draft.steps if "repmgr." in step.args["statement"]]
    pause = [line for line in statements if "repmgrd_pause" in line]
    assert [line.rpartition(" ")[2] for line in pause] == [f'"{REPMGR_ROLE}"', PUBLIC]
    assert pause[1].startswith("REVOKE EXECUTE ON FUNCTION ")
    monitor = [line for line in statements if MONITOR_ROLE in line]
    assert all(f"repmgr.{item}" in monitor[0] for item in READ)
    assert len(monitor) == 1
