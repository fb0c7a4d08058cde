# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A start with configuration files that no server uses yet, by the server's own program and without a server's data.

The program is given a directory of its own with a copy of the node's pg_control, the settings of ALTER SYSTEM, and a
backup_label that it cannot take. So it goes the whole way of a start, PostmasterMain() of postmaster.c: values and their
combinations, libraries, certificates, sockets, memory, pg_hba.conf. It ends where it would begin to read data, in
read_backup_label() of xlogrecovery.c. It listens nowhere, archives nothing, writes no log and begins no recovery.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from ..layout import Layout
from ..ports.identity import POSTGRES, acting_as, of_user
from ..ports.run import Runner
from ..render.conf_postgres import INCLUDED
from . import shared_memory

OWNER = POSTGRES
CONF, HBA, IDENT = NAMES = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
# Seconds that a program may take on a host that has much else to do.
PATIENCE = 300.0
# subdirs[] of initdb.c, of all versions.
_DIRECTORIES = [
    "global",
    "pg_wal/archive_status",
    "pg_wal/summaries",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
    "pg_twophase",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "base/1",
    "pg_replslot",
    "pg_tblspc",
    "pg_stat",
    "pg_stat_tmp",
    "pg_xact",
    "pg_logical/snapshots",
    "pg_logical/mappings",
]
_THROUGH = 'invalid data in file "backup_label"'
# What a start says of itself that is no fault.
_NOISE = ("starting PostgreSQL", "listening on", "database system ", "skipping missing configuration file")
_SAID = re.compile(r"^(?:(LOG|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|CONTEXT):\s+|postgres: )(.*)$", re.MULTILINE)
# Its messages as said() knows them. Without fsync it does not have the host's file systems synced.
_PLAIN = {"log_line_prefix": "", "log_error_verbosity": "default", "lc_messages": "C", "log_min_messages": "warning"}
_APART = {"listen_addresses": "", "archive_command": "", "archive_library": "", "fsync": "off"}
_TO_US = {"logging_collector": "off", "log_destination": "stderr"}
# Loaded by each session, ours too: one that is not there lets nobody in.
_SESSION_LIBRARIES = {"session_preload_libraries": "", "local_preload_libraries": "$libdir/plugins/"}


def refusals(texts: Mapping[str, str], layout: Layout, runner: Runner) -> list[str]:
    """One sentence for each thing for which the server of *layout* would not start, or let nobody in.

    *texts* are the files by their names in NAMES; one that is missing is taken as it stands on the disk. Where there are no
    data yet, an empty cluster is made to try them with. Raises OSError, Unreachable, CommandError for what keeps it from being
    tried.
    """
    place = _Place(layout, runner)
    with place.filled(texts):
        text = place.text(CONF)
        log = place.start({} if _fits(place, layout.data) else shared_memory.LITTLE)
        found = said(log, place.path(CONF), text)
        if found:
            # It may not have come to this one.
            found += said(place.start(shared_memory.LITTLE, configured=False), place.path(CONF), "")
        return place.real(list(dict.fromkeys(found)) or _session_libraries(place, text))


def said(log: str, path: str, content: str) -> list[str]:
    """The sentences in a server's *log* about why it does not start with the file at *path* that has *content*, each with its
    line; none where it would have started."""
    if _THROUGH in log:
        return []
    lines = {match.group(1).lower(): number for number, match in _settings(content)}
    found: list[str] = []
    for kind, text in _SAID.findall(log):
        where = re.fullmatch(r'line (\d+) of configuration file "(.*)"', text)
        if where and found:
            found[-1] = f"{where.group(2)} line {where.group(1)}: {found[-1]}"
        elif kind in ("DETAIL", "HINT", "CONTEXT"):
            found[-1:] = [f"{one} ({text.rstrip('.')})" for one in found[-1:]]
        elif not text.startswith(_NOISE) and "contains errors" not in text and not (found and "could not load" in text):
            name = re.search(r'parameter "([\w.]+)"', text)
            number = lines.get(name.group(1).lower()) if name and " line " not in text else None
            found.append(f"{path} line {number}: {text}" if number else text)
    return found


def _settings(content: str) -> list[tuple[int, re.Match[str]]]:
    matches = ((number, re.match(r"([\w.]+)\s*=", line)) for number, line in enumerate(content.splitlines(), 1))
    return [(number, match) for number, match in matches if match]


def _fits(place: _Place, data: str) -> bool:
    """Whether the memory can be tried for: a running server may have what its next start will have, and is not to suffer."""
    pages = place.ask("shared_memory_size_in_huge_pages")[0]
    held = shared_memory.held(data)
    if not held or not pages.lstrip("-").isdigit():
        return True
    return shared_memory.fits(int(pages), place.ask("huge_pages")[0], held, shared_memory.host())


