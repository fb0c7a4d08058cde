# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pgpool-II, by what its clients and its control protocol see."""

from __future__ import annotations

import collections
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from deployed import MISSED, Deployed, Host, until

WHERE = "SELECT inet_server_addr()::text AS address"
UP = ("up", "waiting")
GONE = (psycopg.OperationalError, psycopg.InterfaceError)  # a pgpool that lets a backend in or out may end a session
FULL = r"too many clients|error response during SSL"
REFUSED = r"authentication failed|rejects|no pg_hba\.conf entry|pool_hba"


@pytest.fixture
def pool(cluster: Deployed) -> Host:
    """The first pgpool."""
    return cluster.group("pgpool")[0]


def nodes(cluster: Deployed, pool: Host) -> dict[str, dict[str, Any]]:
    """SHOW POOL_NODES by host name."""
    with cluster.through(pool) as client:
        return {row["hostname"]: row for row in client.execute("SHOW POOL_NODES")}


def node_info(cluster: Deployed, pool: Host) -> dict[str, str]:
    """Status by host name as PCP says it, asked on the pgpool host itself: PCP is open nowhere else."""
    port = cluster.wanted("pcp_port", 9898)
    said = pool.run(f"PCPPASSFILE=/etc/pgherd/pcp.pass pcp_node_info -h localhost -p {port} -U pgherd -w -a -v")
    hosts, states = (re.findall(rf"^{title} *: (.*)$", said, re.M) for title in ("Hostname", "Status Name"))
    return dict(zip(hosts, states))


def until_backend(cluster: Deployed, pool: Host, name: str, *states: str) -> None:
    """Wait until PCP says that a backend is in one of *states*; in a failover it may not answer."""
    what = f"backend {name} to be {' or '.join(states)}"
    until(what, lambda: node_info(cluster, pool)[name] in states, 60, missed=MISSED)


def until_all(cluster: Deployed, pool: Host) -> None:
    """Wait until a pgpool uses all backends."""

    def all_up() -> bool:
        states = node_info(cluster, pool)
        return len(states) == len(cluster.data_nodes) and set(states.values()) <= set(UP)

    until("all backends", all_up, 60, missed=MISSED)


def until_written(cluster: Deployed, pool: Host) -> None:
    """Wait until a client of a pgpool's can make a table, and drop it in the same transaction."""

    def written() -> bool:
        with cluster.through(pool) as client:
            client.execute("CREATE TABLE test_written (); DROP TABLE test_written")
        return True

    until("a write", written, 60, missed=GONE)


def number(cluster: Deployed, name: str) -> int:
    """pgpool's number of a node."""
    return int(cluster.hosts[name].vars["node_id"]) - 1


def pcp(cluster: Deployed, pool: Host, verb: str, name: str) -> None:
    """pcp_VERB_node."""
    port = cluster.wanted("pcp_port", 9898)
    command = f"PCPPASSFILE=/etc/pgherd/pcp.pass pcp_{verb}_node -h localhost -p {port} -U pgherd -w -n %s"
    pool.run(command, number(cluster, name))


def told(cluster: Deployed, code: int, *problems: tuple[str, str]) -> None:
    """Wait until the status has exactly this exit code and these problems, each with its host."""
    seen: Any = None

    def right() -> bool:
        nonlocal seen
        found_code, found = cluster.status(cluster.primary)
        seen = found_code, {(problem["id"], problem["node"]) for problem in found.get("problems", [])}
        return bool(seen == (code, set(problems)))

    with suppress(AssertionError):
        until("the status", right, 60)
    assert seen == (code, set(problems))


def test_backends(cluster: Deployed) -> None:
    """C58, C61, C75, C76: every pgpool has each data node under its own number, used, with weight and role; no other."""
    weights = cluster.wanted("pgpool_weights", {})
    total = sum(weights.get(host.name, 1) for host in cluster.data_nodes)
    for pool in cluster.group("pgpool"):
        found = until(f"{pool.name} to use all", lambda pool=pool: used(cluster, pool), 60, missed=GONE)
        assert {name: int(row["node_id"]) for name, row in found.items()} == {
            host.name: number(cluster, host.name) for host in cluster.data_nodes
        }
        assert {row["port"] for row in found.values()} == {"5432"}
        for name, row in found.items():
            assert float(row["lb_weight"]) == pytest.approx(weights.get(name, 1) / total, abs=0.001), name
        until_all(cluster, pool)
        assert set(node_info(cluster, pool)) == set(found)


