# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A changed variable changes what it says, where it says so, and nothing else."""

from __future__ import annotations

import pytest
from living import Living
from playbook import Run

pytestmark = pytest.mark.more
PREFIX = '%m [%p] it\'s "%a", 10:00% '


@pytest.fixture(scope="module")
def parts(tree: Living) -> dict[str, str]:
    """Who gets which change. The node is a standby that hangs on a standby."""
    reload, restart = list(tree.group("pgpool"))[:2]
    upstreams = {name: host.get("upstream") for name, host in tree.group("postgres").items()}
    leaf = next(name for name, upstream in upstreams.items() if upstreams.get(upstream))
    return {"reload": reload, "restart": restart, "node": leaf}


def test_one_run_takes_each_change_where_it_belongs(tree: Living, parts: dict[str, str]) -> None:
    reload, restart, node = parts["reload"], parts["restart"], parts["node"]
    before, records = tree.look(), tree.records()
    daemons = {name: tree.main_pid(name, "repmgrd.service") for name in tree.nodes}
    pools = {name: tree.main_pid(name, "pgpool2.service") for name in tree.group("pgpool")}
    agents = tree.agents()
    tree.variables["cluster_agent_clients"] = ["192.0.2.7"]
    tree.variables["cluster_postgres_settings"].update(log_min_duration_statement="1234ms", log_line_prefix=PREFIX)
    common = tree.variables.get("cluster_pgpool_settings", {})
    tree.group("pgpool")[reload]["cluster_pgpool_settings"] = {**common, "client_idle_limit": 1234}
    tree.group("pgpool")[restart]["cluster_pgpool_settings"] = {**common, "listen_backlog_multiplier": 3}
    tree.group("postgres")[node].update(priority=42, location="elsewhere")

    run = tree.site()
    assert run.rc == 0, run

    # PostgreSQL: reloaded on every node, with commas, colons and quotes as they are; no server is another one.
    assert set(tree.show("log_min_duration_statement").values()) == {"1234ms"}
    assert set(tree.show("log_line_prefix").values()) == {PREFIX}
    assert tree.look() == before

    # Pgpool-II: one is reloaded, the other one has to be restarted.
    after = {name: tree.main_pid(name, "pgpool2.service") for name in pools}
    assert [name for name in pools if after[name] != pools[name]] == [restart]
    assert tree.pgpool_value(reload, "client_idle_limit") == "1234s"
    assert tree.pgpool_value(restart, "listen_backlog_multiplier") == "3"
    assert tree.pgpool_value(restart, "client_idle_limit") != "1234s"

    # repmgr: that node's record and daemon, and no other.
    assert tree.records() == {**records, node: {**records[node], "priority": 42, "location": "elsewhere"}}
    changed = {name for name, pid in daemons.items() if tree.main_pid(name, "repmgrd.service") != pid}
    assert changed == {node}

    # All agents go by the new description, and are the processes that they were.
    assert tree.agents() == agents
    for name in agents:
        said, there = tree.goes_by(name)
        assert said == there, name
    only_that_changed(tree, run, parts)


def only_that_changed(tree: Living, run: Run, parts: dict[str, str]) -> None:
    """By what the tasks say: a file more than needed would not be seen above."""
    common = ["write /etc/pgherd/cluster.json"]
    node = [*common, "write /etc/postgresql/17/main/postgresql.conf"]
    for name in tree.nodes:
        expected = [*node, f"make {name} read its configuration"]
        found = run.what_changed(name)
        assert found[: len(expected)] == expected
        assert not any("pgherd-agent" in step for step in found), found
        assert name == parts["node"] or len(found) == len(expected), found
    for name in tree.group("witness"):
        assert run.what_changed(name)[0] == common[0]
    for name in tree.group("barman"):
        assert run.changed.get(name, 0) <= 2, run.what_changed(name)
