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
from pgherd.model import AGENT_ROLE, REPMGR_ROLE, Cluster, Node
from pgherd.options import Options
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.host.files.repmgr import commands, files, sudoers
from pgherd.programs.repmgr import node_conninfo
from pgherd.render.conf_repmgr import settings

PASSWORD = r"it's a:b\c"
AGENTS = "only the agents'"
SECRETS = {REPMGR_ROLE: PASSWORD, AGENT_ROLE: AGENTS}
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
    assert "sslmode=verify-full sslrootcert=/etc/pgherd/tls/ca.crt channel_binding=require passfile=" in text
    assert "passfile=/var/lib/postgresql/.pgpass" in text
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
    assert f"w1.example:5432:replication:repmgr:{lines[0].split(':', 4)[4]}" in lines
    assert [line for line in lines if line.startswith("localhost:5432:repmgr:repmgr:")]
    # What streams: its own, on the nodes that have data.
    assert len(lines) == (2 * len(CLUSTER.nodes) + 2) + (2 * len(CLUSTER.data_nodes) + 2)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("pg1.example:5432:repmgr:repmgr:older", False),
        ("gone.example:6000:replication:pgherd_agent:older", False),
        (r"fd00\:\:1:5432:repmgr:repmgr:older", False),
        ("# for the dumps", True),
        ("*:*:*:*:everywhere", True),
        ("other:5432:app:repmgr:x", True),
        ("other:5432:repmgr:dba:a:5432:repmgr:repmgr:x", True),
    ],
)
def test_passwords_that_somebody_else_put_there_stay(line: str, kept: bool) -> None:
    (item,) = (
        one for one in files(CLUSTER, "pg1", HostFacts(17), SECRETS) if one.path == "/var/lib/postgresql/.pgpass"
    )
    whole = item.beside(f"{line}\n".encode()).secret_content
    assert whole == item.secret_content + (f"{line}\n" if kept else "")


def test_a_witness_holds_nothing_that_commands_a_data_node() -> None:
    assert not [path for path, text in rendered("w1").items() if AGENTS in text or AGENT_ROLE in text]
    passfile = next(
        item for item in files(CLUSTER, "pg1", HostFacts(17), SECRETS) if item.path == "/etc/pgherd/agent.pgpass"
    )
    assert (passfile.owner, passfile.mode, passfile.content) == ("postgres", "0600", "")
    assert passfile.secret_content.splitlines() == [
        f"{host}:5432:{database}:pgherd_agent:{AGENTS}"
        for host in ("pg1.example", "pg2.example", "localhost")
        for database in ("repmgr", "replication")
    ]
    assert "replication_user = 'pgherd_agent'" in rendered("pg2")["/etc/repmgr/17/repmgr.conf"]


def test_users_settings_go_over_ours() -> None:
    mine = replace(CLUSTER, options=Options.of({"repmgr_settings": {"reconnect_attempts": 9, "log_level": "DEBUG"}}))
    found = settings(mine, mine.node("pg1"), 17)
    assert (found["reconnect_attempts"], found["log_level"], found["reconnect_interval"]) == (9, "DEBUG", 1)


def test_options_of_the_cluster() -> None:
    cluster = replace(
        CLUSTER, replication_slots=False, options=Options.of({"wal_directory": "/wal", "data_directory": "/data"})
    )
    found = settings(cluster, cluster.node("pg2"), 17)
    assert (found["use_replication_slots"], found["data_directory"]) == (False, "/data")
    assert found["pg_basebackup_options"] == "--waldir=/wal"
    assert "pg_basebackup_options" not in settings(cluster, cluster.node("w1"), 17)


def test_a_witness_is_never_promoted() -> None:
    assert settings(CLUSTER, CLUSTER.node("w1"), 17)["priority"] == 0


def test_sudo_rules_are_exactly_the_commands_of_repmgr_conf() -> None:
    allowed = {line.split("NOPASSWD: ")[1] for line in sudoers(17).splitlines() if "NOPASSWD" in line}
    values = settings(CLUSTER, CLUSTER.node("pg1"), 17, commands(17)).items()
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
