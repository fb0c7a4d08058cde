# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The control plane of the lab's Kubernetes: real and unpatched components, as processes of this machine."""

from __future__ import annotations

from pathlib import Path

import state
from machine import LabError, run, until
from state import ADMIN, API_PORT, ETCD, HOST, LOGS, PKI, SERVICES, STATE, Settings

ETCD_PART, API = "etcd", "kube-apiserver"
MANAGERS = ("kube-controller-manager", "kube-scheduler")
PARTS = (ETCD_PART, API, *MANAGERS)
MANIFESTS = Path(__file__).with_name("manifests")


def commands(how: Settings) -> dict[str, list[str]]:
    """What starts each part."""
    hyperkube = how.program("hyperkube")
    return {
        ETCD_PART: [
            *("etcd", "--data-dir", str(STATE / "etcd"), "--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
            *("--listen-peer-urls", "http://127.0.0.1:12380"),
        ],
        API: [
            *(hyperkube, API, "--advertise-address", HOST, "--secure-port", str(API_PORT), "--etcd-servers", ETCD),
            *("--service-cluster-ip-range", SERVICES, "--authorization-mode", "Node,RBAC", "--allow-privileged"),
            *("--enable-admission-plugins", "NodeRestriction", "--client-ca-file", f"{PKI}/ca.crt"),
            *("--tls-cert-file", f"{PKI}/apiserver.crt", "--tls-private-key-file", f"{PKI}/apiserver.key"),
            *("--kubelet-client-certificate", f"{PKI}/kubelet-client.crt"),
            *("--kubelet-client-key", f"{PKI}/kubelet-client.key"),
            *("--kubelet-preferred-address-types", "InternalIP"),  # exec and logs: this machine knows no node by name
            *("--default-not-ready-toleration-seconds", str(how.evict)),
            *("--default-unreachable-toleration-seconds", str(how.evict)),
            *("--service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            *("--service-account-key-file", f"{PKI}/sa.pub", "--service-account-signing-key-file", f"{PKI}/sa.key"),
        ],
        MANAGERS[0]: [
            *(
                hyperkube,
                MANAGERS[0],
                "--kubeconfig",
                str(STATE / "controller-manager.kubeconfig"),
                "--leader-elect=false",
            ),
            *("--node-monitor-grace-period", f"{how.grace}s", "--use-service-account-credentials"),
            *("--root-ca-file", f"{PKI}/ca.crt", "--service-account-private-key-file", f"{PKI}/sa.key"),
            *("--cluster-signing-cert-file", f"{PKI}/ca.crt", "--cluster-signing-key-file", f"{PKI}/ca.key"),
        ],
        MANAGERS[1]: [
            *(hyperkube, MANAGERS[1], "--kubeconfig", str(STATE / "scheduler.kubeconfig"), "--leader-elect=false"),
        ],
    }


def start(*parts: str) -> None:
    """Start parts that do not run, and wait until the API server answers."""
    how = state.running()
    for part in parts:
        if not state.processes(part):
            state.start(part, commands(how)[part])
        if part == API:
            until(f"the API server; {LOGS}/{API}.log has its own words", answers, seconds=90)


def answers() -> bool:
    """Whether the API server is ready."""
    return kubectl("get", "--raw", "/readyz", "--request-timeout=2s", check=False).strip() == "ok"


def kubectl(*words: str, stdin: str = "", check: bool = True) -> str:
    """Standard output of kubectl as the administrator of the lab's Kubernetes. Raises LabError."""
    return run([state.running().program("kubectl"), f"--kubeconfig={ADMIN}", *words], stdin=stdin, check=check)


def add_ons() -> None:
    """Cluster DNS and the provisioner of volumes; waits until both serve."""
    for name in ("coredns", "storage"):
        kubectl("apply", "-f", str(MANIFESTS / f"{name}.yaml"))
    for space, name in (("kube-system", "coredns"), ("local-path-storage", "local-path-provisioner")):
        _rolled_out(space, name)


def _rolled_out(space: str, name: str) -> None:
    try:
        kubectl("-n", space, "rollout", "status", f"deployment/{name}", "--timeout=180s")
    except LabError as error:
        said = kubectl("-n", space, "get", "pods,events", check=False)
        raise LabError(f"{name} does not come up: {error}\n{said[-3000:]}") from error
