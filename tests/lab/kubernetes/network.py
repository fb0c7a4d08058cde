# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The network of the lab's Kubernetes: a bridge of this machine, which routes between nodes, pods and test hosts; and cuts in it.

A cut is a table of packet filter rules in a node's own network, through which its pods' packets go too.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable

from machine import LabError, run
from state import API_PORT, HOST, NODES, PODS, SERVICES, address, name_of, pods_of

BRIDGE, TABLE, CUT = "pgherd-kube", "pgherd-kubernetes", "pgherd-cut"
# Else podman gives its containers this machine's address on their way to pods.
_KEEP = ("POSTROUTING", "-d", PODS, "-m", "comment", "--comment", TABLE, "-j", "ACCEPT")

# Each a chain's hook and its rule. prerouting and postrouting see the pods' packets too, output only what the node's own
# programs send (kubelet, kube-proxy).
CUTS = {
    "in": (("prerouting", 'iifname "eth0" drop'),),
    "out": (("postrouting", 'oifname "eth0" drop'),),
    "both": (("prerouting", 'iifname "eth0" drop'), ("postrouting", 'oifname "eth0" drop')),
    "kubelet": (("output", f"ip daddr {HOST} tcp dport {API_PORT} drop"),),
    "api": (("postrouting", f"ip daddr {HOST} tcp dport {API_PORT} drop"),),
}


def make() -> None:
    """Bridge, routes and address translation. Raises LabError where something of this machine has the addresses."""
    routes = json.loads(run(["ip", "-json", "route", "show"]))
    for route in routes:
        there = "0.0.0.0/0" if route["dst"] == "default" else route["dst"]
        for wanted in (NODES, PODS, SERVICES):
            if there != "0.0.0.0/0" and ipaddress.ip_network(there).overlaps(ipaddress.ip_network(wanted)):
                raise LabError(f"this machine has a route to {there} ({route.get('dev')}), and the lab needs {wanted}")
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{HOST}/24", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])  # podman needs it too, so it stays on
    run(["ip", "route", "add", SERVICES, "via", address(1)])  # services from this machine: through node 1
    hook = "type nat hook postrouting priority srcnat - 10;"
    ours = "".join(
        f" ip saddr {{ {PODS}, {NODES} }} oifname {route['dev']} masquerade;"
        for route in routes
        if route["dst"] == "default"  # test hosts and this machine see pods' own addresses
    )
    run(["nft", "-f", "-"], stdin=f"table ip {TABLE} {{ chain postrouting {{ {hook}{ours} }}; }}\n")
    run(["iptables", "-w", "-t", "nat", "-I", *_KEEP])


def remove() -> None:
    """All of it; what is not there is no fault."""
    while TABLE in run(["iptables", "-w", "-t", "nat", "-S", "POSTROUTING"], check=False):
        run(["iptables", "-w", "-t", "nat", "-D", *_KEEP])
    run(["nft", "delete", "table", "ip", TABLE], check=False)
    run(["ip", "link", "delete", BRIDGE], check=False)  # its routes go with it


def space(node: int) -> str:
    """Name of a node's network namespace."""
    return f"pgherd-{name_of(node)}"


def entered(node: int) -> list[str]:
    """What a command of this machine begins with to be in a node's network. Not ``ip netns exec``: that mounts /sys anew, and
    the control groups vanish."""
    return ["nsenter", f"--net=/run/netns/{space(node)}", "--"]


def connect(node: int) -> None:
    """A new network namespace for a node, on the bridge."""
    own, link = space(node), _link(node)
    run(["ip", "netns", "add", own])
    run(["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", own])
    run(["ip", "link", "set", link, "master", BRIDGE, "up"])
    commands = ("link set lo up", f"address add {address(node)}/24 dev eth0", "link set eth0 up")
    run(["ip", "-netns", own, "-batch", "-"], stdin="\n".join([*commands, f"route add default via {HOST}"]) + "\n")
    run(["ip", "route", "replace", pods_of(node), "via", address(node)])  # between nodes, through this machine


def disconnect(node: int) -> None:
    """Nothing leaves or reaches it any more, and nobody is told."""
    run(["ip", "link", "delete", _link(node)], check=False)


def forget(node: int) -> None:
    """Remove the network namespace of a node in which nothing runs any more."""
    disconnect(node)
    run(["ip", "netns", "delete", space(node)], check=False)


def _link(node: int) -> str:
    return f"pgherd-{name_of(node)}"  # 15 characters at most


def cut(node: int, how: str) -> None:
    """One of CUTS, beside those that are there."""
    rules(node, CUTS[how])


def rules(node: int, wanted: Iterable[tuple[str, str]]) -> None:
    """Rules of nftables in a node's network, each with its chain's hook: prerouting, input, forward, output, postrouting."""
    text = f"add table ip {CUT}\n"
    for hook, rule in wanted:
        text += (
            f"add chain ip {CUT} {hook} {{ type filter hook {hook} priority -300; }}\nadd rule ip {CUT} {hook} {rule}\n"
        )
    run([*entered(node), "nft", "-f", "-"], stdin=text)


def heal(node: int) -> None:
    """All packets of a node pass again."""
    run([*entered(node), "nft", "-f", "-"], stdin=f"add table ip {CUT}\ndelete table ip {CUT}\n")


def is_cut(node: int) -> bool:
    """Whether some do not."""
    return f"table ip {CUT}" in run([*entered(node), "nft", "list", "tables"], check=False)
