# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whoever reaches the agents' ports, and whoever looks into the control machine's directory."""

from __future__ import annotations

import json
import re
import socket
import ssl
import stat
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from faults.cluster import Cluster, run, until

from attacks.means import EVIDENCE

pytestmark = pytest.mark.attack
PORT, PEERS = 8765, 8767
CROWD = 16  # of them that are there at once, at least
SLOW = 60  # connections; places for 16 requests at a time were all that an agent had


def _context(cluster: Cluster) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cluster.secrets / "ca.crt"))


def _asked(cluster: Cluster, host: str, path: str) -> str:
    request = f"https://{cluster.address(host)}:{PORT}{path}"
    with urllib.request.urlopen(request, timeout=3, context=_context(cluster)) as answer:
        return str(answer.read().decode())


@contextmanager
def _address(cluster: Cluster, host: str) -> Iterator[str]:
    """An address of a stranger's, on the network of the hosts."""
    mine = cluster.address(host).rsplit(".", 1)[0] + ".250"
    (device,) = re.findall(r" dev (\S+)", run(["ip", "route", "get", cluster.address(host)]))
    run(["ip", "address", "replace", f"{mine}/32", "dev", device])
    try:
        yield mine
    finally:
        run(["ip", "address", "delete", f"{mine}/32", "dev", device])


@contextmanager
def _slow(cluster: Cluster, host: str, source: str, port: int = PORT) -> Iterator[list[socket.socket]]:
    """Connections that send a byte of their request a second, and come again when they are closed."""
    over, sockets = threading.Event(), [None] * SLOW

    def one(number: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while not over.is_set():
            with suppress(OSError):
                plain = socket.create_connection((cluster.address(host), port), timeout=20, source_address=(source, 0))
                with context.wrap_socket(plain) if number % 2 else plain as made:
                    sockets[number] = made
                    while not over.wait(1):
                        made.send(b"x")
            sockets[number] = None
            over.wait(0.2)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(SLOW)]
    for thread in threads:
        thread.start()
    try:
        yield sockets
    finally:
        over.set()
        for thread in threads:
            thread.join(25)


def test_slow_clients_take_no_answer_from_a_balancer(cluster: Cluster, primary: str) -> None:
    """A stranger holds many connections; who asks for health gets his answer, every time and soon."""
    with _address(cluster, primary) as source, _slow(cluster, primary, source) as sockets:
        # An agent has sixteen places for one source, and who comes takes the place of the first.
        until("a crowd", lambda: sum(one is not None for one in sockets) >= CROWD, 30)
        for _time in range(4):
            began = time.monotonic()
            assert json.loads(_asked(cluster, primary, "/primary"))["ok"] is True
            assert time.monotonic() - began < 3
            time.sleep(0.5)  # a balancer's next question


def asked_as(cluster: Cluster, host: str, words: dict[str, Any], *files: Path) -> dict[str, Any]:
    """What the agent of the data node *host* answers at its port for other agents to one who shows the certificate and key in
    *files*. Raises OSError where it hangs up."""
    context = _context(cluster)
    if files:
        context.load_cert_chain(*map(str, files))
    with (
        socket.create_connection((cluster.address(host), PEERS), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=cluster.address(host)) as connection,
    ):
        connection.sendall(json.dumps(words).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("it has hung up")
            line += part
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def own_files(cluster: Cluster, host: str) -> tuple[Path, Path]:
    """The certificate that the host has, and its key, from the control machine."""
    return cluster.secrets / f"hosts/{host}.crt", cluster.secrets / f"hosts/{host}.key"


def strangers_files(names: str, place: Path) -> tuple[Path, Path]:
    """The same for *names*, by an authority of a stranger's own."""
    crt, key = place / "stranger.crt", place / "stranger.key"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "9",
    ]
    more = ["-subj", "/CN=stranger", "-addext", f"subjectAltName={names}", "-addext", "extendedKeyUsage=clientAuth"]
    run([*argv, *more, "-keyout", str(key), "-out", str(crt)])
    return crt, key


def _refusals(cluster: Cluster, host: str) -> dict[str, float]:
    said = _asked(cluster, host, "/metrics")
    return {
        reason: float(count)
        for reason, count in re.findall(r'^pgherd_peer_refused_total\{reason="(\w+)"\} (\S+)$', said, re.M)
    }


