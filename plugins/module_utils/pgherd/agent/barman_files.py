# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What Barman's files say without a command of Barman's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ..programs.barman import process, receives


@dataclass(frozen=True)
class Directories:
    """Barman's directories for the server."""

    wals: str
    streaming: str
    base: str
    meta: str
    locks: str


@dataclass(frozen=True)
class Look:
    """What the files say: *catalogue* changes with every backup. *receiver* is Barman's process, 0 for none, and *receiving*
    says whether it does more than be there."""

    catalogue: tuple[tuple[str, float], ...]
    receiver: int
    receiving: bool
    receiving_wal: str = ""
    receiving_at: float | None = None
    last_wal: str = ""
    last_wal_at: float | None = None


def look_at(place: Directories, server: str) -> Look:
    """What the files say now. Raises OSError; a directory that Barman has not made yet is empty."""
    partial = max((entry for entry in entries(place.streaming) if entry[0].endswith(".partial")), default=None)
    wal = _last_wal(place.wals)
    catalogue = [entry for entry in entries(place.meta) if entry[0].endswith("-backup.info")]
    for name, at in entries(place.base):
        catalogue.append((name, at))
        catalogue += [entry for entry in entries(os.path.join(place.base, name)) if entry[0] == "backup.info"]
    receiver = process(place.locks, server, "receive-wal")
    return Look(
        tuple(sorted(catalogue)),
        receiver,
        receives(receiver),
        partial[0][: -len(".partial")] if partial else "",
        partial[1] if partial else None,
        wal[0] if wal else "",
        wal[1] if wal else None,
    )


def _last_wal(directory: str) -> tuple[str, float] | None:
    """The newest archived segment: archives are one directory per 256 segments, named by the beginning of theirs."""
    parts = sorted((name for name, _at in entries(directory) if re.fullmatch(r"[0-9A-F]{16}", name)), reverse=True)
    for part in parts:
        found = [item for item in entries(os.path.join(directory, part)) if re.fullmatch(r"[0-9A-F]{24}", item[0])]
        if found:
            return max(found)
    return None


def entries(directory: str) -> Iterator[tuple[str, float]]:
    """Each entry with when it was written; none where there is no such directory. Raises OSError."""
    try:
        with os.scandir(directory) as listed:
            for entry in listed:
                # Barman moves and removes files while we look.
                with suppress(FileNotFoundError):
                    yield entry.name, entry.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return
