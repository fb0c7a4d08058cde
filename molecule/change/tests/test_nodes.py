# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A host that is added to the inventory becomes a node, a user and a database are there, more standbys have to confirm, another
client may ask agents, and nobody restarts for it."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import yaml
from living import MISSED, UNIT, Living, until

NEW = "pg9"
# W, and who asks agents besides the cluster's hosts: an option of theirs.
CONFIRM, CLIENT = 2, "192.0.2.7"


def test_an_added_host_becomes_a_node_and_nobody_restarts(tree: Living) -> None:
    primary, before, agents = tree.primary(), tree.look(), tree.agents()
    servers = {name: tree.main_pid(name, UNIT) for name in tree.nodes}
    pools = {pool: tree.main_pid(pool, "pgpool2.service") for pool in tree.group("pgpool")}
    first = next(name for name, host in tree.group("postgres").items() if "upstream" not in host)
    tree.add(NEW)
    tree.group("postgres")[NEW] = {"node_id": 9, "upstream": first}
    tree.variables.update(cluster_sync_standbys=CONFIRM, cluster_agent_clients=[CLIENT])
    tree.variables["cluster_users"].append({"name": "reader"})
    tree.variables["cluster_databases"].append({"name": "shop", "owner": "reader"})

    run = tree.site()
    assert run.rc == 0, run
    tree.until_as(before)
    assert {name: tree.main_pid(name, UNIT) for name in servers} == servers
    assert {pool: tree.main_pid(pool, "pgpool2.service") for pool in pools} == pools
    # No agent either: each has taken up every stage, and the option, while it ran.
    assert {name: pid for name, pid in tree.agents().items() if name != NEW} == agents
    for name in agents:
        said, there = tree.goes_by(name)
        assert said == there, name

    tree.until_streaming(NEW)
    timeline = before[primary].timeline
    until(f"{NEW} on timeline {timeline}", lambda: tree.look([NEW])[NEW].timeline == timeline, missed=MISSED)
    row = tree.records()[NEW]
    assert (row["type"], row["active"], row["node_id"], row["upstream"]) == ("standby", True, 9, first)
    for names in tree.show("synchronous_standby_names").values():
        assert names.startswith(f"ANY {CONFIRM} (")
        assert f'"{NEW}"' in names
    for name in tree.nodes:
        # Every agent counts it, and by the new number: nothing of the way there is left.
        description = json.loads(tree.execute(name, "cat", "/etc/pgherd/cluster.json"))
        assert (description["counted"], description["sync_standbys"]) == (None, CONFIRM)
        assert description["options"]["agent_clients"] == [CLIENT]
        assert NEW in [node["name"] for node in description["nodes"]]
    if first == primary:
        # While it catches up it is async, whatever the primary waits for.
        query = f"SELECT sync_state FROM pg_stat_replication WHERE application_name = '{NEW}'"
        until(
            f"{NEW} to confirm commits", lambda: tree.rows(primary, query) == [{"sync_state": "quorum"}], missed=MISSED
        )

    for pool in pools:
        found = until(f"{NEW} to be up in {pool}", lambda pool=pool: up(tree, pool), 90, missed=MISSED)
        assert set(found) == set(tree.nodes)


def up(tree: Living, pool: str) -> dict[str, str]:
    """Status of all backends of a pgpool, once the new one is up."""
    found = tree.backends(pool)
    return found if found.get(NEW) == "up" else {}


def test_the_new_user_works_in_the_new_database_through_each_pgpool(tree: Living) -> None:
    secrets = tree.directory_of_secrets
    password = yaml.safe_load((secrets / "passwords.yml").read_text())["reader"]
    for pool in tree.group("pgpool"):
        # From this machine: the hosts of the cluster are in none of its networks.
        where = {"host": pool, "hostaddr": tree.address(pool), "port": 9999, "user": "reader", "dbname": "shop"}
        tls = {"sslmode": "verify-full", "sslrootcert": str(secrets / "ca.crt")}
        line = {**where, **tls, "password": password, "autocommit": True}
        # A pgpool that lets a backend in may end a session.
        until(f"the user through {pool}", lambda line=line: works(line), missed=(psycopg.OperationalError,))
    owner = "SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = 'shop'"
    assert tree.value(tree.primary(), owner) == "reader"


def works(line: dict[str, Any]) -> bool:
    """Whether the user can make a table and is who it says. Raises psycopg.OperationalError without a session."""
    with psycopg.connect(**line) as client:
        client.execute("CREATE TABLE IF NOT EXISTS t ()")
        return bool(client.execute("SELECT current_user").fetchone() == ("reader",))
