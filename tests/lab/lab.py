# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Test hosts that run systemd, as podman containers on this machine.

    lab.py images                                    build the base images
    lab.py up demo --inventory examples/demo/inventory.yml
    lab.py up mine pg1 pg2 backup1:bookworm          hosts by name, Debian release after a colon
    lab.py up mine pg1.rough.test pg2.rough.test --rough     without root, with a name server, and more of the kind
    lab.py add mine pg3                              one more host
    lab.py disk mine pg1 /srv/pg /srv/wal            a disk of its own for each of these directories
    lab.py exec mine pg1 -- systemctl status
    lab.py stop mine pg1; lab.py start mine pg1      power cut, power on
    lab.py status mine
    lab.py down mine

Reach them with ansible through -i .cache/lab/CLUSTER/hosts.yml beside an inventory that says what they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import hosts
import images
import mounts
from machine import LabError, environment, install_packages, run

GROUPS = ("postgres", "witness", "pgpool", "barman")


def _from_inventory(path: str) -> list[str]:
    """Names of all hosts of an inventory, in its groups' order."""
    beside = Path(sys.executable).with_name("ansible-inventory")
    program = str(beside) if beside.exists() else shutil.which("ansible-inventory")
    if not program:
        raise LabError("ansible-inventory is not installed: run this with the Python of .venv (make venv)")
    groups = json.loads(run([program, "-i", path, "--list"]))
    return list(dict.fromkeys(name for group in GROUPS for name in groups.get(group, {}).get("hosts", [])))


def _up(arguments: argparse.Namespace) -> None:
    named = list(arguments.host)
    if arguments.inventory:
        named += _from_inventory(arguments.inventory)
    if not named:
        raise LabError("name hosts, or an inventory that does")
    split = (name.partition(":") for name in named)
    wanted = {name: release or arguments.release for name, _colon, release in split}
    hosts.up(arguments.cluster, wanted, arguments.subnet, arguments.rough)


def _disk(arguments: argparse.Namespace) -> None:
    container = hosts.host(arguments.cluster, arguments.host).container
    for where in arguments.where:
        mounts.make(container, where, f"/var/local/{mounts.unit(where)}.img", arguments.size)


def _exec(arguments: argparse.Namespace) -> None:
    command = [word for word in arguments.command if word != "--"] or ["bash"]
    terminal = ["--interactive", *(["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else [])]
    container = hosts.host(arguments.cluster, arguments.host).container
    os.execvpe("podman", ["podman", "exec", *terminal, container, *command], environment())


def _status(arguments: argparse.Namespace) -> None:
    for one in hosts.hosts(arguments.cluster):
        print(f"{one.name:12} {one.address:15} {one.release:9} {one.state:9} {one.container}")


def _inventory(arguments: argparse.Namespace) -> None:
    print(json.dumps(hosts.inventory_script(arguments.cluster)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="verb", required=True)

    def command(name: str, does: str, cluster: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=does, description=does)
        if cluster:
            made.add_argument("cluster", metavar="CLUSTER")
        return made

    made = command("images", "build the base images that are missing or outdated", cluster=False)
    made.add_argument("release", nargs="*", metavar="RELEASE", default=list(images.CACHED))
    made.set_defaults(do=lambda a: images.ensure_all(a.release))
    made = command("up", "make sure that the hosts exist and run")
    made.add_argument("host", nargs="*", metavar="NAME[:RELEASE]")
    made.add_argument("--inventory", help="take the names of the hosts from this inventory")
    made.add_argument("--release", default="trixie", help="Debian release of hosts that name none")
    made.add_argument("--subnet", help="the cluster's network; otherwise the first free one")
    made.add_argument("--rough", action="store_true", help="make new hosts rough (tests/lab/rough.py)")
    made.set_defaults(do=_up)
    made = command("disk", "give a running host a disk for each directory, with lost+found")
    made.add_argument("host")
    made.add_argument("where", nargs="+", metavar="DIRECTORY")
    made.add_argument("--size", default="2G", help="of each; the file is sparse")
    made.set_defaults(do=_disk)
    made = command("add", "one more host")
    made.add_argument("host")
    made.add_argument("--release", default="", help="Debian release; otherwise that of the first host")
    made.set_defaults(do=lambda a: hosts.add(a.cluster, a.host, a.release))
    for verb, does, do in (("stop", "switch a host off", hosts.stop), ("start", "switch it on", hosts.start)):
        made = command(verb, does)
        made.add_argument("host")
        made.set_defaults(do=lambda a, do=do: do(a.cluster, a.host))
    made = command("exec", "run a command in a host")
    made.add_argument("host")
    made.add_argument("command", nargs=argparse.REMAINDER)
    made.set_defaults(do=_exec)
    command("inventory", "what an Ansible inventory script prints").set_defaults(do=_inventory)
    command("status", "list the hosts").set_defaults(do=_status)
    command("down", "remove the hosts of a cluster").set_defaults(do=lambda a: hosts.down(a.cluster))
    return parser


def main() -> int:
    """Run one command; a failure is one line on standard error and exit code 1."""
    arguments = _parser().parse_args()
    try:
        if arguments.verb not in ("images", "up"):
            install_packages()
        arguments.do(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
