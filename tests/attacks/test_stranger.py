# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Whoever reaches the agents' port, and whoever looks into the control machine's directory."""

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

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from faults.cluster import Cluster, run, until

pytestmark = pytest.mark.attack
PORT = 8765
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
def _slow(cluster: Cluster, host: str, source: str) -> Iterator[list[socket.socket]]:
    """Connections that send a byte of their request a second, and come again when they are closed."""
    over, sockets = threading.Event(), [None] * SLOW

    def one(number: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while not over.is_set():
            with suppress(OSError):
                plain = socket.create_connection((cluster.address(host), PORT), timeout=20, source_address=(source, 0))
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
