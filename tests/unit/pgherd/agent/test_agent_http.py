# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What the agent answers over HTTPS and HTTP, asked by a real client, and where it listens."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from pgherd.agent.http import Answer, HttpPart, as_json
from pgherd.agent.known import Known
from pgherd.agent.listen import and_at_home, chosen, here, own_addresses
from pgherd.agent.seats import SeatLimits, leaves, source
from pgherd.errors import PgherdError
from pgherd.ports.names import in_time, own
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


LARGE = 1 << 24  # more than the kernel keeps for a client that does not read
SHAKEN = 3.0  # seconds in which a client on a busy machine has shaken hands

ROUTES = {
    "/one": lambda query: as_json({"a": 1, **query}),
    "/bad": fails,
    "/metrics": lambda query: Answer(200, "up 1\n", "text/plain"),
    "/large": lambda query: Answer(200, "x" * LARGE, "text/plain"),
    "/broken": lambda query: as_json(1 // 0),
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
    assert (status, json.loads(body)["paths"]) == (404, sorted(ROUTES))
    assert ask(part, tmp_path, "/one", "POST")[0] == 501


def test_a_source_that_fails_says_why(part: HttpPart, tmp_path: Path) -> None:
    status, body, _kind = ask(part, tmp_path, "/bad")
    assert (status, json.loads(body)["error"]) == (500, "look at the moon: it is not there.")
    status, body, _kind = ask(part, tmp_path, "/broken")
    assert (status, json.loads(body)["error"].partition(":")[0]) == (500, "unforeseen")


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


def test_a_renewed_certificate_that_does_not_serve_leaves_the_last_one(part: HttpPart, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/server.crt").write_bytes((tmp_path / "server.crt").read_bytes())
    (tmp_path / "server.crt").write_text("half a certifi")
    with pytest.raises(PgherdError, match="read the certificate"):
        part.tick(10)
    assert ask(part, tmp_path / "ca", "/one")[0] == 200


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    files = (str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    with pytest.raises(PgherdError, match=r"listen on 192\.0\.2\.1 port 1: .*Set cluster_agent_listen"):
        HttpPart(lambda: ["192.0.2.1"], 1, ROUTES, *files).tick(0)
    with pytest.raises(PgherdError, match=r"read the certificate .*nothing: No such file"):
        HttpPart(lambda: ["127.0.0.1"], 0, ROUTES, str(tmp_path / "nothing"), files[1]).tick(0)


@pytest.mark.parametrize(
    ("what", "known", "addresses"),
    [
        ("its address", ["172.30.83.11"], ["172.30.83.11"]),
        (
            "both families, and one that has moved away",
            ["172.30.83.11", "172.30.83.99", "fd00::1"],
            ["172.30.83.11", "fd00::1"],
        ),
        ("translated on the way", ["203.0.113.5"], [""]),
        ("only its name, which is Debian's", [], [""]),
    ],
)
def test_where_others_reach_it(what: str, known: list[str], addresses: list[str]) -> None:
    assert own_addresses("localhost", known, Scripted(IP.replace("fe80::1", "fd00::1"))) == addresses, what  # type: ignore[arg-type]
    # Without iproute2.
    assert own_addresses("localhost", known, Scripted("no JSON")) == (known or [""])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "places", "wanted"),
    [
        (["127.0.1.1"], ["172.30.83.11", "fd00::1"], ["172.30.83.11", "fd00::1", "127.0.1.1"]),
        (["172.30.83.11", "fd00::1"], ["172.30.83.11", "fd00::1"], ["172.30.83.11", "fd00::1"]),
        (["127.0.1.1"], [""], [""]),
        (["127.0.1.1"], ["0.0.0.0", "::"], ["0.0.0.0", "::"]),
        (["127.0.1.1"], ["::"], ["::", "127.0.1.1"]),
        (["::1", "127.0.0.1"], ["10.0.0.1"], ["10.0.0.1", "127.0.0.1"]),  # which has no IPv6
        (["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"]),
        (["fe80::1%eth0"], ["10.0.0.1"], ["10.0.0.1"]),
        (None, ["10.0.0.1"], ["10.0.0.1"]),
    ],
    ids=str,
)
def test_whoever_asks_from_the_host_itself(
    name: list[str] | None, places: list[str], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name leads there to loopback, where Debian's installer wrote that: `pgherd status` on a Barman host."""

    def look(_name: str) -> list[str]:
        if name is None:
            raise TimeoutError
        return name

    def way(address: str) -> str:
        if ":" in address:
            raise OSError("no IPv6")
        return address

    monkeypatch.setattr("pgherd.agent.listen.in_time", look)
    monkeypatch.setattr("pgherd.agent.listen.source", way)
    assert and_at_home("pg1", places) == wanted


def test_a_name_that_is_nowhere() -> None:
    with pytest.raises(PgherdError, match="find this host's own address"):
        own_addresses("host.invalid", [], LocalRunner())


def test_a_name_service_that_is_gone_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that took half a minute would have the agent killed."""
    back = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_how: back.wait(60) and [])
    try:
        with pytest.raises(TimeoutError, match="timed out"):
            in_time("pg1", 0.05)
        known = Known([("pg1", ""), ("pg2", "10.0.0.2")])
        assert [known("10.0.0.1"), known("10.0.0.2")] == [False, True]
    finally:
        back.set()


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
    assert own(runner) == ["127.0.0.1", "172.30.83.11"]  # type: ignore[arg-type]
    assert here(runner, ["172.30.0.0/16"], "v") == ["172.30.83.11"]  # type: ignore[arg-type]
    with pytest.raises(PgherdError, match=r"none of this host's addresses .*172\.30\.83\.11.* Set v\."):
        here(runner, ["10.0.0.0/8"], "v")  # type: ignore[arg-type]
    with pytest.raises(PgherdError, match="read the answer"):
        own(Scripted("no JSON"))  # type: ignore[arg-type]
    assert "127.0.0.1" in own(LocalRunner())


# Whoever reaches the port


class Crowd:
    """Clients of a door on 127.0.0.1, each from an address of its choice, over TLS or without."""

    def __init__(self, part: HttpPart, secure: bool, stack: ExitStack) -> None:
        self.part, self.secure, self._stack = part, secure, stack
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def come(self, address: str, shake: bool = False) -> socket.socket:
        """One more client, that says nothing yet; when it is to *shake* hands, it has done so."""
        client = socket.create_connection(("127.0.0.1", self.part.port), 10, (address, 0))
        if shake and self.secure:
            client = self._context.wrap_socket(client)
        return self._stack.enter_context(closing(client))

    def ask(self, address: str) -> float:
        """Seconds until a health question was answered."""
        began = time.monotonic()
        with closing(self.come(address, shake=True)) as client:
            client.sendall(b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n")
            said = b"".join(iter(lambda: client.recv(4096), b""))
        assert said.startswith(b"HTTP/1.0 200 OK\r\n"), said
        return time.monotonic() - began


Makes = Callable[..., Crowd]


@pytest.fixture(params=["tls", "plain"])
def crowd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Makes]:
    """Makes the door that is to stand it."""
    with ExitStack() as stack:

        def make(**how: object) -> Crowd:
            secure = request.param == "tls"
            if secure:
                certificate(tmp_path, "first")
            files = (str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
            part = HttpPart(lambda: ["127.0.0.1"], 0, ROUTES, *files, secure=secure, **how)  # type: ignore[arg-type]
            stack.callback(part.close)
            part.tick(0)
            return Crowd(part, secure, stack)

        yield make


def until(so: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(client: socket.socket, seconds: float = 10.0) -> bool:
    """Whether a client is hung up on within a time."""
    client.settimeout(seconds)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("sources", [["127.0.0.2"], [f"127.0.1.{number}" for number in range(1, 201)]], ids=len)
def test_slow_clients_by_the_hundred_hold_up_nobody(crowd: Makes, sources: list[str]) -> None:
    here = crowd(patience=60.0)  # so that it is not their end that helps
    for number in range(400):
        client = here.come(sources[number % len(sources)])
        if number % 2:
            with suppress(OSError):
                client.send(b"\x16\x03\x01" if here.secure else b"GET /one")
    # On a busy machine one look may be late, not three.
    assert min(here.ask("127.0.0.3") for _time in range(3)) < 1.0
    assert here.part.door.inside <= 128


@pytest.mark.parametrize("shake", [True, False])
def test_whoever_trickles_is_cut_at_the_deadline(crowd: Makes, shake: bool) -> None:
    here = crowd(patience=0.5)
    began = time.monotonic()
    client = here.come("127.0.0.2", shake)
    # A record of TLS that never ends, or a request that never does.
    for byte in b"\x16\x03\x01\x20\x00" + b"G" * 1000:
        with suppress(OSError):
            client.send(bytes([byte]))
        if gone(client, 0.02):
            break
    assert 0.4 < time.monotonic() - began < 5
    assert here.part.door.unanswered == {"late": 1, "displaced": 0}


def test_whoever_shakes_hands_and_asks_nothing_is_cut(crowd: Makes) -> None:
    here = crowd(patience=SHAKEN)
    assert gone(here.come("127.0.0.2", shake=True))
    assert here.part.door.unanswered["late"] == 1


def test_whoever_never_reads_is_cut(crowd: Makes) -> None:
    here = crowd(patience=SHAKEN)
    client = here.come("127.0.0.2", shake=True)
    client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
    until(lambda: here.part.door.unanswered["late"] == 1)
    assert here.ask("127.0.0.2") < 5
    had = 0
    with suppress(OSError):
        while part := client.recv(1 << 20):
            had += len(part)
    assert had < LARGE


def test_whoever_reads_slowly_has_all_of_it_in_time(crowd: Makes) -> None:
    client = crowd().come("127.0.0.2", shake=True)
    client.sendall(b"GET /large HT")
    client.sendall(b"TP/1.0\r\n\r\n")
    assert sum(map(len, iter(lambda: client.recv(1 << 16), b""))) > LARGE


def test_the_oldest_gives_up_its_place(crowd: Makes) -> None:
    here = crowd(patience=60.0, limits=SeatLimits(strangers=3, each=2))
    first, second, third = (here.come(f"127.0.0.{number}") for number in (2, 3, 4))
    until(lambda: here.part.door.inside == 3)
    assert here.ask("127.0.0.5") < 5
    assert gone(first)
    assert not gone(second, 0.1)
    assert not gone(third, 0.1)


def test_one_address_has_few_places(crowd: Makes) -> None:
    here = crowd(patience=60.0, limits=SeatLimits(strangers=10, each=2))
    other = here.come("127.0.0.3")
    first, second = here.come("127.0.0.2"), here.come("127.0.0.2")
    until(lambda: here.part.door.inside == 3)
    third = here.come("127.0.0.2")
    assert gone(first)
    assert [gone(client, 0.1) for client in (other, second, third)] == [False] * 3


def test_strangers_take_no_place_of_those_that_are_known(crowd: Makes) -> None:
    limits = SeatLimits(strangers=2, known=2, each=2)
    here = crowd(patience=60.0, limits=limits, known=lambda address: address == "127.0.0.9")
    known = here.come("127.0.0.9")
    until(lambda: here.part.door.inside == 1)
    strangers = [here.come(f"127.0.0.{number}") for number in (2, 3, 4, 5)]
    assert gone(strangers[0])
    assert gone(strangers[1])
    assert not gone(known, 0.1)
    assert here.part.door.inside == 3


def test_whoever_breaks_off_leaves_nothing_behind(crowd: Makes) -> None:
    here = crowd(patience=60.0)
    for said in (b"", b"\x16", b"\x16\x03\x01\x00\x01", b"GET ", b"\0" * 99) * 10:
        client = here.come("127.0.0.2")
        client.sendall(said)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert here.ask("127.0.0.2") < 5
    until(lambda: here.part.door.inside == 0)
    assert here.part.tick(1) == ()


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (b"GET /one HTTP/1.0\n\n", b"HTTP/1.0 200 OK"),
        (b"nonsense\r\n\r\n", b"HTTP/1.0 400 Bad Request"),
        (b"\r\n\r\n", b"HTTP/1.0 400 Bad Request"),
        (b"GET /one HTTP/1.0\r\nX: " + b"x" * 9000, b"HTTP/1.0 431 Request Header Fields Too Large"),
    ],
)
def test_other_requests(crowd: Makes, asked: bytes, answered: bytes) -> None:
    client = crowd().come("127.0.0.2", shake=True)
    client.sendall(asked)
    assert client.recv(4096).partition(b"\r\n")[0] == answered


def test_what_nobody_foresaw_is_said_and_ends_nothing(crowd: Makes) -> None:
    wrong = threading.Event()
    wrong.set()

    def known(_address: str) -> bool:
        return 1 // (not wrong.is_set()) > 1

    here = crowd(known=known)
    assert gone(here.come("127.0.0.2"))
    wrong.clear()
    with pytest.raises(PgherdError, match=r"answer on port \d+: unforeseen: ZeroDivisionError"):
        here.part.tick(1)
    assert here.ask("127.0.0.2") < 5
    assert here.part.tick(2) == ()


def test_what_hangs_is_said(crowd: Makes, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()
    monkeypatch.setattr("pgherd.agent.door.HUNG", 0.05)
    monkeypatch.setitem(ROUTES, "/hangs", lambda _query: as_json(back.wait(60)))
    here = crowd()
    client = here.come("127.0.0.2", shake=True)
    client.sendall(b"GET /hangs HTTP/1.0\r\n\r\n")
    until(lambda: "hung" in here.part.door.fault())
    back.set()
    assert here.ask("127.0.0.2") < 5
    until(lambda: here.part.door.fault() == "")


def test_a_crowd_costs_one_thread_and_half_a_core(crowd: Makes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that fences has the rest."""

    def busy(_query: Mapping[str, str]) -> Answer:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return as_json({})

    monkeypatch.setitem(ROUTES, "/one", busy)
    here = crowd(patience=60.0)
    rests: list[float] = []
    wait = here.part.door._closing.wait
    monkeypatch.setattr(here.part.door._closing, "wait", lambda seconds: rests.append(seconds) or wait(seconds))
    threads = threading.active_count()
    for number in range(50):
        here.come(f"127.0.1.{number + 1}")
    here.ask("127.0.0.2")
    until(lambda: rests and max(rests) >= 0.05)
    assert max(rests) <= 0.2
    assert threading.active_count() == threads


class Named:
    """One who waits: k2 is the second of a known source called k."""

    def __init__(self, name: str) -> None:
        self.name, self.source, self.known = name, name[0], name.startswith("k")


@pytest.mark.parametrize(
    ("inside", "comes", "gives_up"),
    [
        ("", "a1", ""),
        ("a1 b1", "c1", ""),
        ("a1 b1 c1", "d1", "a1"),
        ("a1 b1 b2", "c1", "b1"),
        ("a1 b1 b2", "b3", "b1"),
        ("b1 b2", "b3", "b1"),
        ("k1 a1 b1 c1", "d1", "a1"),
        ("a1 b1 c1", "k1", ""),
        ("a1 b1 k1 k2", "k3", "k1"),
        ("k1 a1 b1", "c1", ""),
    ],
)
def test_who_gives_up_a_place(inside: str, comes: str, gives_up: str) -> None:
    found = leaves([Named(name) for name in inside.split()], Named(comes), SeatLimits(strangers=3, known=2, each=2))
    assert (found.name if found else "") == gives_up


def test_what_counts_as_one_source() -> None:
    assert source("10.0.0.1") == "10.0.0.1"
    assert source("2001:db8::1") == source("2001:db8::ffff:1") != source("2001:db8:0:1::1")
    assert source("fe80::1%eth0") == source("fe80::2")


def test_for_whom_places_are_kept() -> None:
    names = {"pg1": ["10.0.0.1", "fd00::1"]}

    def look_up(name: str) -> list[str]:
        if name not in names:
            raise OSError("no such name")
        return names[name]

    known = Known(
        [("pg1", ""), ("pg2", "10.0.0.2"), ("10.0.0.3", ""), ("pg4", "FD00:0::4"), ("pg5", "")],
        ["10.1.0.0/16", "192.0.2.9"],
        look_up,
    )
    until(lambda: known("10.0.0.1"))
    kept = ("fd00::1", "10.0.0.2", "10.0.0.3", "fd00::4", "10.1.2.3", "192.0.2.9", "127.0.0.1", "::1")
    assert [address for address in kept if not known(address)] == []
    others = ("10.0.0.5", "10.2.0.1", "192.0.2.10", "fd00::5", "fe80::1%eth0", "")
    assert [address for address in others if known(address)] == []


def test_names_are_looked_up_again_and_what_was_found_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = ["10.0.0.1"], []

    def look_up(name: str) -> list[str]:
        asked.append(name)
        if not answer:
            raise OSError("no name service")
        return list(answer)

    monkeypatch.setattr("pgherd.agent.known.SOON", 0.0)
    monkeypatch.setattr("pgherd.agent.known.AGAIN", 0.0)
    known = Known([("pg1", "")], (), look_up)
    until(lambda: known("10.0.0.1"))
    answer.clear()
    failed = len(asked) + 2
    until(lambda: known("10.0.0.1") and len(asked) > failed)
    answer.append("10.0.0.7")
    until(lambda: known("10.0.0.7"))
    assert not known("10.0.0.1")
