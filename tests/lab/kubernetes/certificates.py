# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The authority of the lab's Kubernetes, its components' certificates, and kubeconfigs that hold them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from machine import run
from state import API_PORT, API_SERVICE, HOST, PKI, STATE

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
_NAMES = (
    "localhost",
    *(f"kubernetes{rest}" for rest in ("", ".default", ".default.svc", ".default.svc.cluster.local")),
)
_ADDRESSES = (HOST, "127.0.0.1", API_SERVICE)
# Who they are, by Kubernetes' own names; the file of each is called like its key here.
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kubelet-client": "/O=system:masters/CN=apiserver-kubelet-client",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
}


def make() -> None:
    """Everything that the control plane and kube-proxy need. Raises LabError."""
    PKI.mkdir(parents=True, exist_ok=True)
    authority = ("-keyout", str(PKI / "ca.key"), "-out", str(PKI / "ca.crt"), "-subj", "/CN=pgherd-kubernetes")
    run(["openssl", "req", "-x509", *_KEY, "-days", "365", *authority])
    run(["openssl", "genrsa", "-out", str(PKI / "sa.key"), "2048"])
    run(["openssl", "rsa", "-in", str(PKI / "sa.key"), "-pubout", "-out", str(PKI / "sa.pub")])
    names = ",".join([*(f"DNS:{name}" for name in _NAMES), *(f"IP:{address}" for address in _ADDRESSES)])
    _certificate("apiserver", "/CN=kube-apiserver", f"extendedKeyUsage=serverAuth\nsubjectAltName={names}\n")
    for name, subject in CLIENTS.items():
        client(name, subject)


def client(name: str, subject: str) -> Path:
    """The kubeconfig of a client, made with its certificate where it is missing."""
    wanted = STATE / f"{name}.kubeconfig"
    if not wanted.exists():
        _certificate(name, subject, "extendedKeyUsage=clientAuth\n")
        server = f"https://{HOST}:{API_PORT}"
        pair = {"client-certificate-data": _data(f"{name}.crt"), "client-key-data": _data(f"{name}.key")}
        described = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "pgherd-lab",
            "contexts": [{"name": "pgherd-lab", "context": {"cluster": "pgherd-lab", "user": name}}],
            "clusters": [
                {"name": "pgherd-lab", "cluster": {"server": server, "certificate-authority-data": _data("ca.crt")}}
            ],
            "users": [{"name": name, "user": pair}],
        }
        wanted.touch(mode=0o600)
        wanted.write_text(json.dumps(described, indent=2) + "\n")  # JSON is YAML
    return wanted


def _certificate(name: str, subject: str, extensions: str) -> None:
    request, extended = PKI / f"{name}.csr", PKI / f"{name}.ext"
    run(["openssl", "req", *_KEY, "-keyout", str(PKI / f"{name}.key"), "-subj", subject, "-out", str(request)])
    extended.write_text(extensions)
    signing = ("-CA", str(PKI / "ca.crt"), "-CAkey", str(PKI / "ca.key"), "-CAcreateserial", "-days", "365")
    given = ("-in", str(request), "-extfile", str(extended), "-out", str(PKI / f"{name}.crt"))
    run(["openssl", "x509", "-req", *signing, *given])
    request.unlink()
    extended.unlink()


def _data(name: str) -> str:
    return base64.b64encode((PKI / name).read_bytes()).decode()
