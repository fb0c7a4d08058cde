# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Mistakes in the inventory or on the command line end the run before a host is touched, all of a kind at once. The hosts here
do not exist: whoever touched one would be told that it is unreachable.

Every mistake is in tests/unit/control/test_mistakes.py; here it is seen that a person's run ends there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playbook import SITE, ansible_playbook

TREE = """
all:
  vars: {cluster_name: tree, cluster_users: [{name: app}], cluster_secrets_directory: "{{ inventory_dir }}/secrets"}
postgres:
  hosts:
    pg1: {node_id: 1, ansible_host: 192.0.2.1}
    pg2: {node_id: 2, ansible_host: 192.0.2.2, upstream: pg1}
    pg3: {node_id: 3, ansible_host: 192.0.2.3, upstream: pg2, cluster_postgres_setings: {work_mem: 8MB}}
    pg4: {node_id: 2, ansible_host: 192.0.2.4, upstream: pg9}
pgpool: {hosts: {pool1: {ansible_host: 192.0.2.6}}}
barman: {hosts: {backup1: {ansible_host: 192.0.2.7}}}
"""


def refusal(directory: Path, inventory: str, extra: dict[str, Any] | None = None) -> str:
    """What the run said, which touched nothing: not even the control machine's secrets are made."""
    (directory / "inventory.yml").write_text(inventory)
    run = ansible_playbook(directory / "inventory.yml", SITE, extra=extra)
    assert run.rc == 2, run
    assert len(run.events) == 1, run
    assert not run.unreachable
    assert not (directory / "secrets").exists()
    (message,) = set(run.failed.values())
    return message


def test_misspelt_wherever_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/pgpool.yml").write_text("cluster_pgpool_setings: {num_init_children: 32}\n")
    message = refusal(tmp_path, TREE, extra={"cluster_restart_primry": True, "cluster_durability": "paranoid"})
    for sentence in (
        "the inventory or the command line: there is no variable cluster_restart_primry; did you mean cluster_restart_primary?",
        "pg3: there is no variable cluster_postgres_setings; did you mean cluster_postgres_settings?",
        "pool1: there is no variable cluster_pgpool_setings; did you mean cluster_pgpool_settings?",
        "mend cluster_durability where it is set",
    ):
        assert sentence in message


def test_nodes_that_cannot_be(tmp_path: Path) -> None:
    message = refusal(tmp_path, TREE.replace("setings", "settings"))
    assert "pg4: node_id 2 is pg2's already; give it another number." in message
    assert "pg4: its upstream pg9 is not a node of this cluster" in message
