# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A client with a role of its own, no superuser: it asks by SQL, through a node or through pgpool."""

from __future__ import annotations

from contextlib import ExitStack, closing, suppress

import psycopg
import pytest
from faults import endstate
from faults.cluster import Cluster, until

from attacks.means import (
    APP,
    ASKING,
    OWN,
    SEAL_LOCK,
    STOP_LOCK,
    client,
    hold,
    locked_from,
    locks,
    started,
    streams,
)

pytestmark = pytest.mark.attack


def test_no_statement_of_a_client_stops_the_primary(cluster: Cluster, primary: str) -> None:
    """The lock by which a switchover asks the primary to stop, and a name that says for whom."""
    before, name = started(cluster, primary), f"{ASKING}{cluster.standbys(primary)[0]}"
    mine = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
    with ExitStack() as doors:
        direct, through = (
            doors.enter_context(closing(client(cluster, door, application_name=name)))
            for door in (primary, cluster.pools[0])
        )
        for session in (direct, through):
            with suppress(psycopg.Error):
                locks(session, SEAL_LOCK, STOP_LOCK)
        hold(3, lambda: cluster.primaries() == [primary], f"{primary} is primary")
        assert direct.execute(mine).fetchone() == (2,)
    assert started(cluster, primary) == before


def test_no_lock_of_a_client_freezes_an_agent(cluster: Cluster, primary: str) -> None:
    """A node that a dead promoter left sealed is let go by its agent, whoever holds the seal's number in his own database."""
    standby = cluster.standbys(primary)[0]
    with closing(client(cluster, standby)) as session:
        locks(session, SEAL_LOCK)
        receiver = "SELECT pid FROM pg_stat_wal_receiver"
        before = cluster.rows(standby, receiver)
        cluster.rows(standby, "ALTER SYSTEM SET primary_conninfo = ''")
        cluster.rows(standby, "SELECT pg_reload_conf()")
        until(f"{standby} to lose its stream", lambda: cluster.rows(standby, receiver) != before, 30)
        until(f"the agent of {standby} to let it stream again", lambda: streams(cluster, standby), 60)


@pytest.mark.parametrize("door", ["primary", "standby", "pgpool"])
def test_no_client_comes_into_pgherds_database(cluster: Cluster, primary: str, door: str) -> None:
    """Right password, right network, wrong database."""
    host = {"primary": cluster.primary(), "standby": cluster.standbys(primary)[0], "pgpool": cluster.pools[0]}[door]
    client(cluster, host).close()
    with pytest.raises(psycopg.OperationalError, match=r"reject|no pg_hba|pool_hba|permission denied for database"):
        client(cluster, host, database=OWN)


def test_nobody_but_an_agent_keeps_a_node_from_being_promoted(cluster: Cluster, primary: str) -> None:
    """Whoever has a role takes the locks of a promotion wherever he is let in: a client, a pgpool host by the monitoring
    role, a witness by repmgr's. A switchover goes on."""
    endstate.gate(cluster)  # else it would be refused, and right so
    target = cluster.standbys(primary)[0]
    numbers = (SEAL_LOCK, STOP_LOCK)
    with ExitStack() as sessions:
        for node in cluster.nodes:
            for database in (APP, OWN):
                with suppress(psycopg.OperationalError):
                    locks(sessions.enter_context(closing(client(cluster, node, database=database))), *numbers)
        witness = cluster.standbys(primary)[1]
        for where, role in ((cluster.pools[0], "pgherd_monitor"), (witness, "repmgr")):
            for node in cluster.nodes:
                sessions.enter_context(locked_from(cluster, where, role, node, *numbers))
        run = cluster.play("switchover", {"cluster_switchover_to": target})
    assert run.rc == 0, run
    assert cluster.primary() == target


def test_pgherds_own_have_places_that_no_client_takes(cluster: Cluster, primary: str) -> None:
    """What keeps them in when clients have taken all (F30 takes all)."""
    if cluster.version < 16:
        pytest.skip("PostgreSQL 16 has the first reserved connections")
    assert cluster.value(primary, "SELECT current_setting('reserved_connections')::int") >= 5
    may = "SELECT rolname AS name FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_' AND"
    found = cluster.rows(primary, f"{may} pg_has_role(oid, 'pg_use_reserved_connections', 'USAGE') ORDER BY 1")
    assert {row["name"] for row in found} >= {"pgherd_agent", "pgherd_monitor", "repmgr"}
    assert {row["name"] for row in found} & {"app", "tenant"} == set()
