# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""When certificates end: read from files and from what servers show, told in status and metrics before it matters."""

from __future__ import annotations

import calendar
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.agent.health_part import HealthPart
from pgherd.agent.metrics import samples
from pgherd.errors import PgherdError, ProtocolError, Unreachable
from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.observe import certificates, gather
from pgherd.observe.topology import Topology
from pgherd.observe.views import CertificateSeen
from pgherd.places.host.words import words
from pgherd.ports.certificates import ends, not_after, shown
from pgherd.status.report import report
from test_health import node as seen_node
from world import CLUSTER, NOW, healthy

DAY = 86400.0


def make(directory: Path, name: str, days: int = 100, subject: str = "localhost", signer: str = "") -> Path:
    """A certificate and its key: signed by itself, or by *signer*'s."""
    files = ["-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={subject}"]
    run = ["openssl", "req", "-x509", *kind, "-addext", f"subjectAltName=DNS:{subject}", "-days", str(days), *files]
    subprocess.run(run, check=True, capture_output=True)
    return directory / f"{name}.crt"


def openssl_says(path: Path) -> float:
    done = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-enddate"], check=True, capture_output=True, text=True
    )
    text = done.stdout.strip().removeprefix("notAfter=")
    return float(calendar.timegm(time.strptime(text, "%b %d %H:%M:%S %Y GMT")))


@pytest.mark.parametrize("days", [1, 730, 3650, 36500])
def test_the_end_is_as_openssl_reads_it(tmp_path: Path, days: int) -> None:
    """From 2050 on a date is written in another form."""
    path = make(tmp_path, "one", days)
    assert ends(str(path)) == openssl_says(path)


def test_the_first_that_ends_counts(tmp_path: Path) -> None:
    one, two = make(tmp_path, "one", 10), make(tmp_path, "two", 500)
    text = f"# ours\n{two.read_text()}\nsome words\n{one.read_text()}"
    assert not_after(text) == openssl_says(one)


BEGIN, END = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("body", ["", "!", "AAAA", "MAMCAQE=", "MIIBszCC", "MIT/////", "MAA="])
def test_what_is_no_certificate(body: str) -> None:
    with pytest.raises(ProtocolError, match="this is none in PEM form"):
        not_after(BEGIN + body + END if body else "")