def _session_libraries(place: _Place, text: str) -> list[str]:
    found: list[str] = []
    named = {match.group(1).lower() for _number, match in _settings(text)}
    for setting, where in _SESSION_LIBRARIES.items():
        if setting in named:
            value = place.ask(setting)[0]
            libraries = [part.strip().strip('"') for part in value.split(",") if part.strip()]
            paths = ",".join(part if "/" in part else where + part for part in libraries)
            log = place.ask("shared_memory_size", {"shared_preload_libraries": paths})[1]
            found += [f"{setting}: {sentence}" for sentence in said(log, place.path(CONF), text)]
    return found


@contextmanager
def scratch(user: str) -> Iterator[str]:
    """A directory of *user*'s own, for a while."""
    owner = of_user(user)
    with acting_as(owner):
        place = tempfile.mkdtemp(prefix="pgherd-trial-", dir="/tmp")
    try:
        yield place
    finally:
        with acting_as(owner):
            shutil.rmtree(place, ignore_errors=True)


class _Place:
    """A directory of the server's user with the files to try, and what else a start looks at."""

    def __init__(self, layout: Layout, runner: Runner) -> None:
        self._layout = layout
        self._runner = runner
        self._top = ""

    @contextmanager
    def filled(self, texts: Mapping[str, str]) -> Iterator[None]:
        """Make it for a while, with what of the data a start needs, or of an empty cluster."""
        owner, real = of_user(OWNER), self._layout.configuration
        with scratch(OWNER) as self._top:
            with acting_as(owner):
                # What the files name beside themselves.
                for name in set(os.listdir(real) if os.path.isdir(real) else ()) - set(texts):
                    os.symlink(f"{real}/{name}", self.path(name))
                # It is made with the file that includes it.
                os.makedirs(self.path(INCLUDED), exist_ok=True)
                for name, text in texts.items():
                    _write(self.path(name), text)
                whole = self._copy(f"{self._top}/data", self._layout.data)
            if not whole:
                self._initialize(f"{self._top}/data")
            with acting_as(owner):
                self._complete(f"{self._top}/data")
            yield

    @staticmethod
    def _copy(own: str, data: str) -> bool:
        if not os.path.exists(f"{data}/PG_VERSION"):
            return False
        os.makedirs(f"{own}/global", mode=0o700)
        shutil.copyfile(f"{data}/PG_VERSION", f"{own}/PG_VERSION")
        shutil.copyfile(f"{data}/global/pg_control", f"{own}/global/pg_control")
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{data}/postgresql.auto.conf", f"{own}/postgresql.auto.conf")
        return True

    def _initialize(self, own: str) -> None:
        program = f"{self._layout.programs}/initdb"
        argv = [program, f"--pgdata={own}", "--no-sync", "--locale=C", "--encoding=UTF8", "--auth=reject"]
        self._runner.run(argv, user=OWNER, timeout=PATIENCE).expect("make an empty cluster to try a configuration with")

    @staticmethod
    def _complete(own: str) -> None:
        for name in _DIRECTORIES:
            os.makedirs(f"{own}/{name}", mode=0o700, exist_ok=True)
        os.chmod(own, 0o700)
        _write(f"{own}/backup_label", "none\n")

    def path(self, name: str) -> str:
        """Where the file called *name* is for the trial."""
        return f"{self._top}/{name}"

    def real(self, sentences: Sequence[str]) -> list[str]:
        """*sentences* with the paths that the files are to have."""
        return [sentence.replace(self._top, self._layout.configuration) for sentence in sentences]

    def text(self, name: str) -> str:
        """What the file called *name* holds."""
        with open(self.path(name), encoding="utf-8") as stream:
            return stream.read()

    def ask(self, setting: str, given: Mapping[str, str] | None = None) -> tuple[str, str]:
        """The value that *setting* would have, and what was said. Of some settings only a start knows it (guc_tables.c,
        GUC_RUNTIME_COMPUTED)."""
        return self._run({**_PLAIN, **(given or {})}, "-C", setting)

    def start(self, given: Mapping[str, str], configured: bool = True) -> str:
        """What a start says with *given* in the place of what the file has; not *configured*: without the file."""
        own = {"unix_socket_directories": f"{self._top}/data", "external_pid_file": f"{self._top}/pid"}
        return self._run({**_PLAIN, **_APART, **_TO_US, **own, **given}, configured=configured)[1]

    def _run(self, given: Mapping[str, str], *more: str, configured: bool = True) -> tuple[str, str]:
        given = {
            "data_directory": f"{self._top}/data",
            "hba_file": self.path(HBA),
            "ident_file": self.path(IDENT),
            **given,
        }
        conf = self.path(CONF) if configured else os.devnull
        # Where memory is short after all, this is what has to go.
        argv = ["choom", "-n", "1000", "--", f"{self._layout.programs}/postgres", f"--config-file={conf}"]
        options = (word for name, value in given.items() for word in ("-c", f"{name}={value}"))
        done = self._runner.run([*argv, *options, *more], user=OWNER, timeout=PATIENCE)
        return done.out.strip(), done.err


def _write(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
