# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A data directory that is not whole: whether that shows, and what it is then.

pg_basebackup, and whoever copies as the manual says, writes backup_label first and global/pg_control last. A copy that was
broken off has the one and not the other, and no server can have been started on it.
"""

from __future__ import annotations

import glob
import os
import struct
import time

from ..errors import PgherdError
from ..ports.directories import as_owner
from ..ports.processes import naming

# PG_CONTROL_FILE_SIZE (pg_control.h): the file has always that many bytes.
SIZE = 8192
# XLogLongPageHeaderData (xlog_internal.h), at the beginning of each segment: xlp_info, and xlp_sysid behind the short header.
_INFO, _SYSTEM, _LONG = 2, 24, 0x0002
# Seconds without a change after which nobody is at a copy any more; what may be at it, by its name.
QUIET = 300.0
COPIERS = ("pg_basebackup", "repmgr", "rsync", "tar", "cp", "scp")


def whole(directory: str) -> bool:
    """Whether the data *directory* has a whole pg_control. Raises PgherdError when that cannot be seen."""
    return size(directory, "global/pg_control") >= SIZE


def size(directory: str, name: str) -> int:
    """How many bytes the file *name* of the data *directory* has, -1 where there is none. Raises PgherdError when that cannot be
    seen: rights and disks can be mended, and what nobody can see may be whole."""
    path = os.path.join(directory, name)
    try:
        with as_owner(directory):
            return os.stat(path).st_size
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise PgherdError(
            f"look at {path}: {error.strerror}.",
            "Mend its rights or its disk: nothing says that the data are broken.",
        ) from error


def backup_of(directory: str) -> str:
    """The system identifier, by its WAL, of the cluster of which the data *directory* is a base backup that never ended, nor
    will; '' where it is something else, or that is not certain. Raises as whole()."""
    try:
        with as_owner(directory):
            # A server that was started has left postmaster.opts, which base backups leave out.
            if not _has(directory, "backup_label") or _has(directory, "postmaster.opts"):
                return ""
            if _under_way(directory):
                return ""
            segments = glob.glob(f"{glob.escape(directory)}/pg_wal/{'[0-9A-F]' * 24}*")
            found = {identifier for path in segments if (identifier := _system(path))}
    except OSError:
        return ""
    return found.pop() if len(found) == 1 and not whole(directory) else ""


def _under_way(directory: str) -> bool:
    """Whether somebody may be making the backup yet: a program is at it, something was made or changed a little while ago,
    or that cannot be told, since the WAL is elsewhere. Raises OSError."""
    if naming(os.path.dirname(directory), COPIERS) or os.path.islink(os.path.join(directory, "pg_wal")):
        return True
    # A file that is made changes its directory. Not by st_mtime, which a copy may take from the source.
    paths = [path for path, _names, _files in os.walk(directory)]
    paths += glob.glob(f"{glob.escape(directory)}/pg_wal/*")
    return time.time() - max(os.lstat(path).st_ctime for path in paths) < QUIET


def _has(directory: str, name: str) -> bool:
    return os.path.lexists(os.path.join(directory, name))


def _system(path: str) -> str:
    """The system identifier at the beginning of a segment; '' where nothing was written there yet."""
    with open(path, "rb") as stream:
        page = stream.read(_SYSTEM + 8)
    if len(page) < _SYSTEM + 8 or not struct.unpack_from("=H", page, _INFO)[0] & _LONG:
        return ""
    return str(struct.unpack_from("=Q", page, _SYSTEM)[0])
