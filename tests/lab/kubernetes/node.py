# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A node of the lab's Kubernetes from inside: what nodes.up runs in fresh namespaces, as ``node.py NUMBER``.

The usual paths are the node's own directories, mounted over this machine's; its programs are this machine's.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nodes
import state
from machine import run, unified_cgroups, until
from programs import POLICIES
from state import ADMIN, API_SERVICE, DNS_SERVICE, PKI, PODS, SERVICES, STATE, Settings, address, name_of, pods_of

# Without the first line no container starts where a process may not lower its oom_score_adj.
_CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "localhost/pgherd-kubernetes/pause:1"
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def kubelet(node: int, how: Settings) -> dict[str, object]:
    """kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address(node),
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{PKI}/ca.crt"}},
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "failSwapOn": False,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{nodes.GROUP}/{name_of(node)}",
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,  # what an unprivileged machine allows
        "nodeLeaseDurationSeconds": how.grace * 4 // 5,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,  # no registry has the images that were loaded
    }


def proxy(node: int, how: Settings) -> dict[str, object]:
    """kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": how.proxy,
        "hostnameOverride": name_of(node),
        "clusterCIDR": PODS,
        "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": f"{STATE}/proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0},  # the limit is read-only in a network namespace
    }


def plugins(node: int) -> dict[str, object]:
    """How containerd connects pods."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pods_of(node)}]]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pgherd-lab", "plugins": [bridge, ports]}


def _ground(node: int) -> None:
    """Names, mounts and kernel settings; /run is empty, as after any boot."""
    socket.sethostname(name_of(node))
    for directory in nodes.DIRECTORIES:
        run(["mount", "--bind", f"{STATE}/{name_of(node)}{directory}", directory])
    run(["mount", "--make-shared", "/var/lib/kubelet"])
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"])
    for setting in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        # The second is there once its module is.
        with suppress(FileNotFoundError):
            Path(f"/proc/sys/{setting}").write_text("1\n")
    for group in nodes.groups(node):
        if unified_cgroups() or group.parts[4] == "freezer":
            (group / "daemons" / "cgroup.procs").write_text("0\n")
    files = {
        "/etc/cni/net.d/10-pgherd-lab.conflist": json.dumps(plugins(node)),
        "/run/containerd.toml": _CONTAINERD,
        "/run/kubelet.yaml": json.dumps(kubelet(node, state.running())),
        "/run/kube-proxy.yaml": json.dumps(proxy(node, state.running())),
    }
    for path, text in files.items():
        Path(path).write_text(text)


def _images(node: int, how: Settings) -> None:
    until("containerd", lambda: run(["ctr", "version"], check=False), every=0.1)
    for name, archive in how.images.items():
        done = STATE / name_of(node) / f"imported-{name}"
        if not done.exists():
            run(["ctr", "-n", "k8s.io", "images", "import", archive])
            done.touch()


def main() -> int:
    """Start all, and end when the first of them has ended: such a node is dead."""
    node, how = int(sys.argv[1]), state.running()
    name, hyperkube = name_of(node), how.program("hyperkube")
    _ground(node)
    started = {
        "containerd": state.start(name, ["containerd", "--config", "/run/containerd.toml"], f"{name}-containerd")
    }
    _images(node, how)

    def component(program: str, *words: str, call: str = hyperkube) -> None:
        started[program] = state.start(name, [call, *words, "--hostname-override", name], f"{name}-{program}")

    own = f"--kubeconfig={STATE}/{name}.kubeconfig"
    component("kubelet", "kubelet", "--config", "/run/kubelet.yaml", own, "--node-ip", address(node))
    # Without their Node object kube-proxy backs off for seconds, and kube-router ends.
    asked = [how.program("kubectl"), own, "get", "node", name]
    until(f"{name} to be registered", lambda: run(asked, check=False), seconds=600)
    component("kube-proxy", "kube-proxy", "--config", "/run/kube-proxy.yaml")
    if not how.policies:
        return _wait(started)
    # Both write the same tables, and kube-router puts back what it has read: kube-proxy's first rules were gone then, and it did
    # not try again for minutes.
    until("services to be reached", _served, seconds=120, missed=(OSError,))
    component(
        POLICIES,
        *("--run-router=false", "--run-service-proxy=false", "--run-firewall=true", f"--kubeconfig={ADMIN}"),
        *("--service-cluster-ip-range", SERVICES),
        call=how.program(POLICIES),
    )
    return _wait(started)


def _served() -> bool:
    socket.create_connection((API_SERVICE, 443), 1).close()
    return True


def _wait(started: dict[str, int]) -> int:
    """Until the first has ended."""
    gone = [program for program, number in started.items() if not Path(f"/proc/{number}").exists()]
    if not gone:
        ended, status = os.wait()
        gone = [program for program, number in started.items() if number == ended] or [f"{ended}: {status}"]
    print(f"{', '.join(gone)} ended", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