VERBS: tuple[dict[str, Any], ...] = (
    EVIDENCE,
    {"verb": "switchover", "arguments": {"primary": ""}},
    {"verb": "promote", "arguments": {"primary": "", "accept_loss": True}},
    {"verb": "rejoin", "arguments": {"target": ""}},
)


@pytest.mark.parametrize("shows", ["nothing", "its own authority's"])
def test_a_stranger_asks_nothing_at_the_peers_port(cluster: Cluster, primary: str, tmp_path: Path, shows: str) -> None:
    """He has no certificate, or one that his own authority made for a data node's address."""
    victim, before = cluster.standbys(primary)[0], _refusals(cluster, cluster.standbys(primary)[0])
    files = strangers_files(f"IP:{cluster.address(primary)},DNS:{primary}", tmp_path) if shows != "nothing" else ()
    for words in VERBS:
        with pytest.raises(OSError, match=r"."):
            asked_as(cluster, victim, words, *files)
    until("it is counted", lambda: _refusals(cluster, victim)["certificate"] >= before["certificate"] + len(VERBS), 30)
    assert cluster.primary() == primary


@pytest.mark.parametrize("kind", ["pgpool", "barman", "witness"])
def test_another_kind_of_host_asks_nothing_at_the_peers_port(cluster: Cluster, primary: str, kind: str) -> None:
    """Whoever has a pgpool host, Barman's or a witness has that one's certificate and key, and no right to any verb."""
    hosts = list(cluster.group(kind))
    if not hosts:
        pytest.skip(f"this scenario has no {kind} host")
    victim = cluster.standbys(primary)[0]
    before = _refusals(cluster, victim)
    for words in VERBS:
        said = asked_as(cluster, victim, {**words, "node": victim}, *own_files(cluster, hosts[0]))
        assert f"{words['verb']} is for postgres hosts" in said["refused"], said
    assert _refusals(cluster, victim)["right"] == before["right"] + len(VERBS)
    assert cluster.primary() == primary


def test_a_crowd_at_the_peers_port_keeps_no_peer_from_its_answer(cluster: Cluster, primary: str) -> None:
    """A stranger holds many connections that are slow, and opens others as fast as he can; a data node is answered."""
    victim = cluster.standbys(primary)[0]
    files, over = own_files(cluster, primary), threading.Event()

    def flood(source: str) -> None:
        while not over.is_set():
            with (
                suppress(OSError),
                socket.create_connection(
                    (cluster.address(victim), PEERS), timeout=5, source_address=(source, 0)
                ) as one,
            ):
                one.sendall(b"\x16\x03\x01" + b"x" * 4000)

    with _address(cluster, victim) as source, _slow(cluster, victim, source, PEERS) as sockets:
        until("a crowd", lambda: sum(one is not None for one in sockets) >= CROWD, 30)
        threads = [threading.Thread(target=flood, args=(source,), daemon=True) for _one in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _time in range(10):
                began = time.monotonic()
                assert asked_as(cluster, victim, EVIDENCE, *files)["node"] == victim
                assert time.monotonic() - began < 3
        finally:
            over.set()
            for thread in threads:
                thread.join(10)
    assert cluster.primary() == primary


def test_hosts_certificates_serve_clients_too_and_tell_their_end(cluster: Cluster) -> None:
    """Agents will speak to each other by them. A certificate's end is known before it comes."""
    for host in cluster.everyone:
        pem = ssl.get_server_certificate((cluster.address(host), PORT))
        found = x509.load_pem_x509_certificate(pem.encode())
        usage = set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert usage == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}, host
        said = re.findall(r"^pgherd_certificate_\S+ (\S+)$", _asked(cluster, host, "/metrics"), re.M)
        end = found.not_valid_after_utc.timestamp()
        assert any(abs(float(value) - end) < 2 for value in said), (host, said, end)


def test_secrets_of_the_control_machine_keep_themselves(cluster: Cluster) -> None:
    """Nobody else may look, and git does not take them."""
    for path in (cluster.secrets, *cluster.secrets.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir() or path.suffix in (".key", ".yml"):
            assert mode & 0o077 == 0, f"{path}: {mode:o}"
    repository = cluster.secrets.parent
    run(["git", "init", "-q", str(repository)])
    try:
        seen = run(["git", "-C", str(repository), "status", "--porcelain", "-uall", "secrets"])
    finally:
        run(["rm", "-rf", str(repository / ".git")])
    assert seen == ""
