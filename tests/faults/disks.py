# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Gives each data node a disk of its own for PostgreSQL, so that one can be full or stand still without the machine.

python tests/faults/disks.py CLUSTER pg1 pg2 ...     before the site playbook: the hosts are empty
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

import mounts

from faults.cluster import SystemdHosts

WHERE, IMAGE, SIZE = "/var/lib/postgresql", "/srv/postgresql.img", "3G"


def make(cluster: str, nodes: Iterable[str]) -> None:
    """Disks for empty hosts of a cluster; one that has its disk keeps it. Raises LabError."""
    place = SystemdHosts(cluster)
    for name in nodes:
        mounts.make(place.container(name), WHERE, IMAGE, SIZE)
        place.run(name, "sh", "-c", f"rmdir {WHERE}/lost+found 2>/dev/null || :")


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2:])
