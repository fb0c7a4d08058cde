# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Disks of a test host's own: a sparse file in the host, mounted through a loop device by systemd at every boot, with the
lost+found of root's that mkfs leaves."""

from __future__ import annotations

from pathlib import Path

from machine import LabError, podman, run

# udev does not run in the hosts, and the kernel may hand out any number. $1: the mount's unit, $2: the image, $3: where.
_UNITS = """\
cat >/etc/systemd/system/loop-devices.service <<'END'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for n in $(seq 0 63); do [ -b /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done'
END
cat >/etc/systemd/system/$1 <<END
[Unit]
Requires=loop-devices.service
After=loop-devices.service
[Mount]
What=$2
Where=$3
Type=ext4
Options=loop
[Install]
RequiredBy=local-fs.target
END
systemctl daemon-reload
systemctl enable --quiet --now $1
mountpoint -q $3
"""


def unit(where: str) -> str:
    """Name of the unit that mounts at *where*, whose names have no dash."""
    return where.strip("/").replace("/", "-") + ".mount"


def make(container: str, where: str, image: str, size: str) -> None:
    """A disk for a running host whose directory *where* is empty or missing; one that is there stays.

    *image* is the file in the host, *size* as truncate takes it. Raises LabError.
    """
    asking = 'if mountpoint -q "$1"; then echo .; else ls -A "$1"; fi 2>/dev/null'
    there = podman("exec", container, "sh", "-c", asking, "sh", where, check=False).strip()
    if there == ".":
        return
    if there:
        raise LabError(f"{container} has something in {where}: a disk is for an empty directory")
    inside = Path(f"/proc/{podman('inspect', '--format', '{{.State.Pid}}', container).strip()}/root{image}")
    if not inside.exists():
        run(["truncate", "-s", size, str(inside)])
        run(["mkfs.ext4", "-q", "-F", str(inside)])  # the hosts have no mkfs
    podman("exec", "-i", container, "sh", "-eu", "-s", "--", unit(where), image, where, stdin=_UNITS)
