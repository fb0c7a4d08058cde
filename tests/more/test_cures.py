# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What status prints as the cure of a problem is run in that state, word for word, and ends it.

Those that other tests run are named in tests/unit/pgherd/test_cures.py, which has a line for each problem. Works on any converged
cluster of three data nodes or more with a pgpool and a Barman, whose replication nobody else changes at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from herd import Herd, cure, group, healthy, on, problem, said, status, wait

pytestmark = pytest.mark.more
ACTING = ("pgherd-agent", "repmgrd")
REPMGR = ("sudo", "-u", "postgres", "psql", "-XAtqd", "repmgr", "-c")


@pytest.fixture
def herd() -> Iterator[Herd]:
    """The cluster as it is, well before and after."""
    found = Herd()
    wait(found.primary, healthy, 120.0)
    yield found
    wait(found.primary, healthy, 120.0)


@contextmanager
def left_alone(*hosts: str, units: tuple[str, ...] = ACTING) -> Iterator[None]:
    """Nobody mends or promotes there meanwhile."""
    for host in hosts:
        on(host, "systemctl", "stop", *units)
    try:
        yield
    finally:
        for host in hosts:
            on(host, "systemctl", "start", *units, expect=None)


def cured(herd: Herd, kind: str, node: str, limit: float = 90.0, ask: str = "") -> str:
    """Wait until the problem is shown, run its cure, wait until it is gone. The command. *ask*: the host whose status it is."""
    asked = ask or herd.primary
    document = wait(asked, lambda seen: (kind, node) in said(seen), limit)
    found = problem(document, kind, node)
    cure(found)
    wait(asked, lambda seen: (kind, node) not in said(seen), 180.0)
    return str(found["cure"]["command"])


