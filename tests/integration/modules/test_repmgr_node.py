# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Module repmgr_node on a standby that nobody follows, and its refusals on all. Every test leaves the tree as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from deployed import described, until
from driving import Host, Task, check, contract, play

REPMGR = "repmgr"
# What would do by itself what the module is asked for.
ACTING = ("pgherd-agent", "repmgrd")
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
        given = {"cluster": self.model, "node": name, "postgres_version": self.version, "timeout": 180}
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


@pytest.fixture(scope="module")
def herd(hosts: list[tuple[Host, bool]], primary: Host) -> Herd:
    model = json.loads(primary.run("cat", "/etc/pgherd/cluster.json"))
    followed = {row["id"] for row in primary.read("SELECT DISTINCT upstream_node_id AS id FROM repmgr.nodes", REPMGR)}
    ids = {node["name"]: node["id"] for node in model["nodes"]}
    leaf = [host for host, is_primary in hosts if not is_primary and ids[host.name] not in followed][-1]
    return Herd(model, primary.version, primary, leaf)


@pytest.fixture(autouse=True)
def _as_it_was(herd: Herd) -> Iterator[None]:
    """The leaf's repmgrd and agent stay out of it; in the end the leaf is where it was, and both run. Begins on a whole cluster:
    those of the test before have just been started."""
    described().settle()
    (was,) = herd.record(herd.leaf.name)
    (upstream,) = (node["name"] for node in herd.model["nodes"] if node["id"] == was["upstream"])
    herd.leaf.run("systemctl", "stop", *ACTING)
    yield
    results = herd.leaf.play(herd.mine(state="standby", upstream=upstream))
    assert not [result for result in results if result.get("failed")], results
    herd.leaf.run("systemctl", "start", *ACTING)
    until("the leaf's record", lambda: herd.record(herd.leaf.name) == [was])


@pytest.mark.more
def test_right_nodes_need_nothing(herd: Herd) -> None:
    task = herd.node("{{ inventory_hostname }}")
    answers = play("postgres:witness", [check(task), task])[0]
    assert set(answers) == {node["name"] for node in herd.model["nodes"]}
    for foretold, real in answers.values():
        assert (foretold["changed"], real["changed"], real["steps"], real["left_alone"]) == (False, False, [], "")


@pytest.mark.more
def test_registers(herd: Herd) -> None:
    """A record that is missing, one with other attributes, and one that calls a living node inactive."""
    name, (was,) = herd.leaf.name, herd.record(herd.leaf.name)
    effect = RECORD.format(name)
    herd.primary.sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{name}'", REPMGR)
    made = contract(herd.leaf, herd.mine(), effect, [], [was], REPMGR)
    assert len(made["steps"]) == 1
    wrong = {**was, "priority": 1, "active": False}
    herd.primary.sql(f"UPDATE repmgr.nodes SET priority = 1, active = false WHERE node_name = '{name}'", REPMGR)
    changed = contract(herd.leaf, herd.mine(), effect, [wrong], [was], REPMGR)
    assert changed["before"]["record"]["priority"] == 1
    assert changed["after"]["record"]["priority"] == was["priority"]


@pytest.mark.more
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


@pytest.mark.more
def test_streams_by_what_the_model_says(herd: Herd) -> None:
    """A primary_conninfo that was changed by hand."""
    effect = "SELECT current_setting('primary_conninfo') LIKE '%connect_timeout=2 %' AS right"
    (found,) = herd.leaf.read("SELECT current_setting('primary_conninfo') AS conninfo")
    spoiled = found["conninfo"].replace("connect_timeout=2", "connect_timeout=3").replace("'", "''")
    herd.leaf.sql(f"ALTER SYSTEM SET primary_conninfo = '{spoiled}'")
    herd.leaf.sql("SELECT pg_reload_conf()")
    contract(herd.leaf, herd.mine(), effect, [{"right": False}], [{"right": True}])


@pytest.mark.more
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
    assert herd.leaf.run("systemctl", "is-active", herd.unit, rc=None).strip() in ("inactive", "failed")
    back = herd.mine(state="standby")
    foretold, real, again = herd.leaf.play(check(back), back, back)
    assert (foretold["changed"], real["changed"], again["changed"]) == (True, True, False), (foretold, real, again)
    assert herd.record(name) == [was]


