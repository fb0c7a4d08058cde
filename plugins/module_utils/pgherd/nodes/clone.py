# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Filling a data directory so that half a cluster can never be started, by whomever, after whatever end.

A clone, or a new cluster, is made in a directory inside the data directory (which may be a mount point that cannot be
renamed or removed), and its parts are moved up when it is whole, ``PG_VERSION`` last: PostgreSQL refuses a directory
without it. A copy that ended between the base backup and standby.signal would otherwise start as a second primary.

Each attempt has a directory of its own, and ends what an attempt before it has left running: where only ``repmgr standby
clone`` was killed, its pg_basebackup goes on, into the WAL directory and the tablespaces too, and empties the WAL
directory when it fails.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from ..errors import Conflict, PgherdError
from ..ports.processes import end, naming
from ..ports.run import Runner

# Marks a data directory whose content is an unfinished clone.
STAGE = ".pgherd-clone"
MARK = "PG_VERSION"
# What may be at work in it.
PROGRAMS = ("repmgr", "pg_basebackup", "initdb")
# In the root of a file system.
LOST = "lost+found"


def unfinished(entries: list[str]) -> bool:
    """Whether a data directory with these *entries* holds an unfinished clone, which may be thrown away."""
    return STAGE in entries and MARK not in entries


class Staging:
    """A place below the data directory *directory*, with a WAL directory and tablespaces outside of it.

    *tablespaces* are their locations; *version* is PostgreSQL's, part of the directory names there. prepare() makes *data*,
    the copy's directory, and *config*, repmgr.conf for it, for one attempt.
    """

    def __init__(
        self, directory: str, runner: Runner, version: int, wal_directory: str = "", tablespaces: tuple[str, ...] = ()
    ) -> None:
        self._directory = directory
        self._runner = runner
        self._version = version
        self._wal_directory = wal_directory
        self._tablespaces = tablespaces
        self._stage = os.path.join(directory, STAGE)
        self.data = self.config = ""

    def prepare(self, config: str, wipe: bool) -> None:
        """Make the place ready; *config* is repmgr.conf, to be read with the copy's directory in place of the real one, or
        '' where no repmgr is needed.

        What an interrupted attempt left goes away, and with *wipe* whatever is there. Raises Conflict when something is
        in the way that may not be replaced.
        """
        entries = self._entries(self._directory)
        if entries and not wipe and not unfinished(entries):
            raise Conflict(
                f"Clone into {self._directory}",
                "an empty directory",
                f"{len(entries)} entries",
                "Move them away, or name the host in cluster_wipe.",
            )
        outside = self._outside()
        if outside and not entries and not wipe:
            raise Conflict(
                f"Fill {self._directory}, whose WAL or tablespaces are elsewhere",
                "nothing there",
                ", ".join(outside[:3]),
                "It may belong to a cluster whose data directory is missing: look what it is and move it away.",
            )
        end(naming(self._stage, PROGRAMS))
        for directory in (self._directory, self._wal_directory):
            if directory:
                self._make(directory)
        self._make(self._stage)
        if entries or wipe:
            self._clear(entries)
        self._make(self._stage)
        attempt = tempfile.mkdtemp(prefix="attempt-", dir=self._stage)
        self._make(attempt)
        self.data, self.config = os.path.join(attempt, "data"), os.path.join(attempt, "repmgr.conf")
        if config:
            self._configure(config)

    def end_orphans(self) -> None:
        """End what works in the place for nobody: pg_basebackup whose ``repmgr standby clone`` has ended.

        Where pg_basebackup's main process was killed, the one that streams WAL beside it goes on for ever, and holds a
        replication connection to the source.
        """
        if not naming(self._stage, ("repmgr",)):
            end(naming(self._stage, PROGRAMS))

    def _configure(self, config: str) -> None:
        lines = [line for line in config.splitlines() if not line.startswith("data_directory ")]
        with open(self.config, "w", encoding="utf-8") as stream:
            stream.write("\n".join([*lines, f"data_directory = '{self.data}'", ""]))
        os.chmod(self.config, 0o644)

    def adopt(self, standby: bool = True) -> None:
        """Move the finished copy up. Raises PgherdError when there is none, or, for a *standby*, when it is none."""
        if not os.path.exists(os.path.join(self.data, MARK)):
            raise PgherdError(f"clone into {self._directory}: the copy in {self.data} is not whole.", "Run again.")
        if standby and not os.path.exists(os.path.join(self.data, "standby.signal")):
            raise PgherdError(f"clone into {self._directory}: the copy has no standby.signal.", "Run again.")
        for entry in sorted(os.listdir(self.data)):
            # The upstream may have been cloned just now and still have its own.
            if entry not in (MARK, STAGE):
                os.rename(os.path.join(self.data, entry), os.path.join(self._directory, entry))
        self._sync()
        os.rename(os.path.join(self.data, MARK), os.path.join(self._directory, MARK))
        self._sync()
        self.clean()

    def clean(self) -> None:
        """Remove the empty place of a finished attempt; does nothing to an unfinished one."""
        if os.path.exists(os.path.join(self._directory, MARK)):
            shutil.rmtree(self._stage, ignore_errors=True)

    @staticmethod
    def _entries(directory: str) -> list[str]:
        try:
            return [entry for entry in os.listdir(directory) if entry != LOST]
        except FileNotFoundError:
            return []

    def _clear(self, entries: list[str]) -> None:
        """Remove what is there, the sign of a cluster first and that of an attempt last, so that an interrupted removal is
        an unfinished attempt too."""
        for entry in sorted(set(entries) - {STAGE}, key=lambda entry: entry != MARK):
            self._remove(os.path.join(self._directory, entry))
            if entry == MARK:
                self._sync()
        for path in self._outside():
            self._remove(path)
        if STAGE in entries:
            self._remove(self._stage)

    def _outside(self) -> list[str]:
        """What is there of a cluster's files that are not in its data directory: WAL, and this version's in tablespaces."""
        wal = self._entries(self._wal_directory) if self._wal_directory else []
        paths = [os.path.join(self._wal_directory, entry) for entry in wal]
        for location in self._tablespaces:
            paths += [
                os.path.join(location, entry)
                for entry in self._entries(location)
                if entry.startswith(f"PG_{self._version}_")
            ]
        return paths

    @staticmethod
    def _remove(path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def _make(self, directory: str) -> None:
        argv = ["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", directory]
        self._runner.run(argv).expect(f"make {directory}")

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
