# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Filling a data directory so that half a cluster can never be started, by whomever, after whatever end.

A clone, or a new cluster, is made in a directory inside the data directory (which may be a mount point that cannot be
renamed or removed), and its parts are moved up when it is whole, ``PG_VERSION`` last: PostgreSQL refuses a directory
without it. A copy that ended between the base backup and standby.signal would otherwise start as a second primary.

Each attempt has a directory of its own, and ends what an attempt before it has left running: where only ``repmgr standby
clone`` was killed, its pg_basebackup goes on, into the WAL directory and the tablespaces too, and empties the WAL
directory when it fails.

All of it is the database's user's work, also where a module of root's has it done: that user could put a link there.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress

from ..errors import Conflict, PgherdError
from ..layout import Layout
from ..ports.directories import directory as open_directory
from ..ports.identity import POSTGRES, acting_as, of_user
from ..ports.processes import end, naming
from . import outside
from .datadir import FENCE, RESTORE, SIGNAL, write_settings
from .outside import LOST, InTheWay

OWNER = POSTGRES
# Marks a data directory whose content is an unfinished clone.
STAGE = ".pgherd-clone"
MARK = "PG_VERSION"
# What may be at work in it.
PROGRAMS = ("repmgr", "pg_basebackup", "initdb")


def unfinished(entries: list[str]) -> bool:
    """Whether a data directory with these *entries* holds an unfinished clone, which may be thrown away."""
    return STAGE in entries and MARK not in entries


def vacant(entries: list[str]) -> bool:
    """Whether a data directory with these *entries* holds nothing that would have to be kept."""
    return entries in ([], [LOST]) or unfinished(entries)


class Staging:
    """A place below the data directory of *layout*, with a WAL directory and tablespaces outside of it.

    *tablespaces* are the locations of those that the inventory declares. prepare() makes *data*, the copy's directory, and
    *config*, repmgr.conf for it, for one attempt.
    """

    def __init__(self, layout: Layout, wal_directory: str = "", tablespaces: tuple[str, ...] = ()) -> None:
        self._directory = layout.data
        self._version = layout.version
        self._wal_directory = wal_directory
        self._declared = self._tablespaces = tuple(map(os.path.normpath, tablespaces))
        self._stage = os.path.join(layout.data, STAGE)
        self.data = self.config = ""

    def filled(self) -> bool:
        """Whether a whole cluster is in the data directory."""
        return MARK in self._entries(self._directory)

    def expect(self, tablespaces: Mapping[str, str], wipe: bool) -> None:
        """See that a copy with these *tablespaces*, by location their names, will find its places empty, once what may go is
        gone: *wipe* as for prepare(), which comes next. Raises InTheWay, and touches nothing."""
        with self._owner():
            own = outside.noted(self._stage)
            if wipe or unfinished(self._entries(self._directory)):
                own |= {*self._declared, *outside.linked(self._directory)}
            wrong = outside.obstacles(self._version, self._wal_directory, tablespaces, own)
        if wrong:
            raise InTheWay(
                f"Clone into {self._directory}, where nothing was touched", "room for all of it", "; ".join(wrong)
            )
        self._tablespaces = tuple(sorted({*self._declared, *tablespaces}))

    def prepare(self, config: str, wipe: bool) -> None:
        """Make the place ready; *config* is repmgr.conf, to be read with the copy's directory in place of the real one, or
        '' where no repmgr is needed.

        What an interrupted attempt left goes away, and with *wipe* whatever is there. Raises Conflict when something is
        in the way that may not be replaced.
        """
        entries, outside = self._entries(self._directory), self._outside()
        if entries and not wipe and not unfinished(entries):
            raise Conflict(
                f"Clone into {self._directory}",
                "an empty directory",
                f"{len(entries)} entries",
                "Move them away, or name the host in cluster_wipe.",
            )
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
        with self._owner():
            try:
                self._begin(entries if entries or wipe else None)
            except OSError as error:
                raise PgherdError(
                    f"make room in {self._directory}: {error.filename}: {error.strerror}.",
                    f"Remove by hand what user {OWNER} may not remove.",
                ) from error
            self.data, self.config = os.path.join(self.data, "data"), os.path.join(self.data, "repmgr.conf")
            if config:
                self._configure(config)

    def _begin(self, entries: list[str] | None) -> None:
        """Make the directory of one attempt, with nothing beside it that is in the way: *entries* go, where there are any."""
        if os.path.islink(self._stage):
            os.unlink(self._stage)
        os.makedirs(self._stage, mode=0o700, exist_ok=True)
        outside.note(self._stage, self._tablespaces)
        if entries is not None:
            self._clear(entries)
        os.makedirs(self._stage, mode=0o700, exist_ok=True)
        outside.note(self._stage, self._tablespaces)
        self.data = tempfile.mkdtemp(prefix="attempt-", dir=self._stage)

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

    def sign(self, settings: Mapping[str, str]) -> None:
        """Put *settings* into the copy's postgresql.auto.conf, in the place of those that it has. A fence of whoever it is a copy
        of is none of its own: promoted by hand, it would refuse writes. Raises PgherdError."""
        with self._owner():
            write_settings(self.data, {**settings, FENCE: None})

    def adopt(self, standby: bool = True) -> None:
        """Move the finished copy up. Raises PgherdError when there is none, or, for a *standby*, when it is none."""
        with self._owner():
            self._adopt(standby)

    def _adopt(self, standby: bool) -> None:
        if not os.path.exists(os.path.join(self.data, MARK)):
            raise PgherdError(f"clone into {self._directory}: the copy in {self.data} is not whole.", "Run again.")
        if standby and not os.path.exists(os.path.join(self.data, SIGNAL)):
            raise PgherdError(f"clone into {self._directory}: the copy has no {SIGNAL}.", "Run again.")
        for entry in sorted(os.listdir(self.data)):
            # The upstream may have been cloned just now and still have its own, or a file of a backup that it once was.
            if entry not in (MARK, STAGE, *((RESTORE,) if standby else ())):
                os.rename(os.path.join(self.data, entry), os.path.join(self._directory, entry))
        self._sync()
        os.rename(os.path.join(self.data, MARK), os.path.join(self._directory, MARK))
        self._sync()
        self.clean()

    def clean(self) -> None:
        """Remove the empty place of a finished attempt; does nothing to an unfinished one."""
        with self._owner():
            if os.path.exists(os.path.join(self._directory, MARK)):
                shutil.rmtree(self._stage, ignore_errors=True)

    def _entries(self, directory: str) -> list[str]:
        """What is in a directory, which may still be root's."""
        try:
            with self._owner():
                found = os.listdir(directory)
        except FileNotFoundError:
            return []
        except PermissionError:
            found = _by_handle(directory)
        return [entry for entry in found if entry != LOST]

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

    @staticmethod
    def _owner() -> AbstractContextManager[None]:
        return acting_as(of_user(OWNER))

    def _make(self, path: str) -> None:
        """Make a directory that may be in one of root's: by root then, who gives it away."""
        who = of_user(OWNER)
        with self._owner(), suppress(FileNotFoundError, PermissionError):
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == who.uid:
                os.chmod(path, 0o700)
                return
        try:
            with open_directory(path, 0o700) as (place, above):
                place.own(above, who.uid, who.gid, 0o700)
        except OSError as error:
            raise PgherdError(f"make {path}: {error.strerror}.", "Look at what stands there.") from error

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _by_handle(directory: str) -> list[str]:
    with open_directory(directory) as found:
        place, _above = found
        with place.opened() as handle:
            return os.listdir(handle)
