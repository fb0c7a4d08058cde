# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""An administrator of the database, a superuser by right, who sets what PostgreSQL lets him set and takes away what all had:
nothing of the cluster's goes blind by it, and no audit is filled by it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

import psycopg
import pytest
from faults import endstate
from faults.cluster import APP, Cluster, until

from attacks.means import OWN

pytestmark = pytest.mark.attack

# For all roles. A standby refuses every statement of a serializable session.
DEFAULTS = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "50ms",
    "lock_timeout": "1ms",
    "idle_session_timeout": "900ms",
    "idle_in_transaction_session_timeout": "900ms",
    "search_path": "nowhere",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "TimeZone": "America/Caracas",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "exit_on_error": "on",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_custom_plan",
    "default_tablespace": "nowhere",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_executor_stats": "on",
}
OWN_ROLES = ("repmgr", "pgherd_agent", "pgherd_monitor", "pgpool_check", "barman")
# Roles of others have what they had.
BACK = (
    f"ALTER ROLE {APP} SET default_transaction_isolation = 'read committed'",
    f"ALTER ROLE {APP} SET statement_timeout = 0",
    f"ALTER ROLE {APP} SET idle_session_timeout = 0",  # docs/pgpool.md
)
# The test's own sessions come in.
TRIGGER = (
    "CREATE FUNCTION public.nobody() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF current_setting('application_name') <> 'faults' THEN RAISE EXCEPTION 'no login'; END IF; END $$",
    "CREATE EVENT TRIGGER nobody ON login EXECUTE FUNCTION public.nobody()",
    "ALTER EVENT TRIGGER nobody ENABLE ALWAYS",
)


def _run(cluster: Cluster, node: str, statements: Iterable[str], database: str = "postgres") -> None:
    """As superuser, in one session that waits for no standby."""
    with psycopg.connect(cluster.place.sql(node, database), connect_timeout=10, autocommit=True) as session:
        for statement in ("SET synchronous_commit = local", *statements):
            session.execute(statement)  # type: ignore[arg-type]


@pytest.fixture
def hardened(cluster: Cluster, primary: str) -> Iterator[str]:
    """The primary of a cluster in which that has been done, on all nodes."""
    settings = [f"ALTER ROLE ALL SET {name} = '{value}'" for name, value in DEFAULTS.items()]
    rights = [f"{{}} CONNECT ON DATABASE {name} {{}} PUBLIC" for name in ("postgres", "template1")]
    functions = (
        "{} EXECUTE ON FUNCTION query_to_xml(text,boolean,boolean,text), set_config(text,text,boolean) {} PUBLIC"
    )
    taken = [right.format("REVOKE", "FROM") for right in rights]
    given = [right.format("GRANT", "TO") for right in rights]
    triggers = ("postgres", OWN) if cluster.version >= 17 else ()
    try:
        _run(cluster, primary, [*BACK, *taken, *settings])
        _run(cluster, primary, [functions.format("REVOKE", "FROM")], OWN)
        for database in triggers:
            _run(cluster, primary, TRIGGER, database)
        yield primary
    finally:
        for database in triggers:
            _run(cluster, primary, ["DROP FUNCTION IF EXISTS public.nobody() CASCADE"], database)
        _run(cluster, primary, [functions.format("GRANT", "TO")], OWN)
        _run(cluster, primary, ["ALTER ROLE ALL RESET ALL", f"ALTER ROLE {APP} RESET ALL", *given])


def test_nothing_depends_on_what_all_sessions_begin_with(cluster: Cluster, hardened: str) -> None:
    """All that keeps sessions open begins anew: agents, repmgrd, a pgpool. Then everything is well, Barman and the status too."""
    standby = cluster.standbys(hardened)[0]
    position = cluster.value(hardened, "SELECT pg_current_wal_insert_lsn()::text")
    arrived = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
    until(f"{standby} to have it", lambda: cluster.value(standby, arrived), 60)
    since = time.time()
    for host, more in ((hardened, "repmgrd"), (standby, "repmgrd"), (cluster.pools[0], "pgpool")):
        cluster.place.service(host, "restart", "agent", more)
    endstate.gate(cluster)
    # On a busy machine one look may be late.
    until(
        f"{cluster.pools[0]} to find nothing wrong",
        lambda: '"problems": []' in cluster.run(cluster.pools[0], "pgherd", "status", "--json", check=False),
        90,
    )
    _no_word_of_ours(cluster, standby, since)
    _no_word_of_ours(cluster, hardened, since)


def _no_word_of_ours(cluster: Cluster, node: str, since: float) -> None:
    """Nothing that our roles asked *since* then is in the server's log, where every statement is to be."""
    log = cluster.run(node, "tail", "-n", "4000", f"/var/log/postgresql/postgresql-{cluster.version}-main.log")
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since + 1))
    lines = [line for line in log.splitlines() if line[:19] > begun and re.match(r"\d{4}-", line)]
    assert any("statement:" in line for line in lines), "no statement of others either"
    ours = [line for line in lines if re.search(rf"\] '?\S*'?:? ?({'|'.join(OWN_ROLES)})@", line)]
    assert [line for line in ours if re.search(r"LOG: .*(statement|duration|STATISTICS)", line)] == []


def test_what_is_read_only_for_all_is_no_fence(cluster: Cluster, primary: str) -> None:
    """An agent would wait for ever to lift it."""
    try:
        _run(cluster, primary, ["ALTER ROLE ALL SET default_transaction_read_only = on"])
        found = endstate.status(cluster, primary)["problems"]
    finally:
        _run(cluster, primary, ["SET default_transaction_read_only = off", "ALTER ROLE ALL RESET ALL"])
    assert [problem for problem in found if problem["id"] == "fenced"] == []
