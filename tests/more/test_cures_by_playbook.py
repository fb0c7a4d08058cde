# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures that are the site playbook, which is run in exactly that state: what was changed by hand is stated again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import pytest
from curing import (
    REPMGR,
    SITE,
    another_certificate,
    by_playbook,
    cured,
    goes_on,
    in_file,
    left_alone,
    place,
    set_,
    show_certificate,
)
from deployed import described, until
from herd import Herd, cure, group, healthy, on, problem, said, wait

pytestmark = pytest.mark.more
MONITOR = "pgherd_monitor"
CERTIFICATE = "/etc/pgherd/tls/server.crt"


def configuration(herd: Herd, node: str) -> str:
    """Where postgresql.conf is."""
    return herd.sql(node, "SHOW config_file").strip().rpartition("/")[0]


@contextmanager
def said_by_hand(herd: Herd, node: str, line: str) -> Iterator[None]:
    """A file of an administrator's own, which the playbook keeps, has a line more; in the end its server goes by it no more."""
    path = f"{configuration(herd, node)}/conf.d/99-by-hand.conf"
    on(node, "sh", "-c", 'echo "$1" >"$2"', "sh", line, path)
    herd.sql(node, "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        on(node, "rm", path)
        on(node, "systemctl", "restart", herd.unit())


def test_what_is_stated_again(herd: Herd) -> None:
    """A registration, a certificate that ends, a password that ends, a setting that waits, names that are not those."""
    host, waits = group("barman")[0], next(name for name in herd.nodes if name not in (herd.primary, herd.leaf))
    # Until it is put there again it is also what the next run would take.
    text = another_certificate(host, 30, trusted=True)
    (described().secrets / f"hosts/{host}.crt").write_text(text)
    show_certificate(host, text)
    herd.sql(herd.primary, f"ALTER ROLE {MONITOR} VALID UNTIL '{date.today() + timedelta(days=3)}'")
    with said_by_hand(herd, waits, "max_files_per_process = 999"), left_alone(herd.leaf):
        on(herd.primary, *REPMGR, f"DELETE FROM repmgr.nodes WHERE node_name = '{herd.leaf}'")
        in_file(herd, "")
        wanted = {"password-ends": herd.primary, "sync-names": herd.primary, "not-registered": herd.leaf}
        by_playbook(herd, ("certificate-ends", host), ("pending-restart", waits), *wanted.items())


def test_names_that_alter_system_has_set(herd: Herd) -> None:
    """They go before the file that the playbook writes."""
    set_(herd, herd.primary, synchronous_standby_names="")
    assert "RESET synchronous_standby_names" in cured(herd, "sync-names", herd.primary)


def test_nodes_that_let_nobody_look(herd: Herd) -> None:
    """One rejects where we come from, the other one shows a stranger's certificate."""
    other = next(name for name in herd.nodes if name not in (herd.primary, herd.leaf))
    file = herd.sql(herd.leaf, "SHOW hba_file").strip()
    on(herd.leaf, "sed", "-i", f"1i hostssl all {MONITOR} all reject", file)
    herd.sql(herd.leaf, "SELECT pg_reload_conf()")
    show_certificate(other, another_certificate(other, 300, trusted=False), herd.unit())
    by_playbook(herd, ("node-down", herd.leaf), ("node-down", other), ("certificate-refused", other))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (f"ALTER ROLE {MONITOR} PASSWORD 'another'", "node-down"),
        (f"REVOKE CONNECT ON DATABASE repmgr FROM {MONITOR}", "node-down"),
        (f"REVOKE USAGE ON SCHEMA repmgr FROM {MONITOR}", "metadata-unreadable"),
    ],
    ids=["password", "connect", "schema"],
)
def test_a_role_that_may_not_look(herd: Herd, statement: str, kind: str) -> None:
    """On all nodes at once: all that is known comes from it."""
    on(herd.primary, *REPMGR, statement)
    by_playbook(herd, *((kind, node) for node in herd.nodes))


