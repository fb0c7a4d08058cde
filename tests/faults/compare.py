# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether all nodes hold the same data, and whole ones: a node that streams is not yet a node that is right.

Rows of all tables are compared, heaps and indexes are checked against each other by pg_amcheck, and pages that failed their
checksum are asked for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from faults.cluster import APP, Cluster, LabError, until

REPLAY, SETTLE = 60.0, 30.0  # seconds: for standbys to replay, and for what is written meanwhile to be everywhere
_TABLES = """\
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"""
_ROWS = "SELECT count(*) AS n, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS hash FROM {} t"
_FAILURES = "SELECT coalesce(sum(checksum_failures), 0)::int FROM pg_stat_database"


def prepare(cluster: Cluster, primary: str) -> None:
    """What differences() needs in the database."""
    cluster.rows(primary, "CREATE EXTENSION IF NOT EXISTS amcheck", APP)


def differences(cluster: Cluster) -> list[str]:
    """In what nodes differ from the primary, or are not whole, in sentences; none where all is well."""
    primary = cluster.primary()
    lsn = cluster.value(primary, "SELECT pg_current_wal_insert_lsn()::text")
    for node in cluster.nodes:
        if node != primary:
            replayed = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"
            until(f"{node} to replay", partial(cluster.value, node, replayed), REPLAY)
    deadline = time.monotonic() + SETTLE
    while (found := list(_rows(cluster, primary))) and time.monotonic() < deadline:
        time.sleep(0.3)  # between two looks
    return found + list(_whole(cluster))


def _rows(cluster: Cluster, primary: str) -> Iterator[str]:
    def ask(node: str) -> dict[str, Any]:
        return {
            f"{database} {table}": cluster.rows(node, _ROWS.format(table), database)
            for database in cluster.databases
            for table in (row["name"] for row in cluster.rows(node, _TABLES, database))
        }

    found = cluster.each(ask)
    truth = found.pop(primary)
    for node, theirs in found.items():
        if isinstance(theirs, Exception) or isinstance(truth, Exception):
            yield f"{node}: its rows cannot be read: {theirs if isinstance(theirs, Exception) else truth}"
            continue
        for table in sorted({*truth, *theirs}):
            if theirs.get(table) != truth.get(table):
                yield f"{node} has {theirs.get(table)} in {table}, the primary {primary} {truth.get(table)}"


def _whole(cluster: Cluster) -> Iterator[str]:
    def check(node: str) -> str:
        program = f"/usr/lib/postgresql/{cluster.version}/bin/pg_amcheck"
        try:
            cluster.place.run_as(node, "postgres", program, f"--database={APP}", "--heapallindexed")
        except LabError as error:
            return f"{node}: {error}"
        failed = cluster.value(node, _FAILURES)
        return f"{node}: {failed} pages failed their checksum" if failed else ""

    yield from (str(said) for said in cluster.each(check).values() if said)


def main() -> int:
    """``python -m faults.compare CLUSTER INVENTORY``: what differs, one sentence a line; exit code 1 if anything does."""
    cluster = Cluster(sys.argv[1], Path(sys.argv[2]))
    prepare(cluster, cluster.primary())
    found = differences(cluster)
    print("\n".join(found) or "nothing differs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
