# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Cures of what Barman's host says, run in exactly that state."""

from __future__ import annotations

import time

import pytest
from curing import another_certificate, by_playbook, cured, left_alone, lose, set_, show_certificate
from herd import Herd, cure, group, on, problem, said, status, wait

pytestmark = pytest.mark.more


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
    # It reads the catalogue when a backup was made, else twice an hour.
    on(host, "systemctl", "restart", "pgherd-agent")
    assert cured(herd, "backup-old", host) == "systemctl start barman-backup.service"


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


def test_barmans_slot_that_has_lost_wal(herd: Herd) -> None:
    """The playbook makes another one, and takes a backup: what was written in between is missing."""
    host = group("barman")[0]
    with left_alone(host, units=("pgherd-agent", "barman-cron.timer", "barman-receive-wal")):
        set_(herd, herd.primary, wal_keep_size="0", max_slot_wal_keep_size="48MB")
        try:
            lose(herd, herd.primary)
            by_playbook(herd, ("slot-lost", herd.primary))
        finally:
            set_(herd, herd.primary, wal_keep_size=None, max_slot_wal_keep_size=None)
    backups = "SELECT active AND wal_status <> 'lost' FROM pg_replication_slots WHERE slot_name = 'barman'"
    assert herd.sql(herd.primary, backups).strip() == "t"


def test_a_catalogue_that_could_not_be_read(herd: Herd) -> None:
    """The agent has given up; it reads it when it is started again."""
    host = group("barman")[0]
    server = status(herd.primary)[1]["topology"]["cluster"]
    file = f"/etc/barman.d/{server}.conf"
    on(host, "mv", file, f"{file}.away")
    try:
        on(host, "systemctl", "restart", "pgherd-agent")
        document = wait(herd.primary, lambda seen: ("barman-unreadable", host) in said(seen))
    finally:
        on(host, "mv", f"{file}.away", file)
    cure(problem(document, "barman-unreadable", host))
    wait(herd.primary, lambda seen: ("barman-unreadable", host) not in said(seen))


def test_an_agent_that_shows_a_strangers_certificate(herd: Herd) -> None:
    host = group("barman")[0]
    show_certificate(host, another_certificate(host, 300, trusted=False))
    by_playbook(herd, ("barman-unreadable", host), ("certificate-refused", host))
