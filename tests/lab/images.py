# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Base images of the test hosts: Debian with systemd and sshd, as empty as a freshly installed machine.

No registry is involved: mmdebstrap builds them from Debian's archive. The packages that the site playbook installs lie
in the image's apt cache as .deb files, downloaded and not installed, and so do the package lists: eight hosts do not
fetch the same 100 MB eight times.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from machine import LabError, install_packages, podman, run, say

NAME = "localhost/pgherd-lab"
LABEL = "pgherd.recipe"
MIRROR = "http://deb.debian.org"
BASE = (
    *("systemd", "systemd-sysv", "dbus", "udev", "python3", "python3-apt", "sudo", "ca-certificates"),
    *("iproute2", "procps", "openssh-server", "less", "util-linux-extra"),
)
CACHED = {
    "trixie": (
        *("postgresql-17", "postgresql-17-repmgr", "postgresql-17-pgaudit", "postgresql-17-cron", "pgpool2"),
        *("barman", "barman-cli", "python3-psycopg", "python3-prometheus-client", "acl", "openssl", "iptables"),
    ),
    "bookworm": (
        *("postgresql-15", "postgresql-15-repmgr", "postgresql-15-pgaudit", "postgresql-15-cron", "pgpool2"),
        *("barman", "barman-cli", "python3-psycopg", "python3-prometheus-client", "acl", "openssl", "iptables"),
        "dnsmasq-base",  # of the name server beside rough hosts
    ),
}

# Runs on the finished tree ($1). Nothing may compete with a measurement, so timers are off; host keys are made at the
# first boot, since hosts that share them are not told apart by ssh.
_FINISH = """\
set -eu
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/machine-id "$1"/etc/hostname
touch "$1"/etc/machine-id
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \\
  getty.target console-getty.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \\
  systemd-udevd-control.socket systemd-udevd-kernel.socket; do
  ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
mkdir -p "$1"/etc/systemd/system/ssh.service.d
cat >"$1"/etc/systemd/system/ssh.service.d/lab.conf <<'END'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
END
cat >"$1"/etc/ssh/sshd_config.d/lab.conf <<'END'
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxSessions 50
MaxStartups 100
END
chroot "$1" apt-get clean
chroot "$1" apt-get install -qq --yes --download-only {packages}
"""


def sources(release: str) -> list[str]:
    """Where apt gets the packages of a release."""
    return [
        f"deb {MIRROR}/debian {release} main",
        f"deb {MIRROR}/debian {release}-updates main",
        f"deb {MIRROR}/debian-security {release}-security main",
    ]


def _recipe(release: str) -> str:
    """Identity of an image: changes when what it is built from changes."""
    parts = [release, BASE, CACHED[release], _FINISH, sources(release)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def reference(release: str) -> str:
    """The image's name for ``podman run``; LabError for a release the lab does not know."""
    if release not in CACHED:
        raise LabError(f"no image for Debian {release!r}: the lab knows {', '.join(CACHED)}")
    return f"{NAME}:{release}"


def ensure(release: str) -> None:
    """Build and import the image of a release unless it is there, made by the same recipe."""
    name, recipe = reference(release), _recipe(release)
    found = podman("image", "inspect", "--format", f'{{{{index .Labels "{LABEL}"}}}}', name, check=False).strip()
    if found == recipe:
        return
    old = podman("image", "inspect", "--format", "{{.Id}}", name, check=False).strip()
    say(f"building the {release} image with mmdebstrap (a minute or two, once)")
    with tempfile.TemporaryDirectory(prefix="pgherd-image-") as directory:
        tar, finish = Path(directory) / "root.tar", Path(directory) / "finish.sh"
        finish.write_text("#!/bin/sh\n" + _FINISH.replace("{packages}", " ".join(CACHED[release])))
        finish.chmod(0o755)
        run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(BASE)),
                *("--skip=cleanup/apt", f"--customize-hook={finish}", release, str(tar), *sources(release)),
            ]
        )
        podman("import", "--quiet", "--change", f"LABEL={LABEL}={recipe}", "--change", "CMD=/sbin/init", str(tar), name)
    if old:
        podman("rmi", old, check=False)  # stays while a host still runs from it
    say(f"{name} is ready")


def ensure_all(releases: list[str]) -> None:
    """Install what the machine lacks, then make sure of every named image."""
    install_packages()
    for release in releases:
        ensure(release)
