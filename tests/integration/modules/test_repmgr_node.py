# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module repmgr_node on a standby that nobody follows, and its refusals on all. Every test leaves the tree as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from driving import Host, Task, check, contract, play, psql, rows, sql

pytestmark = pytest.mark.slow

REPMGR = "repmgr"
RECORD = (
    "SELECT type, active, upstream_node_id AS upstream, priority, slot_name IS NOT NULL AS slot"
    " FROM repmgr.nodes WHERE node_name = '{}'"
)
FOLLOWERS = "SELECT application_name AS name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"


@dataclass(frozen=True)
class Herd:
    """*model* is the cluster's, as its hosts have it; *leaf* is the standby that the tests play with."""

    model: dict[str, Any]
    version: int
    primary: Host
    leaf: Host

    def node(self, name: str, **options: Any) -> Task:
        """A task with the module for the node called *name*."""
        given = {"cluster": self.model, "node": name, "postgres_version": self.version, "timeout": 60}
        return {"pgherd.cluster.repmgr_node": {**given, **options}}

    def mine(self, **options: Any) -> Task:
        """The same for the leaf."""
        return self.node(self.leaf.name, **options)

    def id(self, name: str) -> int:
        """repmgr's number of a node."""
        return next(int(node["id"]) for node in self.model["nodes"] if node["name"] == name)

    def record(self, name: str) -> list[dict[str, Any]]:
        """What the primary has registered of a node."""
        return self.primary.read(RECORD.format(name), REPMGR)

    def streams_from(self, host: Host) -> bool:
        """Whether the leaf streams from *host*."""
        return {"name": self.leaf.name} in host.read(FOLLOWERS)

    @property
    def unit(self) -> str:
        """PostgreSQL's."""
        return f"postgresql@{self.version}-main"

    @property
    def directory(self) -> str:
        """The data directory."""
        return str(self.model["options"].get("data_directory") or f"/var/lib/postgresql/{self.version}/main")


def command(*argv: str) -> Task:
    return {"ansible.builtin.command": {"argv": list(argv)}}


def service(unit: str, state: str) -> Task:
    return {"ansible.builtin.systemd_service": {"name": unit, "state": state}}


@pytest.fixture(scope="module")
def herd(hosts: list[tuple[Host, bool]], primary: Host) -> Herd:
    model = json.loads(primary.play(command("cat", "/etc/pgherd/cluster.json"))[0]["stdout"])
    followed = {row["id"] for row in primary.read("SELECT DISTINCT upstream_node_id AS id FROM repmgr.nodes", REPMGR)}
    ids = {node["name"]: node["id"] for node in model["nodes"]}
    leaf = [host for host, is_primary in hosts if not is_primary and ids[host.name] not in followed][-1]
    return Herd(model, primary.version, primary, leaf)


@pytest.fixture(autouse=True)
def _as_it_was(herd: Herd) -> Iterator[None]:
    """repmgrd of the leaf stays out of it; in the end the leaf is where it was, and repmgrd runs."""
    (was,) = herd.record(herd.leaf.name)
    (upstream,) = (node["name"] for node in herd.model["nodes"] if node["id"] == was["upstream"])
    herd.leaf.play(service("repmgrd", "stopped"))
    yield
    results = herd.leaf.play(herd.mine(state="standby", upstream=upstream), service("repmgrd", "started"))
    assert not [result for result in results if result.get("failed")], results
    assert herd.record(herd.leaf.name) == [was]


def test_right_nodes_need_nothing(herd: Herd) -> None:
    for node in herd.model["nodes"]:
        foretold, real = replace(herd.primary, name=node["name"]).play(
            check(herd.node(node["name"])), herd.node(node["name"])
        )
        assert (foretold["changed"], real["changed"], real["steps"], real["left_alone"]) == (False, False, [], "")