def test_a_right_that_everybody_had(herd: Herd) -> None:
    """It is not the playbook's to give to all."""
    view = "pg_stat_progress_basebackup"
    on(herd.primary, *REPMGR, f"REVOKE SELECT ON {view} FROM PUBLIC")
    try:
        assert "GRANT SELECT" in cured(herd, "details-unreadable", herd.leaf)
    finally:
        on(herd.primary, *REPMGR, f"GRANT SELECT ON {view} TO PUBLIC; REVOKE SELECT ON {view} FROM {MONITOR}")


def test_a_right_without_which_nothing_is_known(herd: Herd) -> None:
    """No node's state can be read, and so not who is primary, who alone could grant it."""
    what = "FUNCTION pg_postmaster_start_time()"
    on(herd.primary, *REPMGR, f"REVOKE EXECUTE ON {what} FROM PUBLIC")
    try:
        cured(herd, "node-down", herd.primary)
        wait(herd.primary, healthy)
    finally:
        on(herd.primary, *REPMGR, f"GRANT EXECUTE ON {what} TO PUBLIC; REVOKE EXECUTE ON {what} FROM {MONITOR}")


def test_a_limit_that_the_primary_has_raised(herd: Herd) -> None:
    """By ALTER SYSTEM. One standby has its own by ALTER SYSTEM too, another one was restarted and does not start; and then it is
    taken back."""
    other = next(name for name in reversed(herd.nodes) if name not in (herd.primary, herd.leaf))
    now = int(herd.sql(herd.primary, "SHOW max_connections"))
    set_(herd, herd.leaf, max_connections=str(now))
    with left_alone(*herd.nodes):
        set_(herd, herd.primary, max_connections=str(now + 50))
        on(herd.primary, "systemctl", "restart", herd.unit())
    wait(herd.primary, lambda seen: {("replay-paused", name) for name in (other, herd.leaf)} <= said(seen))
    on(other, "systemctl", "restart", "--no-block", herd.unit())
    document = wait(
        herd.primary, lambda seen: ("node-down", other) in said(seen) and short(problem(seen, "node-down", other))
    )
    assert problem(document, "node-down", other)["cure"] == SITE
    # Reset, it is still what it was started with.
    assert "RESET max_connections" in problem(document, "replay-paused", herd.leaf)["cure"]["command"]
    commands = goes_on(herd, "replay-paused", herd.leaf)
    assert [command == SITE["command"] for command in commands] == [False, True], commands
    wait(herd.primary, healthy, 120.0)
    set_(herd, herd.primary, max_connections=None)
    assert "cluster_restart_primary=true" in cured(herd, "pending-restart", herd.primary)
    wait(herd.primary, healthy, 120.0)
    assert int(herd.sql(herd.primary, "SHOW max_connections")) == now


def short(found: dict[str, object]) -> bool:
    """Whether it does not start for its limits."""
    return "insufficient parameter settings" in str(found["text"])


def test_a_tablespace_that_was_made_by_sql(herd: Herd) -> None:
    """One host has no directory for it, and its server does not run without."""
    path = "/srv/by_hand"
    for name in herd.nodes:
        if name != herd.leaf:
            on(name, "install", "-d", "-o", "postgres", "-m", "700", path)
    herd.sql(herd.primary, f"CREATE TABLESPACE by_hand LOCATION '{path}'")
    try:
        document = wait(
            herd.primary,
            lambda seen: (
                ("node-down", herd.leaf) in said(seen)
                and "in cluster_tablespaces" in problem(seen, "node-down", herd.leaf)["text"]
            ),
        )
        assert path in problem(document, "node-down", herd.leaf)["text"]
        spaces = [*described().wanted("tablespaces", []), {"name": "by_hand", "location": path}]
        by_playbook(herd, ("node-down", herd.leaf), more=("-e", json.dumps({"cluster_tablespaces": spaces})))
        wait(herd.primary, healthy, 120.0)
    finally:
        herd.sql(herd.primary, "DROP TABLESPACE by_hand")
    checkpointed(herd)
    for name in herd.nodes:
        on(name, "rmdir", path, expect=None)


