# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Barman 3.4 to 3.13: its commands, what they print with ``-f json``, what it needs in PostgreSQL.

With ``-f json`` every command prints one object. Messages stand in ``_INFO``, ``_WARNING``, ``_ERROR`` and
``_EXCEPTION``, lists of sentences; results stand below the server's name. Exit codes: 0, or 1 when there was an error
or, of ``check``, when any check failed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import CommandError, ProtocolError
from ..model import BARMAN_ROLE, BARMAN_STREAMING_ROLE
from ..objects.roles import Grant, Role
from ..objects.shield import own_settings
from ..ports import processes
from ..ports.directories import around
from ..ports.run import Result, Runner
from .barman_view import Backup, Check

PROGRAM = "/usr/bin/barman"
USER = "barman"
# What Barman has receive WAL, since PostgreSQL 10.
RECEIVER = "pg_receivewal"

# Keys of checks that decide what is to be done; there are some forty others, and each release may bring new ones.
CHECK_ARCHIVE = "wal_archive"
CHECK_IDENTITY = "systemid_coherence"


def process(lock_directory: str, server: str, task: str) -> int:
    """The number of Barman's process for *task* (``backup``, ``receive-wal``, ``cron``) on this host, 0 where none lives.

    Each holds a lock file with its number; the file may outlive it. Asking for the lock itself, as Barman does, would
    make a process that wants it at the same moment fail.
    """
    try:
        with around(os.path.join(lock_directory, f".{server}-{task}.lock")) as (place, name):
            number = int(place.read(name, 32))
        with open(f"/proc/{number}/cmdline", "rb") as stream:
            words = stream.read().split(b"\0")
    except (OSError, ValueError):
        return 0
    lives = any(os.path.basename(word) == b"barman" for word in words) and task.encode() in words
    return number if lives else 0


def running(lock_directory: str, server: str, task: str) -> bool:
    """Whether process() finds one."""
    return bool(process(lock_directory, server, task))


def receives(receiver: int) -> bool:
    """Whether WAL is received beneath the process *receiver* of Barman's receive-wal, 0 for none.

    It holds its lock from before it has asked the primary, while it is refused (a slot that is still another's), and until it
    has ended; ``barman check`` says that it runs all the while. What receives is a child of it, pg_receivewal; another child,
    before, is asked for its version.
    """
    return receiver != 0 and any(
        os.path.basename(words[0]) == RECEIVER and any(word.startswith("--directory") for word in words)
        for words in processes.beneath(receiver)
    )


def roles(postgres_version: int) -> list[Role]:
    """Who takes backups: the role that asks and switches WAL files, and the one that streams.

    Memberships as in Barman's manual, "Preliminary steps": settings and statistics to read, checkpoints to ask for.
    """
    return [
        Role(
            BARMAN_ROLE,
            memberships=("pg_read_all_settings", "pg_read_all_stats", "pg_checkpoint"),
            settings=own_settings(postgres_version),
        ),
        Role(BARMAN_STREAMING_ROLE, replication=True),
    ]


def grants(postgres_version: int) -> list[Grant]:
    """The database it connects to, and the functions that it calls, with the signatures of PostgreSQL 15 and later."""
    functions = ["pg_backup_start(text,boolean)", "pg_backup_stop(boolean)"]
    if postgres_version < 15:
        functions = ["pg_start_backup(text,boolean,boolean)", "pg_stop_backup(boolean,boolean)"]
    functions += ["pg_switch_wal()", "pg_create_restore_point(text)"]
    return [
        Grant(BARMAN_ROLE, "DATABASE", "postgres", ("CONNECT",)),
        *(Grant(BARMAN_ROLE, "FUNCTION", name, ("EXECUTE",)) for name in functions),
    ]


def parse_checks(server: str, answer: Mapping[str, Any]) -> tuple[Check, ...]:
    """All checks from the output of ``check``, in Barman's order of names."""
    return tuple(
        Check(name, said["status"] == "OK", said.get("hint") or "") for name, said in sorted(answer[server].items())
    )


def parse_backups(server: str, answer: Mapping[str, Any]) -> tuple[Backup, ...]:
    """The catalogue from the output of ``list-backups``, newest first."""
    backups = [
        Backup(
            id=item["backup_id"],
            status=item["status"],
            type=item.get("backup_type") or "",
            end=_number(item.get("end_time_timestamp"), float),
            size=_number(item.get("size_bytes"), int),
            wal_size=_number(item.get("wal_size_bytes"), int),
            retention=item.get("retention_status") or "",
        )
        for item in answer[server]
    ]
    return tuple(sorted(backups, key=lambda backup: backup.id, reverse=True))


