# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent answers over HTTPS, asked by a real client."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pgherd.agent.http import Answer, HttpPart, as_json, own_address
from pgherd.errors import PgherdError


def certificate(directory: Path, name: str) -> None:
    """A certificate for localhost, with its key, signed by itself."""
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(directory / "server.key"), "-out", str(directory / "server.crt")]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)


def fails() -> Answer:
    raise PgherdError("look at the moon: it is not there.")


ROUTES = {"/one": lambda: as_json({"a": 1}), "/bad": fails, "/metrics": lambda: Answer(200, "up 1\n", "text/plain")}


@pytest.fixture
def part(tmp_path: Path) -> Iterator[HttpPart]:
    certificate(tmp_path, "first")
    part = HttpPart("127.0.0.1", 0, ROUTES, str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    (decision,) = part.tick(0)
    assert decision.text == f"listens on 127.0.0.1 port {part.port}"
    assert part.tick(5) == ()
    yield part
    part.close()


def ask(part: HttpPart, ca: Path, path: str, method: str = "GET") -> tuple[int, str, str]:
    context = ssl.create_default_context(cafile=str(ca / "server.crt"))
    connection = http.client.HTTPSConnection("localhost", part.port, timeout=5, context=context)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers["Content-Type"]


def test_what_is_asked_is_answered(part: HttpPart, tmp_path: Path) -> None:
    assert ask(part, tmp_path, "/one?x=1") == (200, '{"a": 1}\n', "application/json")
    assert ask(part, tmp_path, "/metrics") == (200, "up 1\n", "text/plain")
    assert ask(part, tmp_path, "/one", "HEAD")[:2] == (200, "")


def test_what_is_not_there(part: HttpPart, tmp_path: Path) -> None:
    status, body, _kind = ask(part, tmp_path, "/")
    assert (status, json.loads(body)["paths"]) == (404, ["/bad", "/metrics", "/one"])
    assert ask(part, tmp_path, "/one", "POST")[0] == 501


def test_a_source_that_fails_says_why(part: HttpPart, tmp_path: Path) -> None:
    status, body, _kind = ask(part, tmp_path, "/bad")
    assert (status, json.loads(body)["error"]) == (500, "look at the moon: it is not there.")


def test_a_client_that_says_nothing_holds_up_nobody(part: HttpPart, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", part.port)), socket.create_connection(("127.0.0.1", part.port)) as two:
        two.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert ask(part, tmp_path, "/one")[0] == 200


def test_a_renewed_certificate_is_taken_up(part: HttpPart, tmp_path: Path) -> None:
    certificate(tmp_path, "second")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(part, tmp_path, "/one")
    part.tick(10)
    assert ask(part, tmp_path, "/one")[0] == 200


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    files = (str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    with pytest.raises(PgherdError, match=r"listen on 192\.0\.2\.1 port 1: .*Set cluster_agent_listen"):
        HttpPart("192.0.2.1", 1, ROUTES, *files).tick(0)
    with pytest.raises(PgherdError, match=r"read the certificate .*nothing: No such file"):
        HttpPart("127.0.0.1", 0, ROUTES, str(tmp_path / "nothing"), files[1]).tick(0)


def test_own_address() -> None:
    assert own_address("anything", "10.0.0.9") == "10.0.0.9"
    assert own_address("localhost", "") == ""
    with pytest.raises(PgherdError, match="find this host's own address"):
        own_address("host.invalid", "")
