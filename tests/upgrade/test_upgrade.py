# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One run of today's site playbook brings a cluster of the last release's code to today's state, while clients write."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from faults import endstate
from faults.cluster import CHECKOUT, Cluster, until

from upgrade.conftest import Upgrade

pytestmark = pytest.mark.upgrade
GAP = {"nodes": 5.0, "pgpool": 20.0}  # seconds; pgpool is restarted, and a busy machine takes its time
CORE = CHECKOUT / "plugins/module_utils/pgherd"


def test_run_ends_well(upgraded: Upgrade) -> None:
    """On every host, and there was something to do."""
    assert upgraded.run.rc == 0, upgraded.run
    assert upgraded.run.changed


def test_nothing_is_lost(upgraded: Upgrade) -> None:
    """No acknowledged row, and writes stop for no longer than pgpool takes to start."""
    assert upgraded.verdict.problems == []
    assert {way: gap for way, gap in upgraded.gaps.items() if gap > GAP[way]} == {}


def test_primary_is_left_alone(upgraded: Upgrade) -> None:
    """It is the same one on the same timeline, and was not restarted."""
    for before, after in (upgraded.primaries, upgraded.timelines, upgraded.starts):
        assert before == after


def test_no_owner_of_a_database_became_superuser(upgraded: Upgrade) -> None:
    """Though his code stood in the way of every question that a superuser asks in his database."""
    assert "tenant" in upgraded.planted
    assert upgraded.taken == []


def test_every_host_runs_todays_code(cluster: Cluster, upgraded: Upgrade) -> None:
    """What lies in the library is this checkout, and each agent was started after it came there."""
    wanted = _digests(CORE)
    for host in cluster.everyone:
        said = cluster.sh(host, "cd /usr/lib/pgherd/pgherd && find . -name '*.py' -exec sha256sum {} +")
        found = {path.removeprefix("./"): digest for digest, path in (line.split() for line in said.splitlines())}
        assert found == wanted, host
        shown = cluster.place.main_process(host, "agent")
        age = float(cluster.run(host, "ps", "-o", "etimes=", "-p", str(shown)))
        changed = float(cluster.sh(host, "find /usr/lib/pgherd -name '*.py' -printf '%T@\\n' | sort -n | tail -n 1"))
        assert time.time() - age >= changed - 1, f"{host}: the agent is older than its code"


def _digests(core: Path) -> dict[str, str]:
    return {
        str(path.relative_to(core)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in core.rglob("*.py")
        if path.is_file()
    }


def test_primary_waits_for_a_word_before_it_restarts(cluster: Cluster, upgraded: Upgrade) -> None:
    """All that is not as it should be is a setting which its server reads at its start; it is told, and a switchover is enough
    for it."""
    (waits,) = until("a look without surprises", lambda: _only(cluster, "pending-restart"), 150)
    assert waits["node"] == upgraded.primaries[0]
    run = cluster.play("switchover")
    assert run.rc == 0, run
    endstate.gate(cluster)


def _only(cluster: Cluster, problem: str) -> list[dict[str, Any]]:
    found = endstate.status(cluster, cluster.primary())["problems"]
    return found if [one["id"] for one in found] == [problem] else []


def test_a_second_run_changes_nothing(cluster: Cluster, upgraded: Upgrade) -> None:
    """Nothing was left for later, and all is well."""
    endstate.gate(cluster)
    again = cluster.play("site")
    assert (again.rc, again.changed) == (0, {}), again
    assert f"primary {cluster.primary()}" in again.last_line, again
    endstate.gate(cluster)
