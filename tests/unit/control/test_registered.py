# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What this run knows of the nodes is read from what its tasks have registered; what follows is tested in the core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.pgherd.cluster.plugins.lookup.rollout import LookupModule
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster, _run

CLUSTER = _cluster.plain(
    build(
        [
            Host("pg1", ("postgres",), {"node_id": 1}),
            Host("pg2", ("postgres",), {"node_id": 2, "upstream": "pg1"}),
            Host("w1", ("witness",), {"node_id": 3}),
        ],
        {"cluster_name": "demo", "cluster_durability": "async"},
    ).to_dict()
)
MODEL = {"cluster_model": CLUSTER}
FRESH: dict[str, Any] = {"ansible_facts": {}, **MODEL}
BEGUN = {**FRESH, "postgres_way": {}}
# A playbook that only changes who is a member, such as remove, looks at the nodes too, and does not bring them up.
LOOKED = {**FRESH, "postgres_found": {}}
MEMBER = {**BEGUN, "ansible_facts": {"repmgr_node": {"member": True}}}
ALONE = {**BEGUN, "ansible_facts": {"repmgr_node": {"member": False}}}


@pytest.fixture(autouse=True)
def _own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    _run.remember("cluster_model", CLUSTER)


def known(what: str, there: list[str], hostvars: dict[str, Any], began: list[str] | None = None, **options: Any) -> Any:
    """What a task of the first host of *there* is told; *began*: the hosts that the play had at its beginning."""
    variables = {
        "inventory_hostname": there[0],
        "ansible_play_hosts": there,
        "ansible_play_hosts_all": began or there,
        "hostvars": hostvars,
    }
    return LookupModule().run([what], variables, **options)[0]


@pytest.mark.parametrize(
    ("pg1", "pg2", "expected"),
    [
        (FRESH, FRESH, ["pg1", "pg2"]),  # this run has not been at the nodes
        (LOOKED, LOOKED, ["pg1", "pg2"]),
        (MEMBER, MEMBER, ["pg1", "pg2"]),
        (BEGUN, MEMBER, ["pg2"]),
        (FRESH, MEMBER, ["pg2"]),  # pg1 could not be reached
        (BEGUN, BEGUN, []),
        (FRESH, BEGUN, []),
        (ALONE, BEGUN, []),
    ],
)
def test_who_may_still_come(pg1: dict[str, Any], pg2: dict[str, Any], expected: list[str]) -> None:
    hostvars = {"pg1": pg1, "pg2": pg2, "w1": MEMBER, "backup1": FRESH}
    assert known("expected", ["backup1"], hostvars) == expected


def said(name: str, role: str = "standby", **more: Any) -> dict[str, Any]:
    """What a task registers of a server that waits for a restart."""
    instance = {"name": name, "data": "cluster", "running": True, "role": role, "pending": {"huge_pages": "try -> on"}}
    return {"instance": {**instance, **more}, "left_alone": ""}


HOSTVARS: dict[str, Any] = {
    "pg1": {**MEMBER, "postgres_files": {}, "postgres_found": said("pg1"), "postgres_state": said("pg1", "primary")},
    # It cannot be taken for another by its own word.
    "pg2": {**MEMBER, "postgres_files": {}, "postgres_found": said("pg2"), "postgres_state": said("pg1")},
    "w1": {**ALONE, "postgres_files": {}, "postgres_found": {"skipped": True}, "postgres_state": said("w1", "primary")},
}
ALL = ["pg1", "pg2", "w1"]


def test_restarts_go_by_the_hosts_names() -> None:
    found = known("restarts", ALL, HOSTVARS, primary=True)
    assert (found["turns"], found["primaries"], found["waiting"]) == (["pg2", "w1"], ["pg1"], [])
    assert known("restarts", ALL, HOSTVARS)["waiting"] == ["pg1"]
    assert known("restarts", ALL, HOSTVARS, always=True, registered="postgres_found")["turns"] == ALL
    alone = {**HOSTVARS["pg1"], "postgres_state": {**said("pg1", "primary"), "left_alone": "another is further"}}
    assert known("restarts", ALL, {**HOSTVARS, "pg1": alone}, primary=True)["primaries"] == []


def test_who_began_and_is_gone_has_failed() -> None:
    assert known("failed", ["pg1", "w1"], HOSTVARS, ALL) == ["pg2"]
    assert known("lost", ["pg1", "w1"], HOSTVARS, ALL) == ["pg2"]
    assert known("restarts", ["pg1", "w1"], HOSTVARS, ALL, primary=True)["failed"] == ["pg2"]
    # It failed before this run had touched its server.
    assert known("failed", ["pg1", "w1"], {**HOSTVARS, "pg2": MEMBER}, ALL) == []
    # A playbook that writes no files begins with its first look.
    looked = {name: {**MEMBER, "postgres_state": said(name)} for name in ALL}
    assert known("failed", ["pg1", "w1"], looked, ALL) == ["pg2"]


def test_members_are_those_that_the_run_left_as_such() -> None:
    assert known("missing", ALL, HOSTVARS) == ["w1"]
    assert known("missing", ALL, HOSTVARS, names=["pg1", "pg2"]) == []
    assert known("missing", ["pg1"], HOSTVARS, ALL, names=["pg1", "pg2"]) == ["pg2"]


def test_answers_are_those_of_hosts_that_are_there() -> None:
    hostvars = {
        "pg1": {"cluster_said": {"own": ["10.0.0.1"], "ways": {}}, "cluster_host": {"found": {"name": "pg1"}}},
        "pg2": {"cluster_said": {"own": ["10.0.0.2"], "ways": {}}, "cluster_host": {"found": {}}},
        "pg3": {"cluster_said": {"own": ["10.0.0.3"], "ways": {}}, "cluster_host": {"found": {"name": "pg3"}}},
    }
    there = ["pg1", "pg2"]
    assert known("answers", there, hostvars, registered="cluster_said") == {
        name: hostvars[name]["cluster_said"] for name in there
    }
    assert known("answers", there, hostvars, registered="cluster_host", key="found") == {"pg1": {"name": "pg1"}}


def test_only_what_hosts_said_that_are_there_is_passed_on() -> None:
    assert known("instances", ["pg1", "w1"], HOSTVARS, ALL) == {"pg1": said("pg1")["instance"]}
    assert list(known("instances", ALL, HOSTVARS, registered="postgres_state")) == ALL


@pytest.mark.parametrize("answer", ["text", {"instance": "text"}, {"instance": {"lowered": 5}}])
def test_an_answer_that_is_none_is_told(answer: Any) -> None:
    hostvars = {**HOSTVARS, "pg2": {**MEMBER, "postgres_state": answer}}
    with pytest.raises(AnsibleError, match="Read what the nodes said in this run"):
        known("restarts", ALL, hostvars)


def test_of_a_cluster_that_was_not_checked_nothing_is_said() -> None:
    forged = {name: {**one, "cluster_model": {**CLUSTER, "name": "other"}} for name, one in HOSTVARS.items()}
    with pytest.raises(AnsibleError, match="cluster_model is not what was checked"):
        known("lost", ALL, forged)
