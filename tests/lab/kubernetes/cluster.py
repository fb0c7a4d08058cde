# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A real Kubernetes on this machine, for tests: every component unpatched, nodes in namespaces, no registry.

    cluster.py build                     programs and images, once per machine and version
    cluster.py up --nodes 3              start it; does nothing where it runs, or where KUBECONFIG names another
    cluster.py kubeconfig                export KUBECONFIG=$(cluster.py kubeconfig)
    cluster.py kubectl get pods -A       kubectl of its version, as its administrator
    cluster.py load IMAGE                podman's image, or an archive of one, into all nodes
    cluster.py status
    cluster.py node-down 2; cluster.py node-up 2           power cut, power on
    cluster.py freeze 2; cluster.py thaw 2
    cluster.py cut 2 in|out|both|kubelet|api; cluster.py heal 2     packets to it, from it, of kubelet, of kubelet and pods
    cluster.py part demo/pg-0 demo/pg-1; cluster.py heal            two pods do not hear each other
    cluster.py api-down; cluster.py api-up
    cluster.py kill demo/pg-0 node [KILL]                  a signal for a container's process 1
    cluster.py down

There is one on a machine. From another checkout than the one that started it, --shared before the verb changes it all the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import archives
import certificates
import control
import faults_of_pods as harm
import loading
import network
import nodes
import programs
import state
from machine import LabError, enough_inotify, install_packages, say
from state import ADMIN, MOST_NODES, STATE, Settings, others

# command -> the Debian package that brings it.
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "etcd": "etcd-server",
    "iptables": "iptables",
    "nft": "nftables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "catatonit": "catatonit",
    "openssl": "openssl",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "podman": "podman",
    "nsenter": "util-linux",
    "sysctl": "procps",
}


def build(policies: bool = True) -> Settings:
    """Install, build and make what is missing; where it lies. Raises LabError."""
    install_packages(PACKAGES)
    built = programs.paths(policies)
    return Settings(programs=built, images=archives.paths(built))


def up(how: Settings, anybodys: bool = False) -> None:
    """Start it, or what is off of it. Raises LabError."""
    if os.geteuid():
        raise LabError(
            "the lab's Kubernetes is made of namespaces and routes of this machine: run it as root, or set KUBECONFIG"
        )
    state.mine(anybodys)
    begun, found = time.monotonic(), state.settings()
    if found and not all(map(state.processes, control.PARTS)):
        say("some of its control plane has ended: it is started anew")
        down()
        found = None
    if found and replace(found, checkout="", programs={}, images={}) != replace(how, checkout=""):
        raise LabError(f"it runs with {found.nodes} nodes or other settings ({state.SETTINGS}): take it down first")
    if not found:
        made = build(how.policies)
        down()  # what one that crashed while it started has left
        enough_inotify()
        state.save(replace(how, programs=made.programs, images=made.images))
        certificates.make()
        network.make()
        control.start(*control.PARTS)
        _told(begun, "API server ready")
    for node in range(1, how.nodes + 1):
        nodes.up(node)
    for node in range(1, how.nodes + 1):
        nodes.ready(node)
    _told(begun, f"{how.nodes} node(s) ready")
    control.add_ons()
    _told(begun, "cluster DNS and storage ready")


def _told(begun: float, what: str) -> None:
    say(f"{time.monotonic() - begun:3.0f} s {what}")


def down() -> None:
    """End and remove all of it, whatever is left of it."""
    for node in range(1, MOST_NODES + 1):
        if state.processes(state.name_of(node)) or (STATE / state.name_of(node)).exists():
            nodes.down(node)
    for part in reversed(control.PARTS):
        state.stop(part)
    nodes.forget_groups()
    nodes.forget_mount_points()
    if shutil.which("nft"):
        network.remove()
    if STATE.exists():
        shutil.rmtree(STATE)


def _status() -> None:
    how = state.running()
    print(f"started from {how.checkout}, {state.age() / 60:.0f} minutes ago; KUBECONFIG={ADMIN}")
    for part in control.PARTS:
        print(f"{part:24} {'running' if state.processes(part) else 'ended'}")
    for node in range(1, how.nodes + 1):
        cut = "cut" if state.first_process(node) and network.is_cut(node) else ""
        print(
            f"{state.name_of(node):24} {'on' if state.first_process(node) else 'off':7} {state.address(node):12} {cut}"
        )
    if control.answers():
        print(control.kubectl("get", "nodes,pods", "-A", "-o", "wide"))


