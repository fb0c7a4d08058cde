# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Faults of test nodes. Every one of them is found and healed by ``sweep``, also those that a crashed run left.

Processes are signalled from this machine, packets dropped in a node's own network namespace (chain ``faults``), files
changed only after a copy of them lies in the node's directory for such. What a node's place cannot do raises Impossible.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from place import CLOCK, DISKS, NAMES, UNITS

from faults.cluster import Cluster, Impossible, LabError, until

BALLAST = "ballast.faults"
STORM = "storm.faults"
DROP_IN = "zz-faults.conf"  # read after all others

# what -> how its command line looks in /proc
PROCESSES: dict[str, Callable[[str], bool]] = {
    "postmaster": lambda line: "/bin/postgres -D" in line,
    "backend": lambda line: line.startswith("postgres:") and " app app " in line,
    "walreceiver": lambda line: line.startswith("postgres:") and "walreceiver" in line,
    "walsender": lambda line: line.startswith("postgres:") and "walsender" in line,
    "checkpointer": lambda line: line.startswith("postgres:") and line.rstrip().endswith("checkpointer"),
    "repmgrd": lambda line: "/repmgrd " in line or line.startswith("repmgrd"),
    "promotion": lambda line: "pgherd promote" in line or ("repmgr" in line and "standby promote" in line),
    "agent": lambda line: "/pgherd agent " in line,
    "pgpool": lambda line: "/pgpool " in line or line.startswith("pgpool"),
    "receiver": lambda line: "pg_receivewal" in line or "receive-wal" in line,
    "clone": lambda line: "pg_basebackup" in line or ("repmgr" in line and "standby clone" in line),
    "rewind": lambda line: "pg_rewind" in line,
}


def _possible(cluster: Cluster, what: str) -> None:
    if why := cluster.place.cannot(what):
        raise Impossible(why)


# Processes


def processes(cluster: Cluster, host: str, what: str) -> list[int]:
    """Processes of a kind in a host, as this machine numbers them, the oldest first."""
    return sorted(number for number, line in cluster.place.processes(host).items() if PROCESSES[what](line))


def send(cluster: Cluster, host: str, what: str, number: signal.Signals, only: int = 0) -> list[int]:
    """Signal all processes of a kind in a host, or the first *only*. Raises LookupError when there is none."""
    found = processes(cluster, host, what)
    if not found:
        raise LookupError(f"{host} runs no {what}")
    chosen = found[:only] if only else found
    cluster.place.signal(chosen, number)
    return chosen


def kill(cluster: Cluster, host: str, what: str, only: int = 0) -> list[int]:
    """kill -9."""
    return send(cluster, host, what, signal.SIGKILL, only)


def stop(cluster: Cluster, host: str, what: str) -> list[int]:
    """SIGSTOP: it is there and does nothing."""
    return send(cluster, host, what, signal.SIGSTOP)


def go_on(cluster: Cluster, processes_: Iterable[int]) -> None:
    """SIGCONT for what was stopped and still lives."""
    cluster.place.signal(processes_, signal.SIGCONT)


def children(what: str) -> list[int]:
    """Processes that this one started, directly or not, whose command line holds *what*."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")

    def ours(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == os.getpid():
                return True
        return False

    return [process for process, line in lines.items() if what in line and ours(process)]


# Hosts


def power_cut(cluster: Cluster, *hosts: str) -> None:
    """Hosts are gone at once. No packet leaves them any more, so nobody is told."""
    cluster.place.power_off(*hosts)


def power_on(cluster: Cluster, *hosts: str) -> None:
    """They boot again."""
    cluster.place.power_on(*hosts)


def freeze(cluster: Cluster, host: str) -> None:
    """The whole host stands still; its kernel still acknowledges packets."""
    cluster.place.freeze(host)


def thaw(cluster: Cluster, host: str) -> None:
    """And goes on as if no time had passed."""
    cluster.place.thaw(host)


def storm(cluster: Cluster, host: str, loops: int) -> None:
    """So many loops that do nothing but start processes take a host's processors, beside its services and outside of their
    control groups; each process has a network namespace of its own, and the kernel takes those down one after the other. All of a
    lab's hosts share this machine's."""
    file = f"{cluster.place.kept()}/{STORM}"
    script = f"""