def test_one_that_was_cut_off(tmp_path: Path) -> None:
    lines = make(tmp_path, "one").read_text().splitlines(keepends=True)
    for count in range(1, len(lines) - 2):
        with pytest.raises(ProtocolError):
            not_after("".join([*lines[: 1 + count - 1], END]) if count > 1 else BEGIN + END)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PgherdError, match=r"read the certificate .*nothing: No such file"):
        ends(str(tmp_path / "nothing"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """A way to serve TLS on a port of this machine with a certificate."""
    open_: list[socket.socket] = []

    def serve(path: Path) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, path.with_suffix(".key"))
        door = socket.create_server(("127.0.0.1", 0))
        open_.append(door)

        def answer() -> None:
            while True:
                try:
                    client, _address = door.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(client, server_side=True).close()
                except OSError:
                    client.close()

        threading.Thread(target=answer, daemon=True).start()
        return int(door.getsockname()[1])

    yield serve
    for door in open_:
        door.close()


def test_what_a_server_shows(tmp_path: Path, served: Any) -> None:
    path = make(tmp_path, "one", 50)
    assert shown("localhost", served(path), str(path), 5.0) == openssl_says(path)


def test_what_is_not_accepted(tmp_path: Path, served: Any) -> None:
    path, other = make(tmp_path, "one"), make(tmp_path, "two")
    name = make(tmp_path, "three", subject="elsewhere")
    with pytest.raises(ProtocolError, match=r"^self.signed certificate"):
        shown("localhost", served(path), str(other), 5.0)
    with pytest.raises(ProtocolError, match=r"^Hostname mismatch, certificate is not valid for 'localhost'$"):
        shown("localhost", served(name), str(name), 5.0)


def test_nobody_shows_one(tmp_path: Path) -> None:
    path = make(tmp_path, "one")
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    with pytest.raises(Unreachable):
        shown("localhost", port, str(path), 5.0)
    with pytest.raises(Unreachable):
        shown("localhost", port, str(tmp_path / "nothing"), 5.0)


WORLD = Cluster(
    "demo",
    (Node("pg1", 1, "postgres", "localhost"),),
    (Pgpool("pool1", "localhost"),),
    (Barman("backup1", "localhost"),),
)


def test_every_host_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def say(address: str, port: int, authority: str, timeout: float) -> float:
        assert (address, port) == ("localhost", 8765)
        return 5.0

    monkeypatch.setattr(certificates, "shown", say)
    found = [certificates.ask_certificate(WORLD, host) for host in WORLD.hosts]
    assert found == [CertificateSeen(name, 5.0) for name in ("pg1", "pool1", "backup1")]
    for error, seen in ((ProtocolError("has expired"), "has expired"), (Unreachable("gone"), "")):

        def fail(*_given: Any, error: Exception = error) -> float:
            raise error

        monkeypatch.setattr(certificates, "shown", fail)
        assert certificates.ask_certificate(WORLD, WORLD.nodes[0]) == CertificateSeen("pg1", None, seen)
    path = make(tmp_path, "ca")
    assert certificates.own_authority(str(path)) == CertificateSeen("", openssl_says(path))
    assert certificates.own_authority(str(tmp_path / "nothing")) == CertificateSeen("")


@pytest.mark.parametrize(
    ("why", "end"),
    [
        ("Connection refused", 7.0),
        ("SSL error: certificate verify failed", 7.0),
        ("timeout expired", None),  # its host is gone
        ("no answer within 3 s", None),
    ],
)
def test_they_are_part_of_what_is_observed(why: str, end: float | None) -> None:
    def refuses(*_given: Any) -> Any:
        raise Unreachable(why)

    found = gather.observe(
        WORLD,
        open_=refuses,
        ask_barman=refuses,
        ask=lambda _cluster, _node: "",
        ask_tls=lambda _cluster, host: CertificateSeen(host.name, 7.0),
    )
    assert found.certificates[1:] == tuple(CertificateSeen(name, end) for name in ("pg1", "pool1", "backup1"))
    assert found.certificates[0].host == ""
    assert Topology.from_dict(found.to_dict()) == found


SITE = "ansible-playbook pgherd.cluster.site"


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (CertificateSeen("pg1", NOW + 61 * DAY), None),
        (CertificateSeen("pg1"), None),
        (
            CertificateSeen("pg1", NOW + 59 * DAY),
            ("certificate-ends", "warning", "the certificate of pg1 ends in 59d0h"),
        ),
        (CertificateSeen("pg1", NOW + 7 * DAY), ("certificate-ends", "warning", "the certificate of pg1 ends in 7d0h")),
        (
            CertificateSeen("pg1", NOW + 6 * DAY),
            ("certificate-ends", "critical", "the certificate of pg1 ends in 6d0h"),
        ),
        (CertificateSeen("pg1", NOW - DAY), ("certificate-ends", "critical", "the certificate of pg1 ended 1d0h ago")),
        (
            CertificateSeen("", NOW + 30 * DAY),
            (
                "authority-ends",
                "warning",
                "the certificate authority ends in 30d0h; put another beside it first (docs/security.md)",
            ),
        ),
        (
            CertificateSeen("pool1", None, "certificate has expired"),
            ("certificate-refused", "critical", "the certificate of pool1 is not accepted: certificate has expired"),
        ),
    ],
)
def test_a_problem_in_time(seen: CertificateSeen, problem: tuple[str, str, str] | None) -> None:
    found = report(CLUSTER, replace(healthy(), certificates=(seen,)), words).problems
    assert [(one.id, one.severity, one.text) for one in found] == ([problem] if problem else [])
    assert {(one.node, words(one.cure)) for one in found} <= {(seen.host, SITE)}


def test_the_metric(tmp_path: Path) -> None:
    own, authority = make(tmp_path, "own", 60), make(tmp_path, "ca", 900)
    files = {"server": str(own), "authority": str(authority), "other": str(tmp_path / "nothing")}
    part = HealthPart(CLUSTER, "pg1", "postgres", {}, certificates=files)
    part.tick(0.0)
    found = part.seen().certificates
    assert found == {"server": openssl_says(own), "authority": openssl_says(authority)}
    values = samples(CLUSTER, replace(seen_node("pg1"), certificates=found))
    assert values["pgherd_certificate_not_after_timestamp_seconds"] == {
        ("server",): openssl_says(own),
        ("authority",): openssl_says(authority),
    }
    # A new one is seen within a minute, and no file is read at each look.
    make(tmp_path, "own", 400)
    part.tick(59.0)
    assert part.seen().certificates == found
    part.tick(60.0)
    assert part.seen().certificates["server"] == openssl_says(own)