def _kubectl(words: list[str]) -> None:
    program = state.running().program("kubectl")
    os.execv(program, [program, f"--kubeconfig={ADMIN}", *words])


def _up(a: argparse.Namespace) -> None:
    up(Settings(a.nodes, a.grace, a.evict, a.proxy, a.policies), a.shared)


def _load(arguments: argparse.Namespace) -> None:
    for image in arguments.image:
        loading.load(image)


def _node_up(arguments: argparse.Namespace) -> None:
    nodes.up(arguments.node)
    nodes.ready(arguments.node)


def _heal(given: list[int]) -> None:
    for node in given or nodes.on():
        network.heal(node)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", action="store_true", help="also where another checkout has started it")
    commands = parser.add_subparsers(dest="verb", required=True)

    def command(name: str, does: str, *arguments: str, number: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=does, description=does)
        for argument in arguments:
            made.add_argument(argument, **({"type": int} if argument == "node" else {}))
        return made

    command("build", "build programs and images that are missing").set_defaults(do=lambda _a: build())
    made = command("up", "make sure that it runs")
    made.add_argument("--nodes", type=int, default=3, choices=range(1, MOST_NODES + 1))
    made.add_argument("--grace", type=int, default=50, help="seconds until a silent node counts as NotReady")
    made.add_argument("--evict", type=int, default=300, help="and until its pods are evicted")
    made.add_argument("--proxy", default="iptables", choices=("iptables", "nftables"))
    made.add_argument(
        "--no-policies", dest="policies", action="store_false", help="without NetworkPolicies' kube-router"
    )
    made.set_defaults(do=_up)
    command("down", "remove it").set_defaults(do=lambda _a: down())
    command("status", "what runs").set_defaults(do=lambda _a: _status())
    command("kubeconfig", "print where its kubeconfig is").set_defaults(do=lambda _a: print(ADMIN))
    command("kubectl", "kubectl of its version, as its administrator").set_defaults(do=lambda _a: _kubectl([]))
    made = command("load", "put images of podman's, or archives, into all nodes")
    made.add_argument("image", nargs="+")
    made.set_defaults(do=_load)
    command("node-down", "cut a node's power", "node").set_defaults(do=lambda a: nodes.down(a.node))
    command("node-up", "switch it on", "node").set_defaults(do=_node_up)
    command("freeze", "let a node stand still", "node").set_defaults(do=lambda a: nodes.freeze(a.node))
    command("thaw", "let it go on", "node").set_defaults(do=lambda a: nodes.freeze(a.node, frozen=False))
    made = command("cut", "drop packets of a node", "node")
    made.add_argument("how", nargs="?", default="both", choices=network.CUTS)
    made.set_defaults(do=lambda a: network.cut(a.node, a.how))
    command("part", "two pods do not hear each other", "one", "other").set_defaults(
        do=lambda a: harm.part(a.one, a.other)
    )
    made = command("heal", "all packets pass again, of a node or everywhere")
    made.add_argument("node", nargs="*", type=int)
    made.set_defaults(do=lambda a: _heal(a.node))
    command("api-down", "stop the API server").set_defaults(do=lambda _a: state.stop(control.API))
    command("api-up", "start it").set_defaults(do=lambda _a: control.start(control.API))
    made = command("kill", "signal a container's process 1", "pod", "container")
    made.add_argument("signal", nargs="?", default="KILL")
    made.set_defaults(do=lambda a: harm.kill(a.pod, a.container, a.signal))
    return parser


READERS = ("build", "kubeconfig", "kubectl", "status")


def main() -> int:
    """Run one command; a failure is one line on standard error and exit code 1."""
    # argparse would take kubectl's own options for its own.
    given, words = (sys.argv[1:2], sys.argv[2:]) if sys.argv[1:2] == ["kubectl"] else (sys.argv[1:], [])
    arguments = _parser().parse_args(given)
    if others() and arguments.verb not in READERS:
        say(f"KUBECONFIG is {others()}: tests use that cluster, and the lab's own is left alone; unset it to use that")
        return 0 if arguments.verb == "up" else 1
    try:
        if arguments.verb in ("kubeconfig", "kubectl", "status"):
            _kubectl(words) if words else arguments.do(arguments)
            return 0
        with state.lock():
            if arguments.verb not in READERS:
                state.mine(arguments.shared)
            arguments.do(arguments)
    except (LabError, LookupError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
