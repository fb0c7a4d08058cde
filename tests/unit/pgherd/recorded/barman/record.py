# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Recorded the files beside it. Run as root on a Barman host with PostgreSQL on it, a server section ``demo`` that
names both a dead host and this one, and no cron:

    python3 record.py [COMMAND ...] > VERSION/STATE.jsonl

One line of JSON per command: those that only read, and each COMMAND after them. The states, in this order on one host
each (Debian 12: barman 3.4.0 with PostgreSQL 15; Debian 13: barman 3.13.3 with PostgreSQL 17):

    empty        as installed, without the grants; COMMAND: 'barman -f json receive-wal --create-slot demo'
    waiting      granted, receive-wal runs, nothing archived; COMMAND: the same; 'barman -f json backup --wait demo';
                 'barman -f json switch-wal --force --archive --archive-timeout 20 demo'
    running      a WAL file was archived; during a backup
    unchecked    after it, and after 'barman switch-wal --archive demo'
    healthy      after 'barman cron'; COMMAND: 'barman -f json switch-wal --archive --archive-timeout 3 demo'
    failed       after a backup whose pg_basebackup was killed (with 3.13 the catalogue was emptied before)
    silent       then receive-wal stopped
    unreachable  then PostgreSQL stopped; COMMAND: 'barman -f json receive-wal --create-slot demo';
                 'barman -f json switch-wal --archive --archive-timeout 5 demo'; 'barman -f json backup demo'
"""

from __future__ import annotations

import json
import subprocess
import sys

READING = (
    "barman -f json check demo",
    "barman -f json list-backups demo",
    "barman -f json show-backup demo latest",
    "barman -f json status demo",
    "barman -f json replication-status demo",
    "barman -f json show-servers demo",
    "barman -f json check nosuch",
    "barman --version",
)


def run(command: str) -> dict[str, object]:
    """Run *command* as Barman's user."""
    argv = ["runuser", "-u", "barman", "--", *command.split()]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", check=False)
    return {"command": command, "rc": done.returncode, "out": done.stdout, "err": done.stderr}


def main() -> None:
    """Record, oldest backup last."""
    listed = json.loads(str(run("barman -f json list-backups demo")["out"])).get("demo") or []
    shown = [f"barman -f json show-backup demo {item['backup_id']}" for item in listed]
    for command in (*READING, *shown, *sys.argv[1:]):
        print(json.dumps(run(command), sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
