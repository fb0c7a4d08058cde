# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent answers over HTTPS and HTTP, asked by a real client, and where it listens."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pgherd.agent.http import Answer, HttpPart, as_json
from pgherd.agent.listen import addresses, chosen, here, own_address
from pgherd.errors import PgherdError
from pgherd.ports.processes import listening
from pgherd.ports.run import LocalRunner, Result


def certificate(directory: Path, name: str) -> None:
    """A certificate for localhost, with its key, signed by itself."""
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(directory / "server.key"), "-out", str(directory / "server.crt")]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)


def fails(query: Mapping[str, str]) -> Answer:
    raise PgherdError("look at the moon: it is not there.")


ROUTES = {
    "/one": lambda query: as_json({"a": 1, **query}),
    "/bad": fails,
    "/metrics": lambda query: Answer(200, "up 1\n", "text/plain"),
}


@pytest.fixture
def part(tmp_path: Path) -> Iterator[HttpPart]:
    certificate(tmp_path, "first")
    part = HttpPart(lambda: ["127.0.0.1"], 0, ROUTES, str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
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
    assert ask(part, tmp_path, "/one") == (200, '{"a": 1}\n', "application/json")
    assert ask(part, tmp_path, "/one?x=16MB&y=&x=2") == (200, '{"a": 1, "x": "2", "y": ""}\n', "application/json")
    assert ask(part, tmp_path, "/metrics") == (200, "up 1\n", "text/plain")
    assert ask(part, tmp_path, "/one", "HEAD")[:2] == (200, "")
    assert ask(part, tmp_path, "/one", "OPTIONS")[0] == 200


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
        HttpPart(lambda: ["192.0.2.1"], 1, ROUTES, *files).tick(0)
    with pytest.raises(PgherdError, match=r"read the certificate .*nothing: No such file"):
        HttpPart(lambda: ["127.0.0.1"], 0, ROUTES, str(tmp_path / "nothing"), files[1]).tick(0)


def test_own_address() -> None:
    assert own_address("anything", "10.0.0.9") == "10.0.0.9"
    assert own_address("localhost", "") == ""
    with pytest.raises(PgherdError, match="find this host's own address"):
        own_address("host.invalid", "")


def test_without_tls_where_the_user_wants_that() -> None:
    part = HttpPart(lambda: ["127.0.0.1", "::1"], 0, ROUTES, "/nothing", "/nothing", secure=False, name="http-plain")
    try:
        found = part.tick(0)
        assert [decision.text.partition(" port ")[0] for decision in found] == [
            "listens on 127.0.0.1",
            "listens on ::1",
        ]
        assert all(decision.text.endswith(" without TLS") for decision in found)
        connection = http.client.HTTPConnection("127.0.0.1", part.port, timeout=5)
        connection.request("GET", "/one")
        assert connection.getresponse().status == 200
        assert listening(part.port)
    finally:
        part.close()
    assert not listening(part.port)


def test_one_bad_address_keeps_no_good_one_from_being_served(tmp_path: Path) -> None:
    named = ["192.0.2.1", "127.0.0.1"]
    part = HttpPart(lambda: named, 0, ROUTES, secure=False)
    try:
        with pytest.raises(PgherdError, match=r"listen on 192\.0\.2\.1"):
            part.tick(0)
        port = part.port
        assert listening(port)
        named.remove("192.0.2.1")
        assert part.tick(5) == []
        assert part.tick(10) == ()
        assert part.port == port
    finally:
        part.close()


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (["127.0.0.1"], ["127.0.0.1"]),
        (["10.1.0.0/16"], ["10.1.2.3"]),
        (["10.1.9.9/16", "fd00::/8"], ["10.1.2.3", "fd00::5"]),
        (["10.1.2.3", "10.0.0.0/8"], ["10.1.2.3", "10.2.0.1"]),
        (["0.0.0.0"], ["0.0.0.0"]),
        (["::", "0.0.0.0"], ["::", "0.0.0.0"]),
        (["192.0.2.1", "198.51.100.0/24"], []),
        ([], []),
    ],
)
def test_where_it_listens(named: list[str], found: list[str]) -> None:
    assert chosen(named, ["127.0.0.1", "10.1.2.3", "10.2.0.1", "::1", "fd00::5"]) == found


class Scripted:
    """Answers `ip -json address`."""

    def __init__(self, out: str) -> None:
        self.out = out

    def run(self, argv: list[str], **more: object) -> Result:
        assert argv == ["ip", "-json", "address"]
        return Result(tuple(argv), 0, self.out)


# ip -json address, iproute2 6.1, shortened
IP = """[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{"ifname":"tap"},
{"ifname":"eth0","addr_info":[{"family":"inet","local":"172.30.83.11","prefixlen":24},
{"family":"inet6","local":"fe80::1","prefixlen":64}]}]"""


def test_own_addresses() -> None:
    runner = Scripted(IP)
    assert addresses(runner) == ["127.0.0.1", "172.30.83.11"]  # type: ignore[arg-type]
    assert here(runner, ["172.30.0.0/16"], "v") == ["172.30.83.11"]  # type: ignore[arg-type]
    with pytest.raises(PgherdError, match=r"none of this host's addresses .*172\.30\.83\.11.* Set v\."):
        here(runner, ["10.0.0.0/8"], "v")  # type: ignore[arg-type]
    with pytest.raises(PgherdError, match="read the answer"):
        addresses(Scripted("no JSON"))  # type: ignore[arg-type]
    assert "127.0.0.1" in addresses(LocalRunner())