def used(cluster: Deployed, pool: Host) -> dict[str, dict[str, Any]]:
    """SHOW POOL_NODES by host name, once all are used and have the roles that they have."""
    found = nodes(cluster, pool)
    roles = {name: row["role"] for name, row in found.items()}
    right = roles == {h.name: "primary" if h == cluster.primary else "standby" for h in cluster.data_nodes}
    return found if right and {row["status"] for row in found.values()} <= set(UP) else {}


def test_writes_go_to_the_primary(cluster: Deployed) -> None:
    """C12: a client that knows the pgpool only can write, and reads what it wrote in the same transaction."""
    for pool in cluster.group("pgpool"):
        with cluster.through(pool) as client:
            client.execute("CREATE TABLE IF NOT EXISTS test_pooled (id int)")
            with client.transaction():
                client.execute("INSERT INTO test_pooled VALUES (1)")
                row = client.execute("SELECT count(*), pg_is_in_recovery() AS standby FROM test_pooled").fetchone()
            assert row == {"count": 1, "standby": False}
            client.execute("DROP TABLE test_pooled")


def test_reads_are_balanced(cluster: Deployed, pool: Host) -> None:
    """C8: sessions read on all backends in their turn, but not where the weight is 0; or on all standbys, where a session
    has to ask by its name."""
    weights = cluster.wanted("pgpool_weights", {})
    named = cluster.wanted("pgpool_read_balancing", "named") == "named"
    candidates = cluster.standbys if named else cluster.data_nodes
    readers = [host for host in candidates if weights.get(host.name, 1)]
    allowed = {ip: host.name for host in readers for ip in host.ips}
    seen: collections.Counter[str] = collections.Counter()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and (len(seen) < len(readers) or sum(seen.values()) < 20):
        with cluster.through(pool, application_name="test standby" if named else "test") as client:
            address = str(client.execute(WHERE).fetchone()["address"]).partition("/")[0]
        assert address in allowed, address
        seen[allowed[address]] += 1
    assert set(seen) == set(allowed.values())
    if len(readers) > 1:
        counts = {name: int(row["select_cnt"]) for name, row in nodes(cluster, pool).items()}
        assert all(counts[name] > 0 for name in seen)


def test_connections_are_pooled(cluster: Deployed, pool: Host) -> None:
    """C13: the same server process serves one client after another, and none inherits another's session."""
    pids: collections.Counter[int] = collections.Counter()
    for _turn in range(3 * int(cluster.wanted("pgpool_max_clients"))):
        with cluster.through(pool) as client:
            with client.transaction():
                client.execute("SELECT set_config('app.inherited', 'yes', false)")
                row = client.execute("SELECT pg_backend_pid() AS pid").fetchone()
            pids[row["pid"]] += 1
        with cluster.through(pool) as client, client.transaction():
            assert client.execute("SELECT current_setting('app.inherited', true) AS i").fetchone()["i"] in (None, "")
        if max(pids.values()) > 1:
            return
    pytest.fail(f"no server process came twice: {pids}")


def test_every_user(cluster: Deployed) -> None:
    """C14, C60: each user with its own password, whatever colons, commas, quotes and backslashes, on each pgpool and node."""
    users = [user["name"] for user in cluster.wanted("users") if user["name"] != "barred"]
    for user in users:
        for pool in cluster.group("pgpool"):
            with cluster.through(pool, user) as client:
                assert client.execute("SELECT session_user AS u").fetchone() == {"u": user}
        with cluster.connect(cluster.primary, user) as client:
            assert client.execute("SELECT session_user AS u").fetchone() == {"u": user}


@pytest.mark.parametrize(
    ("user", "password"),
    [("app", "wrong"), ("app", ""), ("test_unknown", "wrong"), ("postgres", "wrong"), ("repmgr", "")],
)
def test_nobody_else(cluster: Deployed, pool: Host, user: str, password: str) -> None:
    """C14: a wrong password, an unknown user, and pgherd's own roles are refused, by the pool and by the node."""
    given = password or {"repmgr": cluster.passwords["repmgr"]}.get(user, "wrong again")
    for refuse in (cluster.through, cluster.connect):
        with pytest.raises(psycopg.OperationalError, match=REFUSED):
            refuse(pool if refuse == cluster.through else cluster.primary, user, password=given)


