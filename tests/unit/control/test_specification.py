# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A value is what the specification says it is, however it was written, and everything that uses it has it from there."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.pgherd.cluster.plugins.action import cluster_model
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.programs.postgres import TRIED
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _run
from ansible_collections.pgherd.cluster.plugins.plugin_utils._cluster import DISTRIBUTION_POSTGRES
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given

ROOT = Path(__file__).resolve().parents[3]
# What -e NAME=VALUE and the [all:vars] of an INI inventory make of a value: a text.
AS_TEXT: list[tuple[str, str, Any]] = [
    ("cluster_replication_slots", "no", False),
    ("cluster_restart_primary", "true", True),
    ("cluster_accept_loss", "0", False),
    ("cluster_sync_standbys", "1", 1),
    ("cluster_port", "5433", 5433),
    ("cluster_switchover_max_transaction", "1.5", 1.5),
    ("cluster_postgres_version", "17", 17),
    ("cluster_wipe", "pg2", ["pg2"]),
    ("cluster_wipe", "pg2, pg3", ["pg2", "pg3"]),
    ("cluster_wipe", "['pg2']", ["pg2"]),
    ("cluster_wipe", "", []),
    ("cluster_networks", "10.0.0.0/8", ["10.0.0.0/8"]),
    ("cluster_hba", '["host a,b all 10.0.0.0/8 md5"]', ["host a,b all 10.0.0.0/8 md5"]),
    ("cluster_postgres_settings", '{"work_mem": "4MB"}', {"work_mem": "4MB"}),
    ("cluster_users", "[{name: app, createdb: 'yes'}]", [{"name": "app", "createdb": True}]),
    ("cluster_name", "demo", "demo"),
]


@pytest.mark.parametrize(("name", "text", "value"), AS_TEXT)
def test_a_text_is_what_it_should_be(name: str, text: str, value: Any) -> None:
    found = given({name: text}, name)
    assert (found, type(found)) == (value, type(value))
    assert given({name: value}, name) == value


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("cluster_port", "five", "'five'"),
        ("cluster_port", "5432.5", "5432.5"),
        ("cluster_port", True, "cluster_port is a number; mend cluster_port where it is set."),
        ("cluster_replication_slots", "perhaps", "perhaps"),
        ("cluster_hba", "host a,b all 10.0.0.0/8 md5", "cluster_hba is a list; mend"),
        ("cluster_wipe", "[pg1", "cluster_wipe is a list; mend"),
        ("cluster_users", "app", "cluster_users is a list; mend"),
        ("cluster_postgres_settings", "work_mem=4MB", "cluster_postgres_settings is a dictionary; mend"),
        ("cluster_name", ["demo"], "cluster_name is one value and no list; mend"),
        ("cluster_durability", False, "cluster_durability is text, so put it into quotes; mend"),
    ],
)
def test_what_it_cannot_be_is_refused(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given({name: value}, name)
    assert sentence in str(caught.value)


def test_nothing_is_the_default(specification: dict[str, Any]) -> None:
    for name, spec in specification.items():
        assert given({}, name) == given({name: None}, name) == spec.get("default")


def test_only_what_was_written_is_there() -> None:
    """Ansible's check puts in every key that the specification has."""
    user = [{"name": "app", "connection_limit": "5"}]
    assert given({"cluster_users": user}, "cluster_users") == [{"name": "app", "connection_limit": 5}]


def test_the_distributions_versions_were_tried_and_people_read_which(specification: dict[str, Any]) -> None:
    assert set(DISTRIBUTION_POSTGRES.values()) <= set(TRIED)
    said = " ".join(specification["cluster_postgres_version"]["description"].split())
    assert f"Others than {' and '.join(map(str, TRIED))} were not tried" in said


def facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extra: dict[str, Any]) -> dict[str, Any]:
    """What the action makes of three nodes and a pgpool, with the *extra* variables at all hosts."""
    monkeypatch.setattr(_run.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(cluster_model.ActionBase, "run", lambda *_given, **_more: {})
    store = SimpleNamespace(kept=lambda *_given: {})
    monkeypatch.setattr(cluster_model, "SecretStore", lambda *_given, **_more: store)
    monkeypatch.setattr(cluster_model, "certificates", lambda *_given: [])
    action = cluster_model.ActionModule.__new__(cluster_model.ActionModule)
    action._task = SimpleNamespace(args={}, check_mode=False)
    action._templar = SimpleNamespace(template=lambda value: value)
    own = {"cluster_name": "demo", "cluster_secrets_directory": str(tmp_path)}
    hosts: dict[str, dict[str, Any]] = {
        "pg1": {"node_id": "1"},
        "pg2": {"node_id": "2", "upstream": "pg1"},
        "pg3": {"node_id": "3", "upstream": "pg1"},
        "pool1": {},
    }
    groups = {"postgres": ["pg1", "pg2", "pg3"], "pgpool": ["pool1"]}
    variables = {name: {**own, **extra, **host} for name, host in hosts.items()}
    found = action.run(task_vars={**own, **extra, "groups": groups, "hostvars": variables})
    return found["ansible_facts"]["cluster_model"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *(case for case in AS_TEXT if case[0] not in ("cluster_hba", "cluster_users")),
        # A yes or no, or a word.
        ("cluster_pgpool_read_balancing", "no", False),
        ("cluster_pgpool_read_balancing", "True", True),
    ],
)
def test_the_cluster_is_made_of_what_was_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, value: Any
) -> None:
    assert facts(monkeypatch, tmp_path, {name: text}) == facts(monkeypatch, tmp_path, {name: value})


def test_the_core_is_given_values_by_their_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = {"cluster_replication_slots": "false", "cluster_pgpool_read_balancing": "false", "cluster_port": "5433"}
    found = facts(monkeypatch, tmp_path, said)
    assert (found["replication_slots"], found["options"]["pgpool_read_balancing"], found["port"]) == (
        False,
        "none",
        5433,
    )


@pytest.mark.parametrize("value", [None, ""])
def test_a_directory_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: Any) -> None:
    """It would be the one in which Ansible was started."""
    with pytest.raises(AnsibleActionFail, match="cluster_secrets_directory has no value where it is set; give it one"):
        facts(monkeypatch, tmp_path, {"cluster_secrets_directory": value})


# Whose value Ansible converts where it is used: options of modules, which say their type, and a keyword of plays.
BY_ANSIBLE = re.compile(
    r"^\s+(to|force|max_\w+|accept_loss): \"\{\{ cluster_\w+ \| default\(omit\) \}\}\"$"
    r"|^  become: \"\{\{ cluster_become \| default\(true\) \}\}\"$"
)
# Texts, which stay what they are.
TEXTS = ("cluster_remove", "cluster_promote", "cluster_model", "cluster_secrets_path")


def test_no_role_or_playbook_takes_a_value_as_it_was_written(specification: dict[str, Any]) -> None:
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/vars/*.yml"), *ROOT.glob("playbooks/*.yml")]
    raw = []
    for file in files:
        for line in file.read_text().splitlines():
            used = re.sub(r"lookup\('pgherd.cluster.variable', '\w+'\)", "", line.partition("#")[0])
            names = set(re.findall(r"(?<![\w.-])cluster_\w+", used)) & set(specification) - set(TEXTS)
            if names and not BY_ANSIBLE.match(used) and "-e cluster_" not in used:
                raw.append(f"{file.name}: {line.strip()}")
    assert len(files) > 20
    assert raw == []
