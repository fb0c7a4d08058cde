# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A living cluster is recognised whatever changed around it: each of these runs ends before any host is changed, in seconds.

Every case is in tests/unit/pgherd/nodes/test_recognise.py and tests/unit/control/test_living.py; here it is asked of real hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from living import Living

# All that a run might have changed, with when it was. A host's disk may be a file there, which is written all the time.
LOOK = """
find /etc/pgherd /etc/postgresql /etc/barman.conf /etc/barman.d /etc/pgpool2 /etc/systemd/system /usr/lib/pgherd /srv \\
  -type f -not -path '/srv/*.img' -printf '%p %T@\\n' 2>/dev/null | sort
systemctl show -p ActiveEnterTimestamp postgresql@17-main pgherd-agent pgpool2
"""
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another place, port and version": (
        {
            "cluster_data_directory": "/srv/pg",
            "cluster_port": 5433,
            "cluster_postgres_version": 18,
            "cluster_postgres_untried": True,
        },
        [
            "PostgreSQL 17 of this cluster is in /var/lib/postgresql/17/main",
            "set cluster_postgres_version: 17",
            "set cluster_port: 5432",
        ],
    ),
    "another name": (
        {"cluster_name": "other"},
        ["a host of cluster NAME (nodes ", "set cluster_name: NAME if that one is meant", "a host serves one cluster"],
    ),
    "no secrets": ({}, ["cluster NAME lives there, and its secrets are not here", "-e cluster_new_secrets=true"]),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_changed(tree: Living, tmp_path: Path, case: str) -> None:
    extra, sentences = CASES[case]
    secrets = tmp_path / "secrets"
    hosts = [name for group in ("postgres", "witness", "pgpool", "barman") for name in tree.group(group)]
    before = {name: tree.shell(name, LOOK) for name in hosts}
    run = tree.site(extra={**extra, "cluster_secrets_directory": str(secrets)})
    assert run.rc == 2, run
    (message,) = set(run.failed.values())
    for sentence in sentences:
        assert sentence.replace("NAME", tree.variables["cluster_name"]) in message
    # All hosts, whatever they are.
    assert all(name in message for name in (tree.nodes if "cluster_port" in extra else hosts)), message
    assert not run.changed, run
    assert {name: tree.shell(name, LOOK) for name in hosts} == before
    assert not secrets.exists()
