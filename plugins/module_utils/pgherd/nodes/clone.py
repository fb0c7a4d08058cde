# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Filling a data directory with a clone so that half a clone can never be started, by whomever, after whatever end.

The copy is made in a directory inside the data directory (which may be a mount point that cannot be renamed), and its
parts are moved up when it is whole, ``PG_VERSION`` last: PostgreSQL refuses a directory without it. A copy that ended
between the base backup and standby.signal would otherwise start as a second primary.
"""

from __future__ import annotations

import os
import shutil

from ..errors import Conflict, PgherdError
from ..ports.run import Runner

# Marks a data directory whose content is an unfinished clone.
STAGE = ".pgherd-clone"
MARK = "PG_VERSION"
# In the root of a file system.
LOST = "lost+found"


def unfinished(entries: list[str]) -> bool:
    """Whether a data directory with these *entries* holds an unfinished clone, which may be thrown away."""
    return STAGE in entries and MARK not in entries


class Staging:
    """The clone's place below the data directory *directory*, with a WAL directory and tablespaces outside of it.

    *tablespaces* are their locations; *version* is PostgreSQL's, part of the directory names there.
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
        self.data = os.path.join(self._stage, "data")
        self.config = os.path.join(self._stage, "repmgr.conf")

    def prepare(self, config: str, wipe: bool) -> None:
        """Make the place ready; *config* is repmgr.conf, to be read with the copy's directory in place of the real one.

        What an interrupted clone left goes away, and with *wipe* whatever is there. Raises Conflict when something is
        in the way that may not be replaced.
        """
        entries = self._entries()
        if entries and not wipe and not unfinished(entries):
            raise Conflict(
                f"Clone into {self._directory}",
                "an empty directory",
                f"{len(entries)} entries",
                "Move them away, or name the host in cluster_wipe.",
            )
        for directory in (self._directory, self._wal_directory):
            if directory:
                self._make(directory)
        self._make(self._stage)
        if entries:
            self._clear(entries)
        self._make(self._stage)
        lines = [line for line in config.splitlines() if not line.startswith("data_directory ")]
        with open(self.config, "w", encoding="utf-8") as stream:
            stream.write("\n".join([*lines, f"data_directory = '{self.data}'", ""]))
        os.chmod(self.config, 0o644)

    def adopt(self) -> None:
        """Move the finished copy up. Raises PgherdError when there is none."""
        if not os.path.exists(os.path.join(self.data, MARK)):
            raise PgherdError(f"clone into {self._directory}: the copy in {self.data} is not whole.", "Run again.")
        if not os.path.exists(os.path.join(self.data, "standby.signal")):
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
        """Remove the empty place of a finished clone; does nothing to an unfinished one."""
        if os.path.exists(os.path.join(self._directory, MARK)):
            shutil.rmtree(self._stage, ignore_errors=True)

    def _entries(self) -> list[str]:
        try:
            return [entry for entry in os.listdir(self._directory) if entry != LOST]
        except FileNotFoundError:
            return []

    def _clear(self, entries: list[str]) -> None:
        """Remove what is there, the sign of a cluster first and that of a clone last, so that an interrupted removal is
        an unfinished clone too."""
        for entry in sorted(entries, key=lambda entry: (entry != MARK, entry == STAGE)):
            self._remove(os.path.join(self._directory, entry))
            if entry == MARK:
                self._sync()
        if self._wal_directory:
            for entry in os.listdir(self._wal_directory):
                if entry != LOST:
                    self._remove(os.path.join(self._wal_directory, entry))
        for location in self._tablespaces:
            for entry in os.listdir(location) if os.path.isdir(location) else []:
                if entry.startswith(f"PG_{self._version}_"):
                    self._remove(os.path.join(location, entry))

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