def test_settings(cluster: Deployed) -> None:
    """C59: every setting of the inventory as the running pgpool has it, with its commas, colons and quotes."""
    wanted = {key: str(value) for key, value in cluster.wanted("pgpool_settings").items()}
    assert any("'" in value and ":" in value and "," in value for value in wanted.values())
    joined = wanted.pop("primary_routing_query_pattern_list", "")
    wanted["num_init_children"] = str(cluster.wanted("pgpool_max_clients"))
    for pool in cluster.group("pgpool"):
        with cluster.through(pool) as client:
            rows = client.execute("PGPOOL SHOW ALL").fetchall()
        found = {row["item"]: row["value"] for row in rows}
        assert {key: found.get(key) for key in wanted} == wanted
        assert found["primary_routing_query_pattern_list"].startswith(joined)


def test_routing_by_the_users_pattern(cluster: Deployed, pool: Host) -> None:
    """C59: a setting with a colon and a comma does what it says: such a query is the primary's, whoever reads the rest."""
    pattern = cluster.wanted("pgpool_settings").get("primary_routing_query_pattern_list", "")
    if not pattern:
        pytest.skip("the inventory has none")
    for _turn in range(12):
        with cluster.through(pool) as client:
            row = client.execute("SELECT pg_is_in_recovery() AS standby, 'to: the, primary' AS t").fetchone()
        assert row["standby"] is False


# What answers for the session, the transaction or the server it runs in; and last what pgpool itself knows to write.
PRIMARYS = (
    "current_setting('app.test', true)",
    "pg_backend_pid()",
    "pg_current_snapshot()",
    "pg_current_xact_id()",
    "pg_current_xact_id_if_assigned()",
    "txid_current()",
    "pg_my_temp_schema()",
    "(SELECT count(*) FROM pg_listening_channels())",
    "pg_advisory_lock_shared(1)",
)


def reader(cluster: Deployed, pool: Host) -> psycopg.Connection[dict[str, Any]]:
    """A session whose plain reads go to a standby. It reads as all do that have said nothing yet."""
    client = cluster.through(pool, application_name="test standby")
    address = client.execute("SELECT host(inet_server_addr()) AS address").fetchone()["address"]
    assert address not in cluster.primary.ips
    return client


