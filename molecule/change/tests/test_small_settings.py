# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Settings that need a restart, and lines that PostgreSQL cannot take, on the cluster that test_small.py makes.

One story: each test goes on where the one before it ended.
"""

from __future__ import annotations

import copy
import re

import pytest
from living import UNIT, Living, Node

pytestmark = pytest.mark.more
WRITTEN = "SELECT extract(epoch FROM (pg_stat_file(current_setting('config_file'))).modification)::float8"


def settings(running: Living) -> dict[str, object]:
    return running.variables.setdefault("cluster_postgres_settings", {})


def restarted(before: dict[str, Node], after: dict[str, Node]) -> list[str]:
    """Nodes with another postmaster than before, in the order of their starts."""
    found = [name for name, node in after.items() if node.started != before[name].started]
    return sorted(found, key=lambda name: after[name].started)


def one_at_a_time(running: Living, order: list[str], after: dict[str, Node]) -> None:
    """Each streamed again before the next one of *order* was started."""
    streamed = running.streamed(order)
    for earlier, later in zip(order, order[1:]):
        assert streamed[earlier] < after[later].started, f"{later} was restarted before {earlier} streamed again"


def pending(running: Living) -> dict[str, list[str]]:
    names = "SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart"
    return running.everywhere(names)


def test_a_restart_takes_the_standbys_one_at_a_time_and_leaves_the_primary(running: Living) -> None:
    before, primary = running.look(), running.primary()
    standbys = [name for name in running.nodes if name != primary]
    settings(running)["max_locks_per_transaction"] = 80
    run = running.site()
    assert run.rc == 0, run
    after = running.look()
    order = restarted(before, after)
    assert sorted(order) == standbys
    assert not after[primary].standby
    one_at_a_time(running, order, after)
    assert running.show("max_locks_per_transaction") == {**dict.fromkeys(standbys, "80"), primary: "64"}
    assert pending(running) == {
        name: ["max_locks_per_transaction"] if name == primary else [] for name in running.nodes
    }
    assert f"{primary} still waits for a restart" in run.told(primary)
    assert "64 -> 80" in run.told(primary)


def test_the_primary_is_restarted_where_that_is_allowed(running: Living) -> None:
    before, primary = running.look(), running.primary()
    run = running.site(extra={"cluster_restart_primary": True})
    assert run.rc == 0, run
    after = running.look()
    assert restarted(before, after) == [primary]
    assert running.primary() == primary
    assert set(running.show("max_locks_per_transaction").values()) == {"80"}
    assert not any(pending(running).values())


def test_a_lowered_limit_waits_for_the_primary(running: Living) -> None:
    """Lowered by taking its line out: PostgreSQL names no line then."""
    before, primary = running.look(), running.primary()
    standby = next(name for name in running.nodes if name != primary)
    del settings(running)["max_locks_per_transaction"]
    run = running.site()
    assert run.rc == 0, run
    assert running.look() == before
    assert f"{primary} still waits for a restart" in run.told(primary)
    assert "80 -> 64" in run.told(primary)
    # Whoever restarts a standby now, or cuts its power, finds one that starts: its file has not less than the primary.
    running.execute(standby, "systemctl", "restart", UNIT)
    running.until_streaming(*(name for name in running.nodes if name != primary))
    assert set(running.show("max_locks_per_transaction").values()) == {"80"}


def test_a_lowered_limit_takes_the_primary_first(running: Living) -> None:
    before, primary = running.look(), running.primary()
    run = running.site(extra={"cluster_restart_primary": True})
    assert run.rc == 0, run
    after = running.look()
    order = restarted(before, after)
    assert order[0] == primary
    assert sorted(order) == sorted(running.nodes)
    one_at_a_time(running, order[1:], after)
    assert set(running.show("max_locks_per_transaction").values()) == {"64"}
    assert not any(pending(running).values())


def test_a_broken_line_ends_the_run_and_leaves_the_old_configuration_in_force(running: Living) -> None:
    before = running.look()
    cases = [
        ("shared_preload_libraries", ["auto_explain", "no_such_library"], 'could not access file "no_such_library"'),
        ("max_connections", "many", r'postgresql\.conf"? line \d+: .* parameter "max_connections"'),
        ("wrok_mem", "8MB", r'parameter "wrok_mem" in file "/etc/\S*/postgresql\.conf" line \d+'),
    ]
    broken = dict(zip(running.nodes, cases))
    written = running.everywhere(WRITTEN)
    inventory = copy.deepcopy(running.inventory)
    for name, (setting, value, _said) in broken.items():
        running.group("postgres")[name]["cluster_postgres_settings"] = {**settings(running), setting: value}
    running.variables["cluster_hba"] = ["hostssl app app 10.0.0.0/8 scram-sha-265"]
    run = running.site()
    running.inventory = inventory
    assert run.rc == 2, run
    for name, (_setting, _value, said) in broken.items():
        assert re.search(said, run.failed[name]), run
        assert re.search(r"pg_hba.conf line \d+: ", run.failed[name]), run
    assert running.look() == before
    # So are the files on disk, which nobody has touched: a server that crashes now comes back.
    assert running.everywhere(WRITTEN) == written
    wrong = (
        "SELECT (SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL)"
        " + (SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL)"
    )
    assert set(running.everywhere(wrong).values()) == {0}
    run = running.site()
    assert run.rc == 0, run
    # Nothing was written, so nothing of PostgreSQL changes back.
    assert not [line for name in running.nodes for line in run.what_changed(name) if "/etc/postgresql" in line], run
    assert running.look() == before
