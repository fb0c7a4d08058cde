# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the running Kubernetes of the lab is: its addresses, its directory, its processes, and whose it is.

There is one on a machine, since bridge, addresses and control groups are the machine's. Its state lies in STATE, not in a
checkout, so any checkout can tell whether it runs, and take away what one that is gone has left.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from machine import CHECKOUT, LabError, until

STATE = Path("/var/lib/pgherd-kubernetes")
LOGS, PKI, ADMIN = STATE / "log", STATE / "pki", STATE / "admin.kubeconfig"
SETTINGS, MADE = STATE / "settings.json", STATE / "made"  # MADE: directories of this machine that it had not before
LOCK = Path("/run/lock/pgherd-kubernetes")
PROC = Path("/proc")
MARK = "PGHERD_KUBERNETES"  # in the environment of whatever is started here: control, etcd, node2, ...

HOST, API_PORT = "10.70.0.1", 6443
NODES, PODS, SERVICES = "10.70.0.0/24", "10.71.0.0/16", "10.72.0.0/16"
API_SERVICE, DNS_SERVICE = "10.72.0.1", "10.72.0.10"
ETCD = "http://127.0.0.1:12379"  # not its usual port, where one of the machine's own may be
MOST_NODES = 9


@dataclass(frozen=True)
class Settings:
    """How it was started. *grace*: seconds until a silent node counts as NotReady, *evict*: and until its pods are then
    evicted; both as upstream has them. *policies*: whether NetworkPolicies are kept.
    *programs*, *images*: where they lie, by name."""

    nodes: int = 3
    grace: int = 50
    evict: int = 300
    proxy: str = "iptables"
    policies: bool = True
    checkout: str = str(CHECKOUT)
    programs: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)

    def program(self, name: str) -> str:
        """Path of one of the programs."""
        return self.programs[name]


def address(node: int) -> str:
    """Where a node is, by its number."""
    return f"10.70.0.{10 + node}"


def pods_of(node: int) -> str:
    """Where the pods of a node are."""
    return f"10.71.{node}.0/24"


def name_of(node: int) -> str:
    """A node's name in Kubernetes."""
    return f"node{node}"


def others() -> str:
    """The KUBECONFIG of a person's own cluster; '' where the lab's is to be used."""
    named = os.environ.get("KUBECONFIG", "")
    return "" if named in ("", str(ADMIN)) else named


def settings() -> Settings | None:
    """How the one that is there was started; None where there is none."""
    with suppress(FileNotFoundError):
        return Settings(**json.loads(SETTINGS.read_text()))
    return None


def running() -> Settings:
    """The same. Raises LabError where there is none."""
    found = settings()
    if not found:
        raise LabError("no Kubernetes of the lab runs: start it with python tests/lab/kubernetes/cluster.py up")
    return found


def save(how: Settings) -> None:
    """Make the directory of its state and write down how it is started."""
    LOGS.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(json.dumps(asdict(how), indent=2) + "\n")


def mine(anybodys: bool) -> None:
    """Raises LabError where another checkout's runs, unless *anybodys* may be changed. One whose checkout is gone, or of
    which no process is left, is nobody's."""
    found = settings()
    if not found or anybodys or found.checkout == str(CHECKOUT):
        return
    if Path(found.checkout).exists() and processes():
        raise LabError(
            f"the Kubernetes that runs on this machine was started from {found.checkout}: take it down there, or say"
            " --shared to work with it from here too"
        )


@contextmanager
def lock() -> Iterator[None]:
    """Only one command at a time starts, changes or ends what is there. Raises LabError after ten minutes."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as stream:

        def got() -> bool:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def holder() -> str:
            stream.seek(0)
            return stream.read().strip() or "another process"

        try:
            until("it", got, seconds=600)
        except LabError as error:
            raise LabError(f"{holder()} is at work with the lab's Kubernetes since ten minutes: {LOCK}") from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} of {CHECKOUT}\n")
        stream.flush()
        yield


def start(part: str, command: Sequence[str | Path], log: str = "") -> int:
    """Start a process that outlives this one; its number. *part* marks it and all that it starts."""
    with (LOGS / f"{log or part}.log").open("ab") as out:
        # Kubernetes' own components read it, and a person's must not reach them.
        env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"} | {MARK: part}
        words = [str(word) for word in command]
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd="/", start_new_session=True
        ).pid


def processes(part: str = "", proc: Path = PROC) -> list[int]:
    """Numbers of the processes of a part, or of all, that have not ended."""
    wanted = f"\0{MARK}={part}\0" if part else f"\0{MARK}="
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            # It may have just ended; of one that has the environment is empty.
            with suppress(OSError):
                if wanted in "\0" + (entry / "environ").read_bytes().decode(errors="replace"):
                    found.append(int(entry.name))
    return found


def stop(part: str) -> None:
    """End the processes of a part at once, and wait until they have ended."""

    def gone() -> bool:
        left = processes(part)
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        return not left

    until(f"the end of {part}", gone, seconds=30, every=0.05)


def first_process(node: int) -> int:
    """Process 1 of a node, as this machine numbers it; 0 while the node is off."""
    for number in processes(name_of(node)):
        with suppress(OSError):
            for line in (PROC / str(number) / "status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                    return number
    return 0


def age() -> float:
    """Seconds since it was started."""
    return time.time() - SETTINGS.stat().st_mtime
