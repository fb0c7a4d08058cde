# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Gives each data node a disk of its own for PostgreSQL, so that one can be full or stand still without the machine.

    python tests/faults/disks.py CLUSTER pg1 pg2 ...     before the site playbook: the hosts are empty

A sparse file in the host, mounted through a loop device by systemd at every boot.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.cluster import LabError, lab, pid, podman, run

SIZE = "3G"
MOUNT = "var-lib-postgresql.mount"

# udev does not run in the hosts, and the kernel may hand out any number.
_UNITS = f"""\
cat >/etc/systemd/system/loop-devices.service <<'END'
[Unit]
DefaultDependencies=no
Before={MOUNT}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for n in $(seq 0 63); do [ -b /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done'
END
cat >/etc/systemd/system/{MOUNT} <<'END'
[Unit]
Requires=loop-devices.service
After=loop-devices.service
[Mount]
What=/srv/postgresql.img
Where=/var/lib/postgresql
Type=ext4
Options=loop
[Install]
RequiredBy=local-fs.target
END
systemctl daemon-reload
systemctl enable --quiet --now {MOUNT}
mountpoint -q /var/lib/postgresql
rmdir /var/lib/postgresql/lost+found 2>/dev/null || :
"""


def make(cluster: str, nodes: Iterable[str]) -> None:
    """Disks for empty hosts of a cluster; one that has its disk keeps it. Raises LabError."""
    for name in nodes:
        container = lab.host(cluster, name).container
        script = "mountpoint -q /var/lib/postgresql || ls -A /var/lib/postgresql"
        if podman("exec", container, "sh", "-c", script, check=False).strip():
            raise LabError(f"{name} has something in /var/lib/postgresql: a disk is for an empty host")
        image = Path(f"/proc/{pid(container)}/root/srv/postgresql.img")
        if not image.exists():
            run(["truncate", "-s", SIZE, str(image)])
            run(["mkfs.ext4", "-q", "-F", str(image)])  # the hosts have no mkfs
        podman("exec", "-i", container, "sh", "-eu", stdin=_UNITS)


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2:])
