# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the lab needs of the machine it runs on: packages, podman, and how a systemd container boots here.

Everything that depends on the kind of machine is in this file. A machine with the unified cgroup hierarchy needs
nothing special. Under cgroup v1 or the hybrid hierarchy podman gets a ``containers.conf`` of the lab's own, and a
container gets the (otherwise empty) cgroup2 mount to boot systemd on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache"
LAB = CACHE / "lab"

# command -> the Debian package that brings it. podman only recommends its network backend and runc.
PACKAGES = {
    "podman": "podman",
    "runc": "runc",
    "/usr/lib/podman/netavark": "netavark",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}

# One systemd host takes about ten; 128, the kernel's default, is too few for two clusters.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 1024

_CONTAINERS_CONF = """\
# Written by the lab for machines with cgroup v1 or hybrid cgroups: crun and systemd's cgroup manager refuse those,
# and the default limits are above what such a machine lets a process raise.
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[engine.runtimes]
runc = ["/usr/sbin/runc", "/usr/bin/runc"]
"""


T = TypeVar("T")


class LabError(Exception):
    """Something a person has to read: what was attempted and what came back."""


def say(text: str) -> None:
    """Tell a person what is happening; standard output stays free for results."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str], stdin: str = "", check: bool = True) -> str:
    """Run a command and return its standard output.

    Raises LabError with the command and its standard error when it fails and ``check`` is set.
    """
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, env=environment(), check=False)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command[:4])} ... exited {done.returncode}: {said[-2000:]}")
    return done.stdout


class Late(LabError, AssertionError):
    """Something did not become true in time; says what was last seen."""


def words_of(process: int) -> str:
    """The command line of a process of this machine, with a blank behind each word. Raises OSError: it may have just ended."""
    line = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return line.strip() + " "


def send(processes: Iterable[int], number: signal.Signals) -> None:
    """A signal to processes of this machine. One may die of the other's death, say."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def until(
    what: str, ask: Callable[[], T], seconds: float = 30.0, every: float = 0.2, missed: tuple[type[Exception], ...] = ()
) -> T:
    """The first answer of *ask* that counts as true. Raises Late after *seconds*. A question that ends with an exception of
    *missed* is asked again, *every* so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        seen = ""
        try:
            answer = ask()
        except missed as error:
            if isinstance(error, Late):
                raise
            seen = f"{type(error).__name__}: {error}"
        else:
            if answer:
                return answer
            seen = repr(answer)
        if time.monotonic() > deadline:
            raise Late(f"waited {seconds:.0f} s in vain for {what}; last seen: {seen[:1500]}")
        time.sleep(every)  # between two questions, not a guess at how long it takes


def unified_cgroups() -> bool:
    """Whether /sys/fs/cgroup is the cgroup2 hierarchy, as on any current distribution."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def environment() -> dict[str, str]:
    """The environment of the lab's commands; names the lab's containers.conf where this machine needs one."""
    env = dict(os.environ, LC_ALL="C.UTF-8")
    if unified_cgroups():
        return env
    conf = LAB / "containers.conf"
    if not conf.exists() or conf.read_text() != _CONTAINERS_CONF:
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(_CONTAINERS_CONF)
    env["CONTAINERS_CONF"] = str(conf)
    return env


def boot_flags(tmp: str = "") -> list[str]:
    """Flags of ``podman run`` with which systemd boots as process 1; *tmp* are mount options of /tmp.

    Privileged, because the tests mount loop devices and change the host's packet filter from inside.
    """
    own_tmp = ["--tmpfs", f"/tmp:{tmp}"] if tmp else []
    if unified_cgroups():
        return ["--privileged", "--systemd=always", *own_tmp]
    return [
        *("--privileged", "--systemd=false", "--env", "container=podman", "--tmpfs", "/run"),
        *(own_tmp or ["--tmpfs", "/tmp"]),
        *("--volume", "/sys/fs/cgroup/unified:/sys/fs/cgroup:rw"),
    ]


def install_packages(wanted: Mapping[str, str] | None = None) -> None:
    """Install what is missing with apt-get: packages by the command that each brings. LabError says what to install where that
    is not possible."""
    missing = sorted({package for command, package in (wanted or PACKAGES).items() if not shutil.which(command)})
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise LabError(f"this needs the packages {', '.join(missing)}: install them, or run it as root on Debian")
    say(f"installing {', '.join(missing)}")
    command = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run(["apt-get", "update", "-qq"], check=False)  # a broken third-party source must not stop us
    run([*command, *missing])


def enough_inotify(setting: Path = INOTIFY, wanted: int = INOTIFY_INSTANCES) -> None:
    """Raise the number of inotify instances that one user may have, where it is lower than many hosts' systemds need.

    Containers of one user share it, and a systemd that gets none fails its units with "Too many open files". LabError
    says what to do where it cannot be raised.
    """
    try:
        found = int(setting.read_text())
        if found >= wanted:
            return
        setting.write_text(f"{wanted}\n")
    except OSError as error:
        cure = f"as root: sysctl fs.inotify.max_user_instances={wanted}"
        raise LabError(f"{setting} must be {wanted} for many hosts: {error.strerror}; {cure}") from error
    say(f"fs.inotify.max_user_instances was {found}, is {wanted} now: every host's systemd needs some")


def podman(*arguments: str, stdin: str = "", check: bool = True) -> str:
    """``podman`` with the given arguments; returns standard output, raises LabError."""
    return run(["podman", *arguments], stdin=stdin, check=check)


def inside(container: str, *command: str, stdin: str = "", check: bool = True) -> str:
    """Run a command as root in a container; its standard output. Raises LabError.

    What ``podman exec`` does, which takes longer to start than psql to ask: a test that polls eight hosts would keep two
    processors from what it waits for.
    """
    process = _first_process(container) if os.geteuid() == 0 else 0
    if not process:
        return podman("exec", "-i", container, *command, stdin=stdin, check=check)
    namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
    enter = ("nsenter", "--target", str(process), *namespaces, "--", "env", "--ignore-environment", *_ENV)
    try:
        return run([*enter, *command], stdin=stdin, check=check)
    except LabError as error:
        raise LabError(f"{container}: {' '.join(command[:4])}: {error}") from error


_ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "container=podman")
# By container, its id and its first process.
_seen: dict[str, tuple[str, int]] = {}


def _first_process(container: str, proc: Path = Path("/proc")) -> int:
    """The container's process 1, as this machine numbers it; 0 where it does not run. A number from before may be any other
    process by now, so it is asked whose it is."""

    def runs(known: tuple[str, int]) -> bool:
        try:
            return f"libpod-{known[0]}" in (proc / str(known[1]) / "cgroup").read_text()
        except OSError:
            return False

    if container not in _seen or not runs(_seen[container]):
        said = podman("inspect", "--format", "{{.Id}} {{.State.Pid}}", container, check=False).split()
        _seen[container] = (said[0], int(said[1])) if len(said) == 2 else ("", 0)
    return _seen[container][1] if runs(_seen[container]) else 0
