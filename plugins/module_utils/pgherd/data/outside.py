# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node has outside of its data directory, WAL and tablespaces: whose it is, and whether a copy can be put there.

pg_basebackup puts each tablespace where the source has it and wants that place empty (verify_dir_is_empty_or_create()), declared
in the inventory or not. Of what is there only this node's own may go: its version's directory in a location that is declared,
or that the data directory which is being replaced had, by its links in pg_tblspc. Any other cluster may use the same location.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from ..errors import Conflict

# In the root of a file system.
LOST = "lost+found"
# In the place of unfinished clones: locations that the data which were here had, or that a copy was being put into.
NOTE = "tablespaces.json"
LOCATIONS = (
    "SELECT pg_catalog.pg_tablespace_location(oid) AS location, spcname AS name FROM pg_catalog.pg_tablespace"
    " WHERE pg_catalog.pg_tablespace_location(oid) LIKE '/%'"
)


class InTheWay(Conflict):
    """A copy would fail on what is there, and nothing was touched. A person has to look."""


def linked(directory: str) -> set[str]:
    """Locations of the tablespaces that the data *directory* has."""
    folder = os.path.join(directory, "pg_tblspc")
    return {os.path.normpath(target) for name in entries(folder) if (target := _target(os.path.join(folder, name)))}


def noted(stage: str) -> set[str]:
    """Locations of the data that an unfinished clone in *stage* replaces, and that its copy was put into."""
    found = {location for attempt in entries(stage) for location in linked(os.path.join(stage, attempt, "data"))}
    with suppress(OSError, ValueError, TypeError), open(os.path.join(stage, NOTE), encoding="utf-8") as stream:
        found.update(map(str, json.load(stream)))
    return found


def note(stage: str, locations: Collection[str]) -> None:
    """Keep *locations* for noted(), in *stage*. Raises OSError."""
    if locations:
        with open(os.path.join(stage, NOTE), "w", encoding="utf-8") as stream:
            json.dump(sorted(locations), stream)


def obstacles(version: int, wal: str, named: Mapping[str, str], own: Collection[str]) -> list[str]:
    """Why a copy cannot be put into the directory *wal* ('' for none) and into the locations *named*, by location the
    tablespace's name; empty where it can. *own*: locations where this version's directory may go. To be asked with the rights
    of the data's owner."""
    found = (
        [f"{wal} has {LOST}: use a directory below the mount point (cluster_wal_directory)"]
        if LOST in entries(wal)
        else []
    )
    for location, name in named.items():
        there = entries(location)
        old = [entry for entry in there if entry.startswith(f"PG_{version}_")]
        others = sorted(set(there) - set(old))
        what = f"{location}, where tablespace {name} is,"
        if others:
            found.append(f"{what} holds {', '.join(others[:3])}: move that away")
        elif old and location not in own:
            found.append(
                f"{what} holds {old[0]}, and nothing says that it is this node's: look whose it is and move it away"
            )
        elif not _usable(location):
            found.append(
                f"{what} cannot be written here: name it in cluster_tablespaces, and the site playbook makes it"
            )
    return found


def entries(directory: str) -> list[str]:
    """What is in a *directory*; nothing where there is none, or none that may be read."""
    with suppress(OSError):
        return os.listdir(directory)
    return []


def _target(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)
    return ""


def _usable(path: str) -> bool:
    """Whether there is a directory that can be written, or one can be made."""
    for above in ways(path):
        if os.path.lexists(above):
            return os.path.isdir(above) and os.access(above, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
    return False


def ways(path: str) -> Iterator[str]:
    """The absolute *path* and the directories on the way there, from below, with the root."""
    while path != "/":
        yield path
        path = os.path.dirname(path)
    yield "/"
