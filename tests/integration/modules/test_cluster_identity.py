# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module cluster_identity on a primary: what is there is left, what is missing is made, and the agents may use it."""

from __future__ import annotations

from driving import Host, check

TASK = {"pgherd.cluster.cluster_identity": {}}
PARTS = "SELECT to_regclass('pgherd.member') IS NOT NULL AS member, (SELECT count(*)::int FROM pgherd.cluster) AS rows"


def test_it_is_made_once(primary: Host) -> None:
    foretold, real = primary.play(check(TASK), TASK)
    assert (foretold["changed"], real["changed"]) == (False, False), (foretold, real)
    assert primary.read(PARTS, "repmgr") == [{"member": True, "rows": 1}]
    assert all(real["before"].values())


def test_each_electable_node_is_admitted(primary: Host) -> None:
    rows = primary.read("SELECT node, incarnation FROM pgherd.member", "repmgr")
    assert primary.name in [row["node"] for row in rows]
    assert len({row["incarnation"] for row in rows}) == len(rows)