def parse_backup(server: str, answer: Mapping[str, Any]) -> Backup:
    """One backup from the output of ``show-backup``. 3.4 names sizes otherwise than 3.13 and knows no type."""
    item = answer[server]
    base = item.get("base_backup_information") or {}
    size = base.get("backup_size_with_wals_bytes", base.get("disk_usage_with_wals_bytes"))
    return Backup(
        id=item["backup_id"],
        status=item["status"],
        type=item.get("backup_type") or "",
        begin=_number(base.get("begin_time_timestamp"), float),
        end=_number(base.get("end_time_timestamp"), float),
        size=_number(size, int),
        wal_size=_number((item.get("wal_information") or {}).get("disk_usage_bytes"), int),
        retention=(item.get("catalog_information") or {}).get("retention_policy") or "",
        timeline=_number(base.get("timeline"), int),
        begin_wal=base.get("begin_wal") or "",
        end_wal=base.get("end_wal") or "",
        error=item.get("error") or "",
    )


def _number(value: Any, kind: Any) -> Any:
    return None if value is None else kind(value)


class Client:
    """Barman's commands about one *server* (a section of its configuration), run on this host as its *user* (None:
    as who calls). *timeout* bounds, in seconds, those that only look."""

    def __init__(self, runner: Runner, server: str, user: str | None = USER, timeout: float = 90.0) -> None:
        self.server = server
        self._runner = runner
        self._user = user
        self._timeout = timeout

    def version(self) -> str:
        """The version's number. Raises Unreachable when Barman is not installed."""
        done = self._runner.run([PROGRAM, "--version"], user=self._user).expect("ask barman its version")
        return done.out.split()[0]

    def checks(self) -> tuple[Check, ...]:
        """Run all checks; they connect to PostgreSQL and take Barman's ``check_timeout`` (30 s) at most."""
        return parse_checks(self.server, self._ask(["check"], "check the backups", (0, 1)))

    def backups(self) -> tuple[Backup, ...]:
        """The catalogue, newest first."""
        return parse_backups(self.server, self._ask(["list-backups"], "list the backups"))

    def backup(self, backup_id: str) -> Backup:
        """All about one backup."""
        return parse_backup(self.server, self._ask(["show-backup"], f"look at backup {backup_id}", (0,), [backup_id]))

    def configuration(self) -> dict[str, Any]:
        """What is in force, after defaults and interpolation; paths are under keys that end in ``_directory``."""
        return dict(self._ask(["show-servers"], "read Barman's configuration")[self.server])

    def delete(self, backup_id: str) -> None:
        """Remove one backup from the catalogue."""
        self._ask(["delete"], f"delete backup {backup_id}", (0,), [backup_id], timeout=3600)

    def create_slot(self) -> None:
        """Create the replication slot on the primary."""
        self._ask(["receive-wal", "--create-slot"], "create Barman's replication slot")

    def drop_slot(self) -> None:
        """Drop the replication slot on the primary."""
        self._ask(["receive-wal", "--drop-slot"], "drop Barman's replication slot")

    def reset_receiver(self) -> None:
        """Begin to receive anew at the primary's present position, when what was being received cannot go on."""
        self._ask(["receive-wal", "--reset"], "reset the reception of WAL")

    def switch_wal(self, timeout: int) -> None:
        """Close the primary's WAL segment and wait at most *timeout* seconds for it to arrive and be archived.

        Nothing is closed where nothing was written: Barman then waits for the next segment, whenever that is full. Its
        ``--force`` would see to that, but asks for a superuser before 3.10.
        """
        arguments = ["switch-wal", "--archive", "--archive-timeout", str(timeout)]
        self._ask(arguments, "have one WAL file archived", timeout=timeout + 60)

    def check_backup(self, backup_id: str) -> None:
        """Let Barman look whether all WAL of a backup is here, upon which it is finished."""
        self._ask(["check-backup"], f"look for the WAL of backup {backup_id}", (0,), [backup_id])

    def _ask(
        self,
        arguments: Sequence[str],
        attempted: str,
        codes: tuple[int, ...] = (0,),
        more: Sequence[str] = (),
        timeout: float = 0.0,
    ) -> Mapping[str, Any]:
        argv = [PROGRAM, "-f", "json", *arguments, self.server, *more]
        done = self._runner.run(argv, user=self._user, timeout=timeout or self._timeout)
        attempted = f"{attempted} ({self.server})"
        answer = _json(done, attempted)
        said = [sentence for key in ("_EXCEPTION", "_ERROR") for sentence in answer.get(key, ())]
        # A check that fails makes the exit code 1 without a word; a sentence means that Barman could not do it.
        if done.rc not in codes or said:
            raise CommandError(attempted, argv, done.rc, done.out, " ".join(said) or done.err)
        return answer


def _json(done: Result, attempted: str) -> Mapping[str, Any]:
    """The object in Barman's output; what stands outside of it, such as a traceback, is an error."""
    try:
        answer = json.loads(done.out)
    except ValueError as error:
        if done.rc:
            raise CommandError(attempted, done.argv, done.rc, done.out, done.err) from error
        raise ProtocolError(f"{attempted}: barman printed no JSON: {done.out[:500]!r}") from error
    if not isinstance(answer, dict):
        raise ProtocolError(f"{attempted}: barman printed no JSON object: {done.out[:500]!r}")
    return answer