def test_registers(herd: Herd) -> None:
    """A record that is missing, one with other attributes, and one that calls a living node inactive."""
    name, (was,) = herd.leaf.name, herd.record(herd.leaf.name)
    effect = RECORD.format(name)
    herd.primary.play(sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{name}'", REPMGR))
    made = contract(herd.leaf, herd.mine(), effect, [], [was], REPMGR)
    assert len(made["steps"]) == 1
    wrong = {**was, "priority": 1, "active": False}
    herd.primary.play(sql(f"UPDATE repmgr.nodes SET priority = 1, active = false WHERE node_name = '{name}'", REPMGR))
    changed = contract(herd.leaf, herd.mine(), effect, [wrong], [was], REPMGR)
    assert changed["before"]["record"]["priority"] == 1
    assert changed["after"]["record"]["priority"] == was["priority"]


def test_follows_another_upstream(herd: Herd, hosts: list[tuple[Host, bool]]) -> None:
    """There and back, without a restart."""
    (was,) = herd.record(herd.leaf.name)
    others = [
        host for host, _is_primary in hosts if host.name != herd.leaf.name and herd.id(host.name) != was["upstream"]
    ]
    if not others:
        pytest.skip("these hosts have no other upstream")
    started = herd.leaf.read("SELECT pg_postmaster_start_time()::text AS at")
    target, effect = others[0], RECORD.format(herd.leaf.name)
    moved = {**was, "upstream": herd.id(target.name)}
    contract(herd.leaf, herd.mine(state="standby", upstream=target.name), effect, [was], [moved], REPMGR)
    assert herd.streams_from(target)
    # As a member it stays where it is, whatever the inventory says.
    (result,) = herd.leaf.play(herd.mine())
    assert not result["changed"]
    assert herd.leaf.read("SELECT pg_postmaster_start_time()::text AS at") == started


def test_streams_by_what_the_model_says(herd: Herd) -> None:
    """A primary_conninfo that was changed by hand."""
    effect = "SELECT current_setting('primary_conninfo') LIKE '%connect_timeout=2 %' AS right"
    (found,) = herd.leaf.read("SELECT current_setting('primary_conninfo') AS conninfo")
    spoiled = found["conninfo"].replace("connect_timeout=2", "connect_timeout=3").replace("'", "''")
    herd.leaf.play(sql(f"ALTER SYSTEM SET primary_conninfo = '{spoiled}'"), sql("SELECT pg_reload_conf()"))
    contract(herd.leaf, herd.mine(), effect, [{"right": False}], [{"right": True}])


def test_absent_and_back(herd: Herd) -> None:
    name, (was,) = herd.leaf.name, herd.record(herd.leaf.name)
    absent = herd.mine(state="absent")
    foretold, real, again = herd.leaf.play(check(absent), absent, absent)
    assert (foretold["changed"], real["changed"], again["changed"]) == (True, True, False), (foretold, real, again)
    assert foretold["steps"] == real["steps"]
    assert herd.record(name) == []
    slots = "SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_{}'"
    for node in herd.model["nodes"]:
        if node["kind"] == "postgres" and node["name"] != name:
            assert replace(herd.primary, name=node["name"]).read(slots.format(herd.id(name))) == []
    active = {**command("systemctl", "is-active", herd.unit), "ignore_errors": True}
    assert herd.leaf.play(active)[0]["stdout"] in ("inactive", "failed")
    back = herd.mine(state="standby")
    foretold, real, again = herd.leaf.play(check(back), back, back)
    assert (foretold["changed"], real["changed"], again["changed"]) == (True, True, False), (foretold, real, again)
    assert herd.record(name) == [was]


def test_clones_an_empty_node_and_an_unfinished_clone(herd: Herd) -> None:
    """Whole or not at all: what an interrupted clone left cannot be started, and is made anew."""
    task, mark = herd.mine(), f"{herd.directory}/.pgherd-clone"
    empty = command("find", herd.directory, "-mindepth", "1", "-delete")
    wal = herd.model["options"].get("wal_directory")
    also = [command("find", wal, "-mindepth", "1", "-delete")] if wal else []
    herd.leaf.play(service(herd.unit, "stopped"), empty, *also)
    foretold, real, again = herd.leaf.play(check(task), task, task)
    assert (foretold["changed"], real["changed"], again["changed"]) == (True, True, False), (foretold, real, again)
    assert foretold["steps"] == real["steps"]
    assert real["steps"][0].startswith(f"clone {herd.leaf.name} from ")
    # As if the power had gone between the base backup and the last move.
    herd.leaf.play(
        service(herd.unit, "stopped"),
        command("mkdir", mark),
        command("mv", f"{herd.directory}/PG_VERSION", mark),
        command("rm", f"{herd.directory}/standby.signal"),
    )
    (start,) = herd.leaf.refusals(service(herd.unit, "started"))
    assert "start" in start
    real, again = herd.leaf.play(task, task)
    assert (real["changed"], again["changed"]) == (True, False), (real, again)
    assert herd.leaf.play(command("ls", "-A", herd.directory))[0]["stdout"].count(".pgherd-clone") == 0
    assert rows(herd.leaf.play(psql("SELECT pg_is_in_recovery() AS standby"))[0]) == [{"standby": True}]


def test_never_clones_over_what_it_may_not(herd: Herd) -> None:
    """Another cluster in the data directory, and a former primary."""
    identifier = "SELECT system_identifier::text AS id FROM pg_control_system()"
    (ours,) = herd.leaf.read(identifier)
    aside = herd.directory + ".aside"
    initdb = f"/usr/lib/postgresql/{herd.version}/bin/initdb"
    strange = [
        service(herd.unit, "stopped"),
        command("mv", herd.directory, aside),
        command("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", herd.directory),
        {**command(initdb, "-D", herd.directory, "-A", "peer"), "become": True, "become_user": "postgres"},
    ]
    try:
        results = herd.leaf.play(*strange)
        assert not results[-1].get("failed"), results[-1]
        (message,) = herd.leaf.refusals(herd.mine())
        assert "cluster_wipe" in message
        assert ours["id"] in message
        # Neither is touched: not even by the forecast of what wipe would do.
        (foretold,) = herd.leaf.play(check(herd.mine(wipe=True)))
        assert "over what is in its data directory" in foretold["steps"][0]
        assert "pg_control" in herd.leaf.play(command("ls", f"{herd.directory}/global"))[0]["stdout"]
    finally:
        herd.leaf.play(command("rm", "-rf", herd.directory), command("mv", aside, herd.directory))
    herd.leaf.play(command("rm", f"{herd.directory}/standby.signal"))
    (left,) = herd.leaf.play(herd.mine())
    assert (left["changed"], left["steps"]) == (False, [])
    assert f"{herd.leaf.name} was a primary" in left["left_alone"]
    herd.leaf.play(
        command("touch", f"{herd.directory}/standby.signal"),
        command("chown", "postgres:", f"{herd.directory}/standby.signal"),
    )


def test_refusals(herd: Herd) -> None:
    """No second primary, nobody else's number or name, no primary taken down; each names who is in the way."""
    leaf, primary = herd.leaf.name, herd.primary.name
    other = {**herd.model, "nodes": [dict(node) for node in herd.model["nodes"]]}
    for node in other["nodes"]:
        if node["name"] == leaf:
            node["id"] = 77
    messages = herd.leaf.refusals(
        herd.mine(state="primary"),
        herd.mine(cluster=other),
        herd.mine(state="witness"),
        herd.mine(state="standby", upstream=leaf),
    )
    assert primary in messages[0]
    assert f"{leaf} with ID 77" in messages[1]
    assert f"{leaf} with ID {herd.id(leaf)}" in messages[1]
    assert "witness" in messages[2]
    assert leaf in messages[3]
    for message in herd.primary.refusals(herd.node(primary, state="standby"), herd.node(primary, state="absent")):
        assert primary in message
        assert "switchover" in message


def test_witness(herd: Herd) -> None:
    witness = next((node["name"] for node in herd.model["nodes"] if node["kind"] == "witness"), "")
    if not witness:
        pytest.skip("these hosts have no witness")
    host, (was,) = replace(herd.primary, name=witness), herd.record(witness)
    play(witness, [service("repmgrd", "stopped")])
    try:
        herd.primary.play(sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{witness}'", REPMGR))
        host.play(sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{witness}'", REPMGR))
        contract(host, herd.node(witness), RECORD.format(witness), [], [was], REPMGR)
        assert herd.record(witness) == [was]
    finally:
        play(witness, [service("repmgrd", "started")])


def test_password_is_shown_nowhere(herd: Herd) -> None:
    """Not in the most talkative run, the record, or the command lines of repmgr."""
    passfile = herd.leaf.play(command("cat", "/var/lib/postgresql/.pgpass"))[0]["stdout"]
    password = passfile.splitlines()[0].rsplit(":", 1)[1]
    herd.primary.play(sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{herd.leaf.name}'", REPMGR))
    _results, printed = play(herd.leaf.name, [{**herd.mine(), "diff": True}], verbosity=3)
    assert "register" in printed
    assert password not in printed
    (row,) = herd.primary.read("SELECT string_agg(n::text, '') AS text FROM repmgr.nodes n", REPMGR)
    assert password not in row["text"]
