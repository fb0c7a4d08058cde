# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whether the directories that a node is to fill can be filled: said before anything is made anywhere."""

from __future__ import annotations

import os
import stat

from ..data.clone import OWNER
from ..data.outside import LOST, entries, ways
from ..errors import PgherdError, Unreachable
from ..layout import Layout
from ..model import Cluster
from ..ports.identity import acting_as, of_user


def obstacles(cluster: Cluster, name: str, layout: Layout, living: bool) -> tuple[str, ...]:
    """Why data cannot be made, copied or backed up in the directories of the node *name* on this host, one sentence each with
    what to do; empty where they can. *living*: its data directory holds a cluster already.

    In the root of an ext file system is ``lost+found``, root's, which fsck makes anew. A base backup goes into each directory
    below the data directory as postgres and ends there (sendDir() in basebackup.c); initdb and pg_basebackup want directories
    for WAL and tablespaces empty (pg_check_dir() in pgcheckdir.c).
    """
    options, found = cluster.options, []
    data = layout.data
    if not living:
        found += [_closed(data), _root("cluster_data_directory", data)]
        wal = options.wal_directory
        found += [_closed(wal), _root("cluster_wal_directory", wal)] if wal else []
    elif not _listed(os.path.join(data, LOST)):
        found.append(
            f"{os.path.join(data, LOST)} is in the data directory, and {OWNER} may not read it: every base backup and every "
            f"clone of this node ends there. Remove it (rmdir; it is empty, unless fsck has found something)."
        )
    for item in options.tablespaces if cluster.node(name).kind == "postgres" else ():
        location = item["location"]
        # One that is used has what is in it, and is looked at when the node is cloned.
        if not any(entry.startswith(f"PG_{layout.version}_") for entry in entries(location)):
            what = f"cluster_tablespaces: the location of {item['name']}"
            found += [_closed(location), _root(what, location)]
    return tuple(text for text in found if text)


def _root(what: str, path: str) -> str:
    if LOST not in entries(path):
        return ""
    return (
        f"{what}, {path}, is the root of a file system (it has {LOST}): use a directory below the mount point, "
        f"{os.path.join(path, 'main')} say."
    )


def _closed(path: str) -> str:
    """Why the owner of the data cannot get to *path*; what is missing is made, open."""
    above = ""
    try:
        with acting_as(of_user(OWNER)):
            # From the top, so that the first that is closed is named.
            for above in reversed([*ways(os.path.dirname(os.path.abspath(path)))]):
                os.stat(os.path.join(above, "."))
    except PermissionError:
        return f"{OWNER} cannot get to {path}: {above} is closed to it. Open it (chmod o+x {above})."
    except (OSError, Unreachable):
        pass
    return ""


def _listed(path: str) -> bool:
    """Whether the owner of the data can read the directory *path*, or there is none."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return True
        with acting_as(of_user(OWNER)):
            os.listdir(path)
    except (FileNotFoundError, Unreachable):
        return True
    except OSError:
        return False
    return True


def refuse(said: dict[str, tuple[str, ...]]) -> None:
    """Raise PgherdError where a node has *said*, by name, what is in its way."""
    found = [f"{name}: {text}" for name, texts in said.items() for text in texts]
    if found:
        raise PgherdError("Nothing was begun. " + "\n".join(found))
