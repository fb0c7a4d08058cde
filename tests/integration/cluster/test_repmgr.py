# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What repmgr knows of its nodes, on each of them, and its daemon."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from deployed import MISSED, Deployed, Host, everywhere, until

NODES = "SELECT node_id, node_name, type, active, upstream_node_id, location, priority, slot_name FROM repmgr.nodes ORDER BY 1"


def repmgr(cluster: Deployed, host: Host, words: str) -> str:
    """What a repmgr command says, run as postgres; it has to exit 0."""
    file = f"/etc/repmgr/{cluster.version}/repmgr.conf"
    return host.run(f"sudo -u postgres repmgr -f {file} {words} 2>&1")


def expected(cluster: Deployed) -> list[dict[str, Any]]:
    """Rows of repmgr.nodes by the inventory."""
    ids = {host.name: host.vars["node_id"] for host in cluster.nodes}
    rows = []
    for host in sorted(cluster.nodes, key=lambda host: ids[host.name]):
        witness = host in cluster.group("witness")
        upstream = cluster.upstream(host) or (cluster.primary.name if witness else "")
        rows.append(
            {
                "node_id": ids[host.name],
                "node_name": host.name,
                "type": "witness" if witness else "standby" if upstream else "primary",
                "active": True,
                "upstream_node_id": ids.get(upstream),
                "location": host.vars.get("location", "default"),
                "priority": 0 if witness else host.vars.get("priority", 100),
                "slot_name": f"repmgr_slot_{ids[host.name]}" if cluster.wanted("replication_slots", True) else None,
            }
        )
    return rows


@pytest.fixture(scope="module", autouse=True)
def copied(cluster: Deployed) -> None:
    """A witness copies the rows every 15 s (witness_sync_interval): it may still have a node as a test before had it, stopped."""

    def active() -> bool:
        copies = everywhere(cluster.nodes, lambda host: host.rows(NODES, "repmgr")).values()
        return all(row["active"] for rows in copies for row in rows)

    until("all nodes active in all copies", active, 90)


def test_metadata(cluster: Deployed) -> None:
    """C6, C57, C58, C66: every node reads the same rows, and they are the inventory's: upstream, priority, location."""
    wanted = expected(cluster)
    for host in cluster.nodes:
        until(f"the rows on {host.name}", lambda host=host: host.rows(NODES, "repmgr") == wanted, 60)


def test_cluster_show(cluster: Deployed) -> None:
    """C58: repmgr itself reaches all nodes from every node, and finds nothing amiss (exit code 0). It gives each two seconds,
    which a busy machine may take."""
    # id, availability (0: up), recovery (0: no, 1: yes, -1: unknown)
    wanted = {row["node_id"]: ["0", "1" if row["type"] == "standby" else "0"] for row in expected(cluster)}

    def shown(host: Host) -> bool:
        said = repmgr(cluster, host, "cluster show --csv")
        return {int(row[0]): row[1:] for row in csv.reader(said.splitlines()) if row and row[0].isdigit()} == wanted

    for host in cluster.nodes:
        until(f"all of them on {host.name}", lambda host=host: shown(host), missed=MISSED)


def test_node_check(cluster: Deployed) -> None:
    """C6: role, lag, attached standbys, slots, data directory and repmgrd are right by repmgr's own rules. The one that is
    left out, --slots, warns of slots that nobody uses: those kept ready for a failover."""
    checks = ("role", "replication-lag", "downstream", "upstream", "missing-slots", "data-directory-config", "repmgrd")

    def check(host: Host) -> None:
        for one in checks:
            words = f"node check --{one}"
            until(f"{words} on {host.name}", lambda words=words: repmgr(cluster, host, words), missed=MISSED)

    everywhere(cluster.data_nodes, check)


def test_repmgrd(cluster: Deployed) -> None:
    """One repmgrd on each node, that of the unit, unpaused, and it survives its own death."""
    query = "SELECT repmgr.repmgrd_is_running() AS running, repmgr.repmgrd_is_paused() AS paused"
    pid = "SELECT repmgr.get_repmgrd_pid()"

    def one(host: Host) -> bool:
        main = host.run("systemctl show -P MainPID repmgrd.service").strip()
        # One that runs a command is two for a moment.
        return host.run("pgrep -x repmgrd").split() == [main] == [str(host.value(pid, "repmgr"))]

    running = [{"running": True, "paused": False}]
    for host in cluster.nodes:
        until(f"repmgrd on {host.name}", lambda host=host: host.rows(query, "repmgr") == running)
        assert host.shell.service("repmgrd").is_enabled
        until(f"one repmgrd on {host.name}", lambda host=host: one(host), missed=MISSED)
    host = cluster.nodes[-1]
    before = host.value(pid, "repmgr")
    host.run("kill -KILL %s", before)
    until("another repmgrd", lambda: host.value(pid, "repmgr") not in (before, -1, None), 60)
    cluster.settle()


def test_events(cluster: Deployed) -> None:
    """C15: what repmgr did is in its table of events, and each node's registration went well."""
    query = "SELECT node_id, event FROM repmgr.events WHERE successful AND event LIKE '%\\_register'"
    seen = {(row["node_id"], row["event"]) for row in cluster.primary.rows(query, "repmgr")}
    assert {(row["node_id"], f"{row['type']}_register") for row in expected(cluster)} <= seen


def test_event_hook(cluster: Deployed) -> None:
    """C15, C59: a command of the user's, with quotes and commas, has been told of events."""
    settings = cluster.wanted("repmgr_settings", {})
    if "event_notification_command" not in settings:
        pytest.skip("the inventory has none")
    for host in cluster.data_nodes:
        said = host.run("journalctl -t repmgr-event -o cat")
        assert f"node {host.vars['node_id']}, event repmgrd_start" in said, host.name


def test_ssh(cluster: Deployed) -> None:
    """C67: where keys were asked for every node reaches every other as postgres; elsewhere there are none."""
    for host in cluster.nodes:
        if not cluster.wanted("ssh_keys", False):
            assert not host.shell.file("/var/lib/postgresql/.ssh").exists
            continue
        for other in [other for other in cluster.nodes if other != host]:
            # A server does not tell its client why it refuses a key; its journal does.
            said = host.run("sudo -u postgres ssh -n %s hostname -f 2>&1 || true", other.name)
            assert said.splitlines()[-1:] == [other.name], f"{said}\n{other.run('journalctl -t sshd -n 30 -o cat')}"
