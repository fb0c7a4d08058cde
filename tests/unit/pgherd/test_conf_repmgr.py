# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""repmgr's files as rendered from the cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.errors import ConfigError
from pgherd.files.conf_repmgr import files, settings, sudoers
from pgherd.files.render import HostFacts
from pgherd.model import REPMGR_ROLE, Cluster, Node
from pgherd.programs.repmgr import node_conninfo

PASSWORD = r"it's a:b\c"
SECRETS = {REPMGR_ROLE: PASSWORD}
CLUSTER = Cluster(
    "demo",
    (
        Node("pg1", 1, "postgres", "pg1.example"),
        Node("pg2", 2, "postgres", "pg2.example", "pg1", priority=7, location="north"),
        Node("w1", 9, "witness", "w1.example"),
    ),
)


def rendered(name: str, cluster: Cluster = CLUSTER) -> dict[str, str]:
    return {item.path: item.secret_content or item.content for item in files(cluster, name, HostFacts(17), SECRETS)}


def test_who_the_node_is() -> None:
    text = rendered("pg2")["/etc/repmgr/17/repmgr.conf"]
    for line in (
        "node_id = 2",
        "node_name = 'pg2'",
        "priority = 7",
        "location = 'north'",
        "use_replication_slots = on",
        "data_directory = '/var/lib/postgresql/17/main'",
        "failover = 'automatic'",
        "primary_visibility_consensus = on",
    ):
        assert line in text.splitlines()


def test_repmgrd_decides_by_our_commands() -> None:
    found = settings(CLUSTER, CLUSTER.node("pg2"), 17)
    assert found["failover_validation_command"] == "/usr/bin/pgherd validate --host pg2"
    assert found["promote_command"] == "/usr/bin/pgherd promote --host pg2"
    assert found["follow_command"] == "/usr/bin/pgherd follow --host pg2 --upstream %n"


def test_connections_are_verified_and_hold_no_password() -> None:
    text = node_conninfo(CLUSTER, CLUSTER.node("pg1"))
    assert "sslmode=verify-full sslrootcert=/etc/pgherd/tls/ca.crt passfile=/var/lib/postgresql/.pgpass" in text
    assert "host=pg1.example port=5432 user=repmgr dbname=repmgr connect_timeout=2" in text
    assert "password" not in text


def test_the_password_stands_in_the_passfile_only() -> None:
    items = files(CLUSTER, "pg1", HostFacts(17), SECRETS)
    holders = [item for item in items if PASSWORD[:6] in item.content or PASSWORD[:6] in item.secret_content]
    assert [(item.path, item.mode, item.owner, item.content) for item in holders] == [
        ("/var/lib/postgresql/.pgpass", "0600", "postgres", "")
    ]
    lines = holders[0].secret_content.splitlines()
    assert lines[0] == r"pg1.example:5432:repmgr:repmgr:it's a\:b\\c"
    assert lines[-3].startswith("w1.example:5432:replication:repmgr:")
    assert lines[-2].startswith("localhost:5432:repmgr:repmgr:")
    assert len(lines) == 2 * len(CLUSTER.nodes) + 2


def test_users_settings_go_over_ours_but_not_over_who_the_node_is() -> None:
    mine = replace(CLUSTER, options={"repmgr_settings": {"reconnect_attempts": 9, "log_level": "DEBUG"}})
    found = settings(mine, mine.node("pg1"), 17)
    assert (found["reconnect_attempts"], found["log_level"], found["reconnect_interval"]) == (9, "DEBUG", 1)
    wrong = replace(CLUSTER, options={"repmgr_settings": {"node_id": 5, "conninfo": "host=x"}})
    with pytest.raises(ConfigError, match=r"(?s)conninfo.*node_id"):
        settings(wrong, wrong.node("pg1"), 17)


def test_options_of_the_cluster() -> None:
    cluster = replace(CLUSTER, replication_slots=False, options={"wal_directory": "/wal", "data_directory": "/data"})
    found = settings(cluster, cluster.node("pg2"), 17)
    assert (found["use_replication_slots"], found["data_directory"]) == (False, "/data")
    assert found["pg_basebackup_options"] == "--waldir=/wal"
    assert "pg_basebackup_options" not in settings(cluster, cluster.node("w1"), 17)


def test_a_witness_is_never_promoted() -> None:
    assert settings(CLUSTER, CLUSTER.node("w1"), 17)["priority"] == 0


def test_sudo_rules_are_exactly_the_commands_of_repmgr_conf() -> None:
    allowed = {line.split("NOPASSWD: ")[1] for line in sudoers(17).splitlines() if "NOPASSWD" in line}
    values = settings(CLUSTER, CLUSTER.node("pg1"), 17).items()
    named = {str(value)[len("sudo ") :] for key, value in values if re.fullmatch(r".*service_\w+_command", key)}
    # The agent starts anew what has failed.
    assert allowed - named == {
        "/usr/bin/systemctl restart repmgrd.service",
        "/usr/bin/systemctl reset-failed postgresql@17-main.service",
        "/usr/bin/systemctl start --no-block postgresql@17-main.service",
    }
    assert named < allowed
    assert not [line for line in allowed if "*" in line]


@pytest.mark.skipif(not shutil.which("visudo"), reason="visudo is not installed here")
def test_sudo_accepts_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "pgherd"
    path.write_text(rendered("pg1")["/etc/sudoers.d/pgherd"], encoding="utf-8")
    path.chmod(0o440)
    done = subprocess.run([shutil.which("visudo") or "", "-c", "-f", str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_repmgrd_outlives_its_server_and_is_tried_for_ever() -> None:
    unit = rendered("pg1")["/etc/systemd/system/repmgrd.service"]
    assert "Restart=always" in unit
    assert "StartLimitIntervalSec=0" in unit
    assert not re.search(r"^(Requires|BindsTo|PartOf)=", unit, re.MULTILINE)
    assert "--daemonize=false" in unit
