# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Barman, by its own word, by its processes and files, and by what the primary sees of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from deployed import MISSED, Deployed, Host, until


@pytest.fixture
def backup(cluster: Deployed) -> Host:
    """The Barman host."""
    return cluster.group("barman")[0]


def barman(host: Host, words: str, rc: int | None = 0) -> str:
    """A barman command, run as its user."""
    return host.run(f"sudo -u barman barman {words}", rc=rc)


def backups(cluster: Deployed, host: Host) -> dict[str, dict[str, Any]]:
    """The catalogue by backup id."""
    name = cluster.wanted("name")
    return {row["backup_id"]: row for row in json.loads(barman(host, f"-f json list-backups {name}"))[name]}


def archived(cluster: Deployed, host: Host) -> set[str]:
    """WAL segments in the archive."""
    return set(re.findall(r"[0-9A-F]{24}", host.run("find %s -type f", f"{cluster.backups}/wals")))


def test_check(cluster: Deployed, backup: Host) -> None:
    """C63: all of Barman's checks are green: both roles connect, replication works, the receiver runs, backups are there."""
    said = until(
        "green checks",
        lambda: (d := backup.result(f"sudo -u barman barman check {cluster.wanted('name')}")).rc == 0 and d.stdout,
        90,
    )
    for key in (
        "PostgreSQL",
        "PostgreSQL streaming",
        "replication slot",
        "receive-wal running",
        "minimum redundancy requirements",
    ):
        assert re.search(rf"^\s+{key}: OK", said, re.M), said
    assert "FAILED" not in said


def test_finished_backup(cluster: Deployed, backup: Host) -> None:
    """C70: the first run leaves a backup that is whole, with all of its WAL in the archive."""
    found = backups(cluster, backup)
    assert found
    newest = max(found)
    shown = json.loads(barman(backup, f"-f json show-backup {cluster.wanted('name')} {newest}"))[cluster.wanted("name")]
    assert shown["status"] == "DONE"
    base = shown["base_backup_information"]
    assert {base["begin_wal"], base["end_wal"]} <= archived(cluster, backup)
    assert backup.shell.file(f"{cluster.backups}/base/{newest}").user == "barman"
    assert backup.run("stat -c %%a %s", cluster.wanted("barman_directory", "/var/lib/barman")).strip() == "750"


def test_streaming(cluster: Deployed, backup: Host) -> None:
    """C70: pg_receivewal runs as barman, streams from the primary over TLS and keeps its slot; nothing else does."""

    def users() -> bool:
        found = backup.run("ps -o user= -C pg_receivewal", rc=None).split()
        return backup.shell.service("barman-receive-wal").is_running and found == ["barman"]

    until("one receiver, Barman's", users)
    query = (
        "SELECT usename, state, host(client_addr) AS ip, ssl, slot_name, active FROM pg_stat_replication r"
        " JOIN pg_stat_ssl USING (pid) JOIN pg_replication_slots s ON active_pid = r.pid WHERE usename LIKE '%barman%'"
    )
    wanted = {"usename": "streaming_barman", "state": "streaming", "slot_name": "barman", "ssl": True, "active": True}
    ways = [[{**wanted, "ip": ip}] for ip in backup.ips]
    until("the receiver on the primary", lambda: cluster.primary.rows(query) in ways, 60)


def test_a_commit_is_there_at_once(cluster: Deployed, backup: Host) -> None:
    """C70: what is committed reaches Barman's partial segment in seconds, not at the segment's end; a full one is archived."""
    position = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), write_lsn)::bigint FROM pg_stat_replication"
    position += " WHERE usename = 'streaming_barman'"
    cluster.primary.sql("CREATE TABLE test_streamed (); DROP TABLE test_streamed")
    segment = cluster.primary.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
    until("the commit's WAL", lambda: cluster.primary.value(position) <= 0, missed=MISSED)
    # Another may have closed it meanwhile.
    there = backup.run("ls %s", f"{cluster.backups}/streaming")
    assert segment in there or segment in archived(cluster, backup)
    cluster.primary.sql("SELECT pg_switch_wal()")

    def kept() -> bool:
        backup.unit("start", "barman-cron.service")
        return segment in archived(cluster, backup)

    until("the segment in the archive", kept, 90)


def test_units(cluster: Deployed, backup: Host) -> None:
    """C70: backups have their schedule, maintenance runs each minute, and the package's cron file is out of the way."""
    schedule = cluster.wanted("barman_schedule", "*-*-* 02:00:00")
    for timer in ("barman-backup.timer", "barman-cron.timer"):
        assert backup.shell.service(timer).is_enabled
        assert backup.shell.service(timer).is_running
    assert f"OnCalendar={schedule} " in backup.run("systemctl show -P TimersCalendar barman-backup.timer")
    assert not backup.shell.file("/etc/cron.d/barman").exists
    assert backup.shell.service("pgherd-agent").is_running


def test_settings(cluster: Deployed, backup: Host) -> None:
    """C59, C70: the inventory's settings, with quotes, colon, comma and percent sign, are those that Barman runs with."""
    name = cluster.wanted("name")
    shown = json.loads(barman(backup, f"-f json show-servers {name}"))[name]
    for key, value in cluster.wanted("barman_settings", {}).items():
        assert shown[key] == value
    assert shown["retention_policy"].split() == cluster.wanted("barman_retention", "RECOVERY WINDOW OF 7 DAYS").split()
    # Both roles look for the primary themselves, over verified TLS, and hold no password in their lines.
    for key, role in (("conninfo", "barman"), ("streaming_conninfo", "streaming_barman")):
        words = dict(word.partition("=")[::2] for word in shown[key].split())
        assert words["host"].split(",") == [host.name for host in cluster.data_nodes]
        wanted = {"user": role, "sslmode": "verify-full", "target_session_attrs": "read-write"}
        assert {key: words[key].strip("'") for key in wanted} == wanted
        assert "password" not in words


def test_scheduled_backup_and_retention(cluster: Deployed, backup: Host) -> None:
    """C70: the unit that the schedule starts takes a backup; with a short retention the one before it vanishes."""
    if cluster.wanted("barman_retention") != "REDUNDANCY 1":
        pytest.skip("the inventory keeps backups for days")
    before = set(backups(cluster, backup))
    backup.unit("start", "barman-backup.service")
    (new,) = set(backups(cluster, backup)) - before
    backup.unit("start", "barman-cron.service")
    until("the end of the older ones", lambda: set(backups(cluster, backup)) == {new}, 90)
    assert backup.run("ls %s", f"{cluster.backups}/base").split() == [new]
    cluster.settle()