def checkpointed(herd: Herd) -> None:
    """No server that starts again replays what was before: that would need the directory, and the server would not run."""
    for name in (herd.primary, *(set(herd.nodes) - {herd.primary})):
        at = herd.sql(herd.primary, "SELECT pg_current_wal_lsn()").strip()
        replayed = f"SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= '{at}'"
        until(
            f"{name} to have replayed {at}", lambda name=name, asked=replayed: herd.sql(name, asked).strip() == "t", 60
        )
        herd.sql(name, "CHECKPOINT")


def test_an_electable_node_that_could_not_be_told(herd: Herd) -> None:
    """Another number of confirmations was asked for while its host was off; then it is back, and the inventory as before."""
    hosts, away = place(), next(name for name in herd.nodes if name != herd.primary and confirms(herd, name))
    wanted = int(described().wanted("sync_standbys", 1)) + 1
    hosts.power_off(away)
    try:
        with pytest.raises(AssertionError, match=f"{away}.*unreachable=1"):
            cure({"cure": SITE}, "-e", f"cluster_sync_standbys={wanted}")
        wait(herd.primary, lambda seen: ("sync-unfinished", herd.primary) in said(seen))
    finally:
        hosts.power_on(away)
    wait(herd.primary, lambda seen: ("node-down", away) not in said(seen), 120.0)
    by_playbook(herd, ("sync-unfinished", herd.primary))


def confirms(herd: Herd, name: str) -> bool:
    """Whether a node may confirm commits."""
    return f'"{name}"' in herd.sql(herd.primary, "SHOW synchronous_standby_names")


def test_a_node_that_serves_another_clusters_data(herd: Herd) -> None:
    """Somebody has started it past its unit, and so past the guard, which would not have. It is stopped; and it is replaced
    where that is said."""
    leaf, data = herd.leaf, herd.sql(herd.leaf, "SHOW data_directory").strip()
    # A server keeps what it is started with, and so would the session.
    by_hand = (
        "sudo",
        "-u",
        "postgres",
        "sh",
        "-c",
        f"pg_ctlcluster {herd.version} main start >/dev/null 2>&1 </dev/null",
    )
    stop = f"pg_ctlcluster {herd.version} main stop"
    with left_alone(*herd.nodes):
        on(leaf, "systemctl", "stop", herd.unit())
        on(leaf, "find", data, "-mindepth", "1", "-delete")
        on(leaf, "sudo", "-u", "postgres", f"/usr/lib/postgresql/{herd.version}/bin/initdb", "-D", data)
        on(leaf, *by_hand)
        # Whoever looks has to be let in.
        made = "CREATE ROLE pgherd_monitor LOGIN IN ROLE pg_monitor PASSWORD "
        made = f"'SET synchronous_commit = off; {made}' || quote_literal(rolpassword)"
        role = herd.sql(herd.primary, f"SELECT {made} FROM pg_authid WHERE rolname = 'pgherd_monitor'")
        herd.sql(leaf, role)
        assert cured(herd, "two-primaries", leaf) == stop
        on(herd.primary, "systemctl", "stop", herd.unit())
        on(leaf, *by_hand)
        assert cured(herd, "system-id", leaf) == stop
        assert cured(herd, "no-primary", "") == f"systemctl start {herd.unit()}"
        # Beside two primaries the playbook would refuse: first it is stopped, then the guard says what it holds.
        on(leaf, *by_hand)
        wait(herd.primary, lambda seen: {("two-primaries", leaf), ("system-id", leaf)} <= said(seen))
        assert cured(herd, "system-id", leaf) == stop
    down = wait(herd.primary, lambda seen: ("node-down", leaf) in said(seen))
    cure(problem(down, "node-down", leaf), expect=(1,))
    assert "cluster_wipe" in cured(herd, "node-down", leaf, naming="its start is refused")
    wait(herd.primary, healthy, 120.0)