def test_clones_an_empty_node_and_an_unfinished_clone(herd: Herd) -> None:
    """Whole or not at all: what an interrupted clone left cannot be started, and is made anew."""
    task, leaf, directory = herd.mine(), herd.leaf, herd.directory
    options = herd.model["options"]
    outside = [options.get("wal_directory"), *(item["location"] for item in options["tablespaces"])]
    leaf.run("systemctl", "stop", herd.unit)
    for path in (directory, *filter(None, outside)):
        leaf.run("find", path, "-mindepth", "1", "-delete")
    foretold, real, again = leaf.play(check(task), task, task)
    assert (foretold["changed"], real["changed"], again["changed"]) == (True, True, False), (foretold, real, again)
    assert foretold["steps"] == real["steps"]
    assert real["steps"][0].startswith(f"clone {leaf.name} from ")
    # As if the power had gone between the base backup and the last move.
    leaf.run("systemctl", "stop", herd.unit)
    leaf.run("install", "-d", "-o", "postgres", "-m", "700", f"{directory}/.pgherd-clone")
    leaf.run("mv", f"{directory}/PG_VERSION", f"{directory}/.pgherd-clone")
    leaf.run("rm", f"{directory}/standby.signal")
    leaf.run("systemctl", "start", herd.unit, rc=1)
    real, again = leaf.play(task, task)
    assert (real["changed"], again["changed"]) == (True, False), (real, again)
    assert ".pgherd-clone" not in leaf.run("ls", "-A", directory)
    assert leaf.read("SELECT pg_is_in_recovery() AS standby") == [{"standby": True}]


def test_never_clones_over_what_it_may_not(herd: Herd) -> None:
    """Another cluster in the data directory, and a former primary."""
    leaf, directory = herd.leaf, herd.directory
    identifier = "SELECT system_identifier::text AS id FROM pg_control_system()"
    (ours,) = leaf.read(identifier)
    aside = directory + ".aside"
    initdb = f"/usr/lib/postgresql/{herd.version}/bin/initdb"
    leaf.run("systemctl", "stop", herd.unit)
    leaf.run("mv", directory, aside)
    try:
        leaf.run("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", directory)
        leaf.run("runuser", "-u", "postgres", "--", initdb, "--no-sync", "-D", directory, "-A", "peer")
        (message,) = leaf.refusals(herd.mine())
        assert "cluster_wipe" in message
        assert ours["id"] in message
        # Neither is touched: not even by the forecast of what wipe would do.
        (foretold,) = leaf.play(check(herd.mine(wipe=True)))
        assert "over what is in its data directory" in foretold["steps"][0]
        assert "pg_control" in leaf.run("ls", f"{directory}/global")
    finally:
        leaf.run("rm", "-rf", directory)
        leaf.run("mv", aside, directory)
    # By pg_control its data are still a standby's: it starts as one.
    leaf.run("rm", f"{directory}/standby.signal")
    leaf.play(herd.mine())
    assert leaf.read("SELECT pg_is_in_recovery() AS standby") == [{"standby": True}]
    leaf.run("systemctl", "stop", herd.unit)
    leaf.run("rm", f"{directory}/standby.signal")
    # In single-user mode nothing is archived, and it ends as a primary that was shut down.
    server = f"/usr/lib/postgresql/{herd.version}/bin/postgres"
    config = f"config_file=/etc/postgresql/{herd.version}/main/postgresql.conf"
    alone = f"cd /; exec {server} --single -D {directory} -c {config} postgres </dev/null"
    leaf.run("runuser", "-u", "postgres", "--", "sh", "-c", alone)
    (left,) = leaf.play(herd.mine())
    assert (left["changed"], left["steps"]) == (False, [])
    assert f"{leaf.name} was a primary" in left["left_alone"]
    (wiped,) = leaf.play(herd.mine(wipe=True))
    assert wiped["steps"][0].startswith(f"clone {leaf.name} from "), wiped


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


@pytest.mark.more
def test_witness(herd: Herd) -> None:
    witness = next((node["name"] for node in herd.model["nodes"] if node["kind"] == "witness"), "")
    if not witness:
        pytest.skip("these hosts have no witness")
    host, (was,) = replace(herd.primary, name=witness), herd.record(witness)
    host.run("systemctl", "stop", *ACTING)
    try:
        herd.primary.sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{witness}'", REPMGR)
        host.sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{witness}'", REPMGR)
        contract(host, herd.node(witness), RECORD.format(witness), [], [was], REPMGR)
        assert herd.record(witness) == [was]
    finally:
        host.run("systemctl", "start", *ACTING)


def test_password_is_shown_nowhere(herd: Herd) -> None:
    """Not in the most talkative run, the record, or the command lines of repmgr."""
    passfile = herd.leaf.run("cat", "/var/lib/postgresql/.pgpass")
    password = passfile.splitlines()[0].rsplit(":", 1)[1]
    herd.primary.sql(f"DELETE FROM repmgr.nodes WHERE node_name = '{herd.leaf.name}'", REPMGR)
    _results, printed = play(herd.leaf.name, [{**herd.mine(), "diff": True}], verbosity=3)
    assert "register" in printed
    assert password not in printed
    (row,) = herd.primary.read("SELECT string_agg(n::text, '') AS text FROM repmgr.nodes n", REPMGR)
    assert password not in row["text"]
