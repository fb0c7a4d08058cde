# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Passwords and certificates in Secrets that somebody else made, and a ServiceMonitor where that kind is known. One story: each
test goes on where the one before it ended."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import LabError, until
from small_pods import LOGIN, SmallPods, asked, kubectl, reachable

pytestmark = pytest.mark.more
KIND = "servicemonitors.monitoring.coreos.com"
# As little of it as Kubernetes takes.
MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": KIND},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"plural": "servicemonitors", "singular": "servicemonitor", "kind": "ServiceMonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
# What a pod runs to see the certificate that its agent shows, and its PostgreSQL.
AGENT = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 8765)).strip())"
POSTGRES = """
import socket, ssl, struct
plain = socket.create_connection(("127.0.0.1", 5432), 5)
plain.sendall(struct.pack("!ii", 8, 80877103))
assert plain.recv(1) == b"S"
shown = ssl._create_unverified_context().wrap_socket(plain).getpeercert(True)
print(ssl.DER_cert_to_PEM_cert(shown).strip())
"""
KEY = ("ecparam", "-genkey", "-name", "prime256v1", "-noout")


class Issuer:
    """Makes certificates as cert-manager would, below an authority of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.authority = directory / "ca.crt"
        self._openssl(*KEY, "-out", "ca.key")
        words = ("-subj", "/CN=somebody's root", "-days", "365", "-addext", "basicConstraints=critical,CA:TRUE")
        self._openssl("req", "-x509", "-new", "-key", "ca.key", "-out", "ca.crt", *words)

    def issue(self, name: str, space: str) -> tuple[str, str]:
        """Certificate and key of the data node called so, as PEM."""
        prefix = name.rpartition("-")[0]
        names = [name, f"{name}.{prefix}", f"{name}.{prefix}.{space}", f"{name}.{prefix}.{space}.svc"]
        names += [f"{name}.{prefix}.{space}.svc.cluster.local"]
        more = self.directory / f"{name}.ext"
        uses = "extendedKeyUsage=serverAuth,clientAuth\n"
        more.write_text(f"subjectAltName={','.join(f'DNS:{one}' for one in names)}\n{uses}")
        self._openssl(*KEY, "-out", f"{name}.key")
        self._openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "300", "-extfile", str(more))
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")
        return ((self.directory / f"{name}.crt").read_text(), (self.directory / f"{name}.key").read_text())

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)


def secret(small: SmallPods, name: str, data: dict[str, str]) -> None:
    """Make or replace a Secret of the user's."""
    described = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
    small.kubectl("apply", "-f", "-", told=json.dumps(described))


def certificate(small: SmallPods, issuer: Issuer, node: str) -> None:
    made, key = issuer.issue(node, small.space)
    secret(small, f"{node}-tls", {"tls.crt": made, "tls.key": key, "ca.crt": issuer.authority.read_text()})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPods]:
    """A namespace with nothing in it."""
    reachable()
    named = {
        "cluster_password_secrets": {LOGIN: {"name": "app-login", "key": "word"}},
        "cluster_certificate_secrets": {"pg-0": "pg-0-tls", "pg-1": "pg-1-tls"},
        "cluster_pod_timeout": 240,
    }
    cluster = SmallPods(tmp_path_factory.mktemp("own"), named)
    kubectl("create", "namespace", cluster.space)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def issuer(small: SmallPods) -> Issuer:
    """Who makes its certificates."""
    return Issuer(small.directory / "issuer")


@pytest.fixture(scope="module")
def monitors() -> Iterator[bool]:
    """Whether the tests had to bring the kind ServiceMonitor, which goes again then."""
    missing = not kubectl("get", "crd", KIND, "--ignore-not-found", "-o", "name").strip()
    yield missing
    if missing:
        asked("delete", "crd", KIND, "--ignore-not-found", "--wait=false")


def test_what_is_missing_is_told_before_anything_is_applied(small: SmallPods, issuer: Issuer) -> None:
    certificate(small, issuer, "pg-0")
    run = small.play("site")
    assert run.rc != 0, run
    said = " ".join(run.failed.values())
    for name in ("app-login", "pg-1-tls"):
        assert name in said, said
    assert small.found("statefulsets") == []


def test_a_servicemonitor_is_refused_where_nobody_knows_that_kind(
    small: SmallPods, issuer: Issuer, monitors: bool
) -> None:
    if not monitors:
        pytest.skip("this Kubernetes knows the kind")
    certificate(small, issuer, "pg-1")
    secret(small, "app-login", {"word": "of-mine"})
    run = small.play("site", {"cluster_service_monitor": True})
    assert run.rc != 0, run
    (said,) = run.failed.values()
    assert said.startswith("This Kubernetes knows no ServiceMonitor"), said
    assert small.found("statefulsets") == []


def test_a_cluster_is_made_of_them(small: SmallPods, monitors: bool) -> None:
    if monitors:
        kubectl("apply", "-f", "-", told=json.dumps(MONITORS))
        kubectl("wait", "--for=condition=Established", f"crd/{KIND}", "--timeout=60s")
    small.variables["cluster_service_monitor"] = True
    run = small.play("site")
    assert run.rc == 0, run
    assert "primary pg-0" in run.last_line
    assert [item["metadata"]["name"] for item in small.found(KIND)] != []


def logs_in(small: SmallPods, password: str) -> bool:
    line = (
        f"host=pg-0.pg.{small.space}.svc.cluster.local dbname={LOGIN} user={LOGIN} sslmode=verify-full"
        " sslrootcert=/etc/pgherd/tls/ca.crt connect_timeout=5"
    )
    words = ("env", f"PGPASSWORD={password}", "psql", "-XAt", "-d", line, "-c", "SELECT current_user")
    try:
        return small.inside("pg-1", *words).strip() == LOGIN
    except LabError:
        return False


def test_the_password_is_the_users(small: SmallPods) -> None:
    assert logs_in(small, "of-mine")
    assert not logs_in(small, "of-another")
    # It is nowhere else.
    ours = json.loads(small.kubectl("get", "secret", "small-nodes", "-o", "json"))["data"]
    assert LOGIN not in ours
    assert (
        not (small.secrets / "passwords.yml").exists() or "of-mine" not in (small.secrets / "passwords.yml").read_text()
    )


def test_certificates_are_the_users_and_renewed_ones_are_taken_up(small: SmallPods, issuer: Issuer) -> None:
    before = small.uids()

    def shown(asked_by: str) -> str:
        return small.inside("pg-0", "python3", "-c", asked_by).strip()

    old = (issuer.directory / "pg-0.crt").read_text().strip()
    assert {shown(AGENT), shown(POSTGRES)} == {old}
    certificate(small, issuer, "pg-0")
    new = (issuer.directory / "pg-0.crt").read_text().strip()
    assert new != old
    until("the agent to show the new one", lambda: shown(AGENT) == new, 240, 2.0, (LabError,))
    until("PostgreSQL to show it", lambda: shown(POSTGRES) == new, 60, 2.0, (LabError,))
    assert small.uids() == before


def test_a_second_runchanges_nothing(small: SmallPods) -> None:
    run = small.play("site")
    assert (run.rc, run.changed) == (0, {}), run