def set_(herd: Herd, node: str, **settings: str | None) -> None:
    """ALTER SYSTEM and reload; None resets."""
    for name, value in settings.items():
        herd.sql(node, f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = '{value}'")
    herd.sql(node, "SELECT pg_reload_conf()")


def upstream(herd: Herd, name: str) -> str:
    """Whom a node streams from."""
    nodes = status(herd.primary)[1]["topology"]["nodes"]
    return str(next(view["postgres"]["upstream"] for view in nodes if view["name"] == name))


def electable(herd: Herd) -> list[str]:
    """Standbys that confirm commits."""
    names = herd.sql(herd.primary, "SHOW synchronous_standby_names")
    return [name for name in herd.nodes if f'"{name}"' in names and name != herd.primary]


def backend(herd: Herd, pool: str, node: str) -> int:
    """The number of a node's backend."""
    views = status(herd.primary)[1]["topology"]["pgpools"]
    return next(row["id"] for view in views if view["name"] == pool for row in view["backends"] if row["node"] == node)


def test_no_primary(herd: Herd) -> None:
    with left_alone(*herd.nodes):
        on(herd.primary, "systemctl", "stop", herd.unit())
        command = cured(herd, "no-primary", "", ask=herd.leaf)
        assert command == f"systemctl start {herd.unit()}"


def test_too_few_standbys(herd: Herd) -> None:
    """Writes wait, the fence is up: the node that is named comes back, and then the others."""
    down = electable(herd)
    # Others would stream from the primary itself then.
    down += [name for name in herd.nodes if name not in (*down, herd.primary)]
    for name in reversed(down):
        on(name, "systemctl", "stop", herd.unit())
    primary = herd.primary
    wanted = {("fenced", primary), ("sync-missing", primary), ("no-standby", primary)}
    document = wait(primary, lambda seen: wanted <= said(seen))
    cures = [problem(document, kind, node)["cure"] for kind, node in wanted]
    assert all(one == {"on": down[0], "command": f"systemctl start {herd.unit()}"} for one in cures), cures
    cure(problem(document, "fenced", primary))
    wait(primary, lambda seen: not wanted & said(seen), 120.0)
    for name in down[1:]:
        document = wait(primary, lambda seen, name=name: ("node-down", name) in said(seen))
        found = "sync-no-spare" if ("sync-no-spare", primary) in said(document) else "node-down"
        cured(herd, found, primary if found == "sync-no-spare" else name)


def test_a_second_primary(herd: Herd) -> None:
    """Its agent does not run, and who started it so goes on by what is printed until all is well."""
    leaf, pool = herd.leaf, group("pgpool")[-1]
    with left_alone(leaf), left_alone(pool, units=("pgherd-agent",)):
        herd.sql(leaf, "SELECT pg_promote()")
        document = wait(herd.primary, lambda seen: ("two-primaries", leaf) in said(seen))
        if ("backend-stale", pool) in said(document):
            cured(herd, "backend-stale", pool)
        cured(herd, "two-primaries", leaf)
        cured(herd, "node-down", leaf)
        # It comes back as a standby, with a history of its own.
        assert cured(herd, "not-streaming", leaf) == "systemctl restart pgherd-agent"


def test_a_backend_of_a_node_that_is_down(herd: Herd) -> None:
    pool = group("pgpool")[-1]
    with left_alone(pool, units=("pgherd-agent",)):
        on(herd.leaf, "systemctl", "stop", herd.unit())
        try:
            document = wait(herd.primary, lambda seen: ("node-down", herd.leaf) in said(seen))
            if ("backend-stale", pool) in said(document):
                assert "pcp_detach_node" in cured(herd, "backend-stale", pool)
        finally:
            on(herd.leaf, "systemctl", "start", herd.unit())


def test_a_pgpool_without_the_primary(herd: Herd) -> None:
    pool = group("pgpool")[-1]
    number = backend(herd, pool, herd.primary)
    with left_alone(pool, units=("pgherd-agent",)):
        login = ("-h", "localhost", "-U", "pgherd", "-w", "-n", str(number))
        on(pool, "env", "PCPPASSFILE=/etc/pgherd/pcp.pass", "pcp_detach_node", *login)
        assert cured(herd, "pgpool-primary", pool) == "systemctl restart pgpool2"


def test_another_upstream(herd: Herd) -> None:
    """repmgr's metadata name another one than it streams from."""
    other = next(name for name in herd.nodes if name not in (herd.leaf, upstream(herd, herd.leaf)))
    there = f"(SELECT node_id FROM repmgr.nodes WHERE node_name = '{other}')"
    with left_alone(herd.leaf):
        update = f"UPDATE repmgr.nodes SET upstream_node_id = {there} WHERE node_name = '{herd.leaf}'"
        on(herd.primary, *REPMGR, update)
        assert "standby follow" in cured(herd, "wrong-upstream", herd.leaf)
        assert upstream(herd, herd.leaf) == other
        # Where it confirms commits it has to stream from the primary itself.
        if ("sync-no-spare", herd.primary) in said(status(herd.primary)[1]):
            assert "standby follow" in cured(herd, "sync-no-spare", herd.primary)
            assert upstream(herd, herd.leaf) == herd.primary


def test_a_slot_that_its_owner_does_not_read(herd: Herd) -> None:
    """It runs, and streams without it."""
    source = upstream(herd, herd.leaf)
    # The agent of a standby moves slots on that are not read there.
    with left_alone(herd.leaf, source):
        set_(herd, herd.leaf, primary_slot_name="")
        wait(herd.primary, lambda seen: ("not-streaming", herd.leaf) not in said(seen))
        herd.write(96)
        cured(herd, "slot-inactive", source)


def test_barmans_slot_that_is_not_read(herd: Herd) -> None:
    """What it keeps is what the archive lacks."""
    host = group("barman")[0]
    with left_alone(host, units=("pgherd-agent",)):
        on(host, "systemctl", "stop", "barman-cron.timer", "barman-receive-wal")
        try:
            herd.write(96)
            command = cured(herd, "slot-inactive", herd.primary)
            assert command == "systemctl restart barman-receive-wal.service"
        finally:
            on(host, "systemctl", "start", "barman-cron.timer", "barman-receive-wal")


def test_a_standby_that_does_not_stream(herd: Herd) -> None:
    """It is pointed elsewhere, and starting it again would not have it stream."""
    source = upstream(herd, herd.leaf)
    with left_alone(herd.leaf, source):
        set_(herd, herd.leaf, primary_conninfo="host=127.0.0.1 port=1")
        assert cured(herd, "not-streaming", herd.leaf) == "systemctl restart pgherd-agent"


def test_a_timeline_that_is_behind(herd: Herd) -> None:
    """The primary has begun another while the standby was pointed elsewhere."""
    data = herd.sql(herd.primary, "SHOW data_directory").strip()
    with left_alone(*herd.nodes):
        set_(herd, herd.leaf, primary_conninfo="host=127.0.0.1 port=1")
        wait(herd.primary, lambda seen: ("not-streaming", herd.leaf) in said(seen))
        on(herd.primary, "systemctl", "stop", herd.unit())
        on(herd.primary, "install", "-o", "postgres", "-m", "600", "/dev/null", f"{data}/standby.signal")
        on(herd.primary, "systemctl", "start", herd.unit())
        herd.sql(herd.primary, "SELECT pg_promote()")
        assert cured(herd, "timeline-behind", herd.leaf) == "systemctl restart pgherd-agent"


def test_a_collation_that_has_changed(herd: Herd) -> None:
    """The lab's own locale, C.UTF-8, has no version."""
    make = "CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING 'UTF8'"
    herd.sql(herd.primary, make)
    try:
        herd.sql(herd.primary, "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'sorted'")
        assert "REINDEX DATABASE sorted" in cured(herd, "collation-version", herd.primary)
    finally:
        herd.sql(herd.primary, "DROP DATABASE sorted WITH (FORCE)")


def test_an_old_backup(herd: Herd) -> None:
    host = group("barman")[0]
    server = status(herd.primary)[1]["topology"]["cluster"]
    where = f"/var/lib/barman/{server}"
    age = (
        "import glob, re\n"
        f"for path in glob.glob('{where}/meta/*backup.info') + glob.glob('{where}/base/*/backup.info'):\n"
        "    text = open(path).read()\n"
        "    text = re.sub('(?m)^end_time=.*$', 'end_time=2026-01-01 00:00:00.000000+00:00', text)\n"
        "    open(path, 'w').write(text)\n"
    )
    on(host, "python3", "-c", age)
    assert cured(herd, "backup-old", host, 180.0) == "systemctl start barman-backup.service"


def test_an_archive_that_is_behind(herd: Herd) -> None:
    """Nobody has brought what was received into the archive for more than ten minutes."""
    host = group("barman")[0]
    server = status(herd.primary)[1]["topology"]["cluster"]
    on(host, "systemctl", "stop", "barman-cron.timer")
    try:
        herd.write(64)
        ago = time.time() - 1200
        on(host, "sh", "-c", f"find /var/lib/barman/{server}/wals -type f -exec touch -d @{ago:.0f} {{}} +")
        assert cured(herd, "archive-behind", host).endswith("barman cron")
    finally:
        on(host, "systemctl", "start", "barman-cron.timer")