mkdir -p {cluster.place.kept()}
printf 'while :; do unshare --net /bin/true; done' > {file}
for loop in $(seq {loops}); do setsid sh {file} </dev/null >/dev/null 2>&1 & done
"""
    cluster.sh(host, script)


@contextmanager
def short_of_memory(pause: float = 0.5) -> Iterator[None]:
    """This machine forgets what it has read of files, every so many seconds: programs and data are read from disk again and
    again, as where there is too little memory."""
    over = threading.Event()

    def forget() -> None:
        while not over.wait(pause):
            Path("/proc/sys/vm/drop_caches").write_text("1\n")

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def calm(cluster: Cluster, host: str) -> None:
    """They end."""
    cluster.sh(host, _calm(cluster), check=False)


def _calm(cluster: Cluster) -> str:
    file = f"{cluster.place.kept()}/{STORM}"
    return f"""
[ ! -e {file} ] || {{ rm {file}
  for line in $(grep -l {STORM} /proc/[0-9]*/cmdline 2>/dev/null); do
    pid=${{line#/proc/}}; pid=${{pid%/cmdline}}
    [ "$pid" = $$ ] || kill -KILL "$pid" 2>/dev/null || :
  done
  echo calmed
}}
"""


# Network


def isolate(cluster: Cluster, host: str, but: Iterable[str] = ()) -> None:
    """A host loses everybody, except *but* (CLIENT is this machine)."""
    rules = ["-i lo -j RETURN", "-o lo -j RETURN"]
    for other in but:
        rules += [f"-s {cluster.address(other)} -j RETURN", f"-d {cluster.address(other)} -j RETURN"]
    cluster.place.drop(host, [*rules, "-j DROP"])


def cut(
    cluster: Cluster,
    left: Iterable[str],
    right: Iterable[str],
    *,
    incoming: bool = True,
    outgoing: bool = True,
    port: int = 0,
    loss: float = 1.0,
) -> None:
    """Packets between two sets of hosts are dropped, in the left ones' network.

    *incoming*, *outgoing*: which way, as the left ones see it. *port*: only that TCP port of either side. *loss*: the
    share that is dropped, at random.
    """
    others = [cluster.address(host) for host in right]
    random = "" if loss >= 1 else f"-m statistic --mode random --probability {loss} "
    ports = [f"-p tcp --{side} {port} " for side in ("dport", "sport")] if port else [""]
    rules = [
        f"{way} {address} {only}{random}-j DROP"
        for address in others
        for way, wanted in (("-s", incoming), ("-d", outgoing))
        if wanted
        for only in ports
    ]
    for host in left:
        cluster.place.drop(host, rules)


def drop(cluster: Cluster, host: str, rule: str) -> None:
    """Packets that match an iptables rule are dropped in a host."""
    cluster.place.drop(host, [f"{rule} -j DROP"])


def refuse(cluster: Cluster, host: str, rule: str) -> None:
    """TCP packets that match an iptables rule are answered with a reset in a host."""
    cluster.place.drop(host, [f"{rule} -j REJECT --reject-with tcp-reset"])


def join(cluster: Cluster, *hosts: str) -> None:
    """All packets pass again in these hosts, or in all that run."""
    for host in hosts or cluster.everyone:
        cluster.place.join(host)


# Files and disks


def keep(cluster: Cluster, host: str, path: str) -> None:
    """Put a copy of a file aside; the first one counts. ``restore`` brings it back."""
    kept = cluster.place.kept()
    script = f'mkdir -p {kept}; to={kept}/$(echo "$1" | tr / %); [ -e "$to" ] || cp -pL "$1" "$to"'
    cluster.run(host, "sh", "-euc", script, "sh", path)


def restore(cluster: Cluster, host: str) -> None:
    """Bring all files back that were put aside. Written in place, since /etc/hosts may be a mount of its own."""
    script = f"""
for kept in {cluster.place.kept()}/%*; do
  [ -e "$kept" ] || continue
  file=$(basename "$kept" | tr % /)
  cat "$kept" > "$file"
  rm "$kept"
done
"""
    cluster.sh(host, script)


def append(cluster: Cluster, host: str, path: str, line: str) -> None:
    """A line more at the end of a file, until ``restore``."""
    keep(cluster, host, path)
    cluster.run(host, "sh", "-euc", 'printf "%s\\n" "$2" >> "$1"', "sh", path, line)


def no_names(cluster: Cluster, host: str) -> None:
    """Names resolve no more: an empty /etc/hosts, and a name server that nobody reaches."""
    _possible(cluster, NAMES)
    for path, text in (("/etc/hosts", ""), ("/etc/resolv.conf", "nameserver 192.0.2.1")):
        keep(cluster, host, path)
        cluster.run(host, "sh", "-euc", 'printf "%s\\n" "$2" > "$1"', "sh", path, text)
    cluster.place.drop(host, [f"-p {protocol} --dport 53 -j DROP" for protocol in ("udp", "tcp")])


def fill_disk(cluster: Cluster, host: str, leave: int = 0) -> None:
    """No room is left (*leave* bytes) where the data are, which has to be a file system of its own."""
    _possible(cluster, DISKS)
    directory = _own_file_system(cluster, host)
    # In pieces, the last of one block: fallocate takes all or nothing.
    script = f"""
free=$(( $(stat -f -c '%a * %S' {directory}) - {leave} ))
fallocate -l "$free" {directory}/{BALLAST} 2>/dev/null || dd if=/dev/zero of={directory}/{BALLAST} bs=1M 2>/dev/null || :
dd if=/dev/zero of={directory}/{BALLAST}.2 bs=4k 2>/dev/null || :
"""
    cluster.sh(host, script if not leave else script.rsplit("dd ", 1)[0])


def freeze_disk(cluster: Cluster, host: str) -> None:
    """Every write to the data waits; the kernel and the network live."""
    _possible(cluster, DISKS)
    cluster.run(host, "fsfreeze", "--freeze", _own_file_system(cluster, host))


def thaw_disk(cluster: Cluster, host: str) -> None:
    """Writes go on."""
    cluster.run(host, "fsfreeze", "--unfreeze", DISK, check=False)


DISK = "/var/lib/postgresql"


def _own_file_system(cluster: Cluster, host: str) -> str:
    if cluster.run(host, "mountpoint", DISK, check=False).strip().endswith("is a mountpoint"):
        return DISK
    raise LabError(f"{host}: {DISK} is no file system of its own; tests/faults/disks.py makes it one on an empty host")


def slow_disk(cluster: Cluster, host: str, bytes_per_second: int) -> None:
    """Writes of a host go no faster than this; 0 takes the limit away. Needs the blkio controller of cgroup v1."""
    _possible(cluster, DISKS)
    device = os.stat("/var/lib").st_dev
    name = f"{os.major(device)}:{os.minor(device) & ~0xF}"
    cgroup = next(
        (line.split(":", 2)[2] for line in Path(f"/proc/{cluster.place.pid(host)}/cgroup").read_text().splitlines()
         if "blkio" in line.split(":")[1].split(",")),
        None,
    )  # fmt: skip
    if cgroup is None:
        raise LabError("this machine has no blkio controller to slow a disk with")
    path = Path("/sys/fs/cgroup/blkio") / cgroup.lstrip("/") / "blkio.throttle.write_bps_device"
    path.write_text(f"{name} {bytes_per_second}\n")


def wreck(cluster: Cluster, host: str) -> None:
    """What pgpool's processes share is gone, as when one of them ends with the main process' handler (pools/broken_pgpool.py)."""
    cluster.sh(host, "rm /run/postgresql/.s.PGSQL.*; ipcrm --all=sem; ipcrm --all=shm")


# Settings of units and servers


def drop_in(cluster: Cluster, host: str, unit: str, text: str) -> None:
    """A drop-in for a unit, gone with the next boot."""
    _possible(cluster, UNITS)
    path = f"/run/systemd/system/{unit}.d"
    cluster.run(host, "sh", "-euc", f'mkdir -p {path}; printf "%s\\n" "$1" > {path}/{DROP_IN}', "sh", text)
    cluster.run(host, "systemctl", "daemon-reload")


def other_clock(cluster: Cluster, host: str, offset: str, *units: str) -> None:
    """PostgreSQL and *units* of a host live at another time ("+1h"). They are restarted for it. Installs libfaketime when
    missing. Files keep the times that they have, as they would where a clock was set: an agent knows data by their birth."""
    _possible(cluster, CLOCK)
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    arch = cluster.run(host, "uname", "-m").strip()
    library = library.replace("x86_64", arch)
    cluster.sh(
        host, f"[ -e {library} ] || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y libfaketime >/dev/null"
    )
    settings = {"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    text = "\n".join(["[Service]", *(f"Environment={name}={value}" for name, value in settings.items())])
    for unit in (cluster.unit, *units):
        drop_in(cluster, host, unit, text)
    for name, value in settings.items():
        # pg_ctlcluster starts the server with what this file says and nothing of its own environment.
        append(cluster, host, f"/etc/postgresql/{cluster.version}/main/environment", f"{name} = '{value}'")
    cluster.run(host, "systemctl", "restart", cluster.unit, *units)


def no_promotion(cluster: Cluster, host: str) -> None:
    """repmgrd's promotion fails on a host, whatever its command would have done."""
    path = f"/etc/repmgr/{cluster.version}/repmgr.conf"
    real = cluster.run(host, "readlink", "-f", path).strip()
    keep(cluster, host, real)
    cluster.run(host, "sed", "-i", "s|^promote_command *=.*|promote_command = '/bin/false'|", real)
    send(cluster, host, "repmgrd", signal.SIGHUP, only=1)


@contextmanager
def exhausted(cluster: Cluster, host: str) -> Iterator[int]:
    """Idle sessions take every place that a server has for ordinary users; how many they are."""
    taken: list[psycopg.Connection[tuple[object, ...]]] = []

    def one_more() -> bool:
        try:
            taken.append(psycopg.connect(cluster.dsn(host), connect_timeout=3))
        except psycopg.OperationalError as error:
            if "slots" not in str(error) and "too many" not in str(error):
                raise
            return False
        return True

    try:
        while one_more():
            pass
        yield len(taken)
    finally:
        for session in taken:
            session.close()


# Healing


def sweep(cluster: Cluster) -> list[str]:
    """Heal every fault that is there, of this run or an earlier one; what was healed, in words."""

    def mend(host: str) -> list[str]:
        healed = []
        state = cluster.place.state(host)
        if state == "paused":
            thaw(cluster, host)
            healed.append("thawed")
        elif state != "running":
            power_on(cluster, host)
            until(f"{host} to boot", lambda: cluster.place.booted(host), 120)
            healed.append("switched on")
        if cluster.place.join(host):
            healed.append("joined")
        said = cluster.sh(host, _mend(cluster))
        if "repmgr.conf" in said:
            with suppress(LookupError):
                send(cluster, host, "repmgrd", signal.SIGHUP, only=1)
        return [f"{host}: {word}" for word in (*healed, *said.split())]

    # First: nodes may need it to come back.
    healed = cluster.place.heal()
    with ThreadPoolExecutor(4) as pool:
        return [*healed, *(word for words in pool.map(mend, cluster.everyone) for word in words)]


def _mend(cluster: Cluster) -> str:
    place, directory = cluster.place, cluster.place.kept()
    disks = f"fsfreeze --unfreeze {DISK} 2>/dev/null && echo disk-thawed"
    return f"""
{disks if not place.cannot(DISKS) else ""}
for status in $(grep -ls '^State:.T' /proc/[0-9]*/status); do
  pid=${{status#/proc/}}; pid=${{pid%/status}}
  kill -CONT "$pid" 2>/dev/null && echo "continued-$pid"
done
{_calm(cluster)}
for ballast in {DISK}/{BALLAST}*; do [ -e "$ballast" ] && rm -f "$ballast" && echo emptied; done
for kept in {directory}/%*; do
  [ -e "$kept" ] || continue
  file=$(basename "$kept" | tr % /)
  cat "$kept" > "$file" && rm "$kept" && echo "restored-$file"
done
{_UNITS if not place.cannot(UNITS) else ""}
exit 0
"""


_UNITS = f"""
found=
for dropin in /run/systemd/system/*.d/{DROP_IN}; do
  [ -e "$dropin" ] || continue
  unit=$(basename "$(dirname "$dropin")" .d)
  rm "$dropin"; found="$found $unit"; echo "drop-in-$unit"
done
if [ -n "$found" ]; then systemctl daemon-reload; systemctl try-restart $found; fi
"""


def main() -> int:
    """``python -m faults.inject CLUSTER INVENTORY``: heal what an earlier run left."""
    for word in sweep(Cluster(sys.argv[1], Path(sys.argv[2]))):
        print(word)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, subprocess.SubprocessError) as error:
        sys.exit(f"faults: {error}")