@contextmanager
def lag(cluster: Deployed) -> Iterator[None]:
    """No standby applies what the primary commits."""
    for host in cluster.standbys:
        host.sql("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        for host in cluster.standbys:
            host.sql("SELECT pg_wal_replay_resume()")


@contextmanager
def made(cluster: Deployed, make: str, drop: str) -> Iterator[None]:
    """Objects that app owns, on all nodes."""
    with cluster.connect(cluster.primary, "app") as client:
        client.execute(make)
        end = client.execute("SELECT pg_current_wal_insert_lsn()::text AS lsn").fetchone()["lsn"]
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
        for host in cluster.standbys:
            until(f"replay at {host.name}", lambda host=host: host.value(replayed))
        try:
            yield
        finally:
            client.execute(drop)


def test_what_is_the_primarys_goes_there(cluster: Deployed) -> None:
    """A session that reads on a standby gets from the primary what no standby can answer, and then reads there again."""
    address = "host(inet_server_addr()) AS address"
    for pool in cluster.group("pgpool"):
        with reader(cluster, pool) as client:
            for one in PRIMARYS:
                assert client.execute(f"SELECT {address}").fetchone()["address"] not in cluster.primary.ips
                row = client.execute(f"SELECT {one} AS it, {address}").fetchone()
                assert row["address"] in cluster.primary.ips, one


def test_a_session_reads_what_it_has_set_and_written(cluster: Deployed) -> None:
    """From its first statement that is no plain read on, a session stays on the primary: row security by a setting holds,
    and its own last commit is there, however late the standbys are. So it is from the first for one that asks by name."""
    make = (
        "CREATE TABLE test_own (v int);"
        "CREATE VIEW test_setting AS SELECT current_setting('app.test', true) AS v, host(inet_server_addr()) AS address"
    )
    with made(cluster, make, "DROP TABLE test_own; DROP VIEW test_setting"), lag(cluster):
        for number, pool in enumerate(cluster.group("pgpool"), start=1):
            for verb in ("SELECT set_config('app.test', 'mine', false)", "SET app.test = 'mine'"):
                with reader(cluster, pool) as client:
                    assert client.execute("SELECT * FROM test_setting").fetchone()["address"] not in cluster.primary.ips
                    client.execute(verb)
                    row = client.execute("SELECT * FROM test_setting").fetchone()
                    assert (row["v"], row["address"] in cluster.primary.ips) == ("mine", True)
            with reader(cluster, pool) as client:
                client.execute("INSERT INTO test_own VALUES (1)")
                assert client.execute("SELECT count(*) FROM test_own").fetchone()["count"] == number
            with cluster.through(pool, application_name="test primary") as client:
                assert client.execute("SELECT count(*) FROM test_own").fetchone()["count"] == number


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_transaction_is_on_one_server(cluster: Deployed, level: psycopg.IsolationLevel) -> None:
    """Its snapshot stays, whatever it begins with: of each session that has not asked for standbys, where a session has to
    ask; elsewhere of one that asks for the primary."""
    named = cluster.wanted("pgpool_read_balancing", "named") == "named"
    query = "SELECT v, host(inet_server_addr()) AS address FROM test_moves"
    make = "CREATE TABLE test_moves (v int); INSERT INTO test_moves VALUES (0)"
    with made(cluster, make, "DROP TABLE test_moves"), cluster.connect(cluster.primary, "app") as other:
        for pool in cluster.group("pgpool"):
            for turn in range(4):  # pgpool chooses for each session
                other.execute("UPDATE test_moves SET v = %s", [turn])
                with cluster.through(pool, application_name="test" if named else "test primary") as client:
                    client.isolation_level = level
                    with client.transaction(force_rollback=True):
                        seen = [client.execute(query).fetchone()]
                        other.execute("UPDATE test_moves SET v = 100")
                        seen.append(client.execute(query).fetchone())
                        client.execute("INSERT INTO test_moves VALUES (200)")
                        seen.append(client.execute(f"{query} WHERE v < 200").fetchone())
                assert [(row["v"], row["address"] in cluster.primary.ips) for row in seen] == [(turn, True)] * 3


def test_more_clients_than_places(cluster: Deployed, pool: Host) -> None:
    """C24: clients beyond the limit wait and are served as others leave; with reserved places they are refused."""
    places = int(cluster.wanted("pgpool_max_clients"))
    reserved = int(cluster.wanted("pgpool_reserved_connections", 0))
    served: list[str] = []

    def late() -> None:
        with cluster.through(pool, connect_timeout=60) as client:
            served.append(client.execute(WHERE).fetchone()["address"])

    with ExitStack() as stack:
        for _turn in range(places - reserved):
            # A client of the test before may not have been seen off yet.
            stack.enter_context(until("a place", lambda: cluster.through(pool), missed=GONE))
        if reserved:
            with pytest.raises(psycopg.OperationalError, match=FULL):
                cluster.through(pool)
        else:
            queued = [threading.Thread(target=late) for _turn in range(3)]
            for thread in queued:
                thread.start()
            # They have opened a connection that nobody answers yet.
            waiting = f"ss -Htn state established sport = :{cluster.wanted('pgpool_port', 9999)}"
            until("clients that wait", lambda: len(pool.run(waiting).splitlines()) >= places + 3)
            assert served == []
    if reserved:
        until("a free place", lambda: _answers(cluster, pool))
    else:
        for thread in queued:
            thread.join(30)
        assert len(served) == 3


def _answers(cluster: Deployed, pool: Host) -> bool:
    try:
        cluster.through(pool).close()
    except psycopg.OperationalError:
        return False
    return True


def test_listening_sockets(cluster: Deployed) -> None:
    """Clients from everywhere, the control protocol from the host itself only."""
    port, control = cluster.wanted("pgpool_port", 9999), cluster.wanted("pcp_port", 9898)
    for pool in cluster.group("pgpool"):
        assert pool.shell.service("pgpool2").is_running
        assert pool.shell.service("pgherd-agent").is_running
        sockets = [line.split()[3] for line in pool.run("ss -Hltnp").splitlines() if '"pgpool"' in line]
        local = [address for address in sockets if not address.endswith(f":{port}")]
        assert any(address == f"0.0.0.0:{port}" for address in sockets)
        assert set(local) <= {f"127.0.0.1:{control}", f"[::1]:{control}"}
        assert local


def test_one_pgpool_less(cluster: Deployed) -> None:
    """C11: a client that names both pgpools goes on through the other; the status says which is gone."""
    pools = cluster.group("pgpool")
    if len(pools) < 2:
        pytest.skip("the inventory has one pgpool")
    names, addresses = ",".join(pool.name for pool in pools), ",".join(pool.ip for pool in pools)
    with cluster.stopped(pools[0], "pgpool2"):
        with cluster.through(pools[0], host=names, hostaddr=addresses) as client:
            assert client.execute("SELECT 1 AS one").fetchone() == {"one": 1}
        told(cluster, 1, ("pgpool-down", pools[0].name))


def test_detached_backends(cluster: Deployed, pool: Host) -> None:
    """C75, C76: a pgpool without a backend, or without its primary, is told of; the agent mends both by itself."""
    leaf = cluster.leaves[-1].name
    pool.unit("stop", "pgherd-agent")
    try:
        pcp(cluster, pool, "detach", leaf)
        until_backend(cluster, pool, leaf, "down")
        told(cluster, 1, ("backend-down", pool.name))
        pcp(cluster, pool, "attach", leaf)
        until_backend(cluster, pool, leaf, *UP)
        pcp(cluster, pool, "detach", cluster.primary.name)
        until_backend(cluster, pool, cluster.primary.name, "down")
        told(cluster, 2, ("backend-down", pool.name), ("pgpool-primary", pool.name))
    finally:
        pool.unit("start", "pgherd-agent")
    until_all(cluster, pool)
    cluster.settle()
    until_written(cluster, pool)


def test_a_backend_that_comes_later(cluster: Deployed) -> None:
    """C62: a pgpool that starts while a node is down serves, and has that node among its backends when it is back."""
    pool = cluster.group("pgpool")[-1]
    leaf = cluster.leaves[0]
    with cluster.stopped(leaf, cluster.unit):
        pool.unit("restart", "pgpool2")
        until("service", lambda: _answers(cluster, pool), 60)
        until_backend(cluster, pool, leaf.name, "down")
        until_written(cluster, pool)
    until_all(cluster, pool)


# How a gate ends that has said who is missing, or that it waits five seconds later still.
GATE = """
import subprocess
words = ["pgherd", "gate", "--cluster", "/run/test-cluster.json"]
gate = subprocess.Popen(words, stderr=subprocess.PIPE, universal_newlines=True)
said, line = "", "begun"
while line and "nobody" not in said:
    line = gate.stderr.readline()
    said += line
try:
    end = "exit code %s" % gate.wait(5)
except subprocess.TimeoutExpired:
    end = "waits"
    gate.kill()
print("%s: %s" % (end, said))
"""


def test_gate(cluster: Deployed, pool: Host) -> None:
    """C62: with fewer answering nodes than wanted a pgpool does not start serving; with enough it does at once.

    The wanted number is the inventory's, and one more node than there is stands for one that is down.
    """
    description = json.loads(pool.run("cat /etc/pgherd/cluster.json"))
    assert description["options"]["pgpool_min_backends"] == cluster.wanted("pgpool_min_backends", 1)
    pool.run("timeout 60 pgherd gate")
    description["options"]["pgpool_min_backends"] = len(cluster.data_nodes) + 1
    description["nodes"].append({**description["nodes"][0], "name": "nobody", "id": 99, "address": "127.0.0.9"})
    pool.run("install -m 600 /dev/null /run/test-cluster.json")
    pool.run("printf %%s %s > /run/test-cluster.json", json.dumps(description))
    said = pool.python(GATE)
    assert said.startswith("waits: "), said
    assert "nobody" in said, said
    pool.run("rm /run/test-cluster.json")
