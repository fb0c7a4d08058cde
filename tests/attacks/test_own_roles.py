# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whoever has the password of one of pgherd's own roles: a witness repmgr's, a pgpool host the monitoring role's, a Barman
host Barman's two."""

from __future__ import annotations

import pytest
from faults import endstate
from faults.cluster import Cluster, until

from attacks.means import OWN, allowed, ask, refusal

pytestmark = pytest.mark.attack


@pytest.mark.parametrize(
    ("where", "role", "database"),
    [("standby", "repmgr", OWN), ("pgpool", "pgherd_monitor", OWN), ("barman", "barman", "postgres")],
)
def test_no_role_that_leaves_the_data_nodes_commands_a_server(
    cluster: Cluster, primary: str, where: str, role: str, database: str
) -> None:
    """No file, setting, reload, promotion or other's session by any of them. (A data node has repmgr's password as a witness
    has; test_witness is a witness.)"""
    host = {"standby": cluster.standbys(primary)[0], "pgpool": cluster.pools[0], "barman": cluster.barman}[where]
    assert ask(cluster, host, role, primary, "SELECT current_user", database) == role
    assert allowed(cluster, host, role, primary, database) == []


def test_agents_role_is_for_data_nodes_only(cluster: Cluster, primary: str) -> None:
    """Its password would help nobody elsewhere."""
    agent = "pgherd_agent"
    assert ask(cluster, cluster.standbys(primary)[0], agent, primary, "SELECT current_user") == agent
    for host in (cluster.pools[0], cluster.barman):
        for database in (OWN, "postgres"):
            assert "pg_hba.conf" in refusal(cluster, host, agent, primary, "SELECT 1", database), (host, database)


def test_stream_under_a_nodes_name_is_ended_and_reported(cluster: Cluster, primary: str) -> None:
    """Barman's role streams under a listed standby's name and confirms what it gets: PostgreSQL counts by name alone."""
    name = cluster.standbys(primary)[0]
    barman = cluster.barman
    line = (
        f"host={primary} user=streaming_barman dbname=replication application_name={name} sslmode=verify-full"
        " sslrootcert=/etc/pgherd/tls/ca.crt"
    )
    unit = "attack-stream.service"
    started = (
        "systemd-run",
        "--collect",
        f"--unit={unit}",
        "--uid=barman",
        "--setenv=HOME=/var/lib/barman",
        "sh",
        "-euc",
    )
    script = 'mkdir -p /tmp/attack; while :; do pg_receivewal -n -D /tmp/attack --synchronous -w -d "$0" || :; done'
    stream = f"SELECT pid FROM pg_stat_replication WHERE usename = 'streaming_barman' AND application_name = '{name}'"
    cluster.run(barman, *started, script, line)
    try:
        first = until("the stream", lambda: cluster.rows(primary, stream), 60, every=0.05)
        until("its end", lambda: [r for r in cluster.rows(primary, stream) if r in first] == [], 10, every=0.05)
        until("a word about it in the status", lambda: _named(cluster, primary, "streaming_barman"), 60)
    finally:
        cluster.sh(barman, f"systemctl stop {unit} || :; rm -rf /tmp/attack")
    until("the status to be well again", lambda: not _named(cluster, primary, "streaming_barman"), 120)


def _named(cluster: Cluster, host: str, word: str) -> bool:
    return any(word in str(problem) for problem in endstate.status(cluster, host)["problems"])


def test_nothing_that_a_record_holds_commands_a_terminal(cluster: Cluster, primary: str) -> None:
    """A name in repmgr's metadata, which its role writes, is shown to root."""
    node = cluster.standbys(primary)[0]
    insert = (
        "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) VALUES"
        " (99, E'evil\\x1b]0;taken\\x07\\x1b[2J', 'standby', false, '', 'repmgr', '/')"
    )
    try:
        ask(cluster, node, "repmgr", primary, insert)
        shown = until(
            "the record in the status", lambda: _with(cluster.run(primary, "pgherd", "status", check=False)), 60
        )
    finally:
        cluster.rows(primary, "DELETE FROM repmgr.nodes WHERE node_id = 99", OWN)
    assert [sign for sign in shown if not sign.isprintable() and sign != "\n"] == []


def _with(shown: str) -> str:
    return shown if "evil" in shown else ""
