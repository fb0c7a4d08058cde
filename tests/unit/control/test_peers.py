# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Agents that ask each other: real sockets, TLS, and the certificates that the control machine makes for hosts."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from here import here_of
from pgherd.agent import peer_part
from pgherd.agent.asking import Asking
from pgherd.agent.command_part import CommandPart
from pgherd.agent.peer_part import PeerPart
from pgherd.agent.verbs import Verbs
from pgherd.data.datadir import Local
from pgherd.errors import PgherdError, ProtocolError, Unreachable
from pgherd.model import Barman, Cluster, Node, Pgpool
from pgherd.nodes import peer_evidence, start
from pgherd.nodes.directory_state import DirectoryState
from pgherd.nodes.verdict import INITIALIZE, REFUSE, STANDBY, START
from pgherd.observe import peer_answers
from pgherd.observe.node_state import parse_state
from pgherd.observe.peer_answers import QUESTION, Answers, evidence, of_peer
from pgherd.options import Options
from pgherd.ports.links import Links
from pgherd.ports.peers import Peers
from pgherd.ports.sql import PsycopgServer, open_connection
from real_servers import AS, VERSIONS
from scripted import ScriptedServer
from states import SYSTEM
from test_judged import Pair as Signed
from test_judged import made

sys.path += [str(Path(__file__).parents[1] / "pgherd" / folder) for folder in ("observe", "promotion")]

from test_seal import row
from test_statements import Pair

# Every host has a loopback address of its own: certificates are for it, and all use one port.
PLACES = {"pg1": 11, "pg2": 12, "pg3": 13, "w1": 14, "pool1": 15, "backup1": 16}
AT = {name: f"127.0.0.{last}" for name, last in PLACES.items()}
WAS_PRIMARY = Local(False, SYSTEM, 1)
FOLLOWS = row(has_upstream=True, pointed_at=AT["pg1"])
ASKED = {"verb": "evidence", "question": QUESTION}


def free() -> int:
    with socket.create_server((AT["pg2"], 0)) as found:
        return int(found.getsockname()[1])


def described(port: int, *without: str) -> Cluster:
    nodes = [Node(name, n, "postgres", AT[name], "" if n == 1 else "pg1") for n, name in enumerate(PLACES, 1) if n < 4]
    nodes.append(Node("w1", 9, "witness", AT["w1"], "pg1"))
    return Cluster(
        "demo",
        tuple(node for node in nodes if node.name not in without),
        (Pgpool("pool1", AT["pool1"]),),
        (Barman("backup1", AT["backup1"]),),
        options=Options(peer_port=port),
    )


class House:
    """A cluster, with one authority and what it has signed in *directory*."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = SecretStore(str(directory / "store"))
        self.ca = self.store.authority("", "")
        self.cluster = described(free())

    def put(self, name: str, certificate: str, key: str, ca: str = "") -> tuple[str, str, str]:
        texts = {"crt": certificate, "key": key, "ca": ca or self.ca[0]}
        for kind, text in texts.items():
            (self.directory / f"{name}.{kind}").write_text(text)
        return (
            str(self.directory / f"{name}.crt"),
            str(self.directory / f"{name}.key"),
            str(self.directory / f"{name}.ca"),
        )

    def files(self, name: str, *names: str) -> tuple[str, str, str]:
        """What the host called *name* has, whose certificate is for *names*, by default its own."""
        return self.put(name, *self.store.host(name, names or (name, AT[name]), self.ca))

    def signed(
        self, name: str, days: tuple[float, float] = (-1, 700), use: Any = ExtendedKeyUsageOID.CLIENT_AUTH
    ) -> Any:
        """The same, for so many days and another use, made by hand."""
        key = serialization.load_pem_private_key(self.ca[1].encode(), None)
        by = Signed(certificate=x509.load_pem_x509_certificate(self.ca[0].encode()), key=key)
        pair = made(name, by, days, use=use, names=[name, AT[name]])
        return self.put(name, pair.crt, pair.secret())

    def peers(self, name: str = "pg1") -> Peers:
        return Peers(self.cluster, *self.files(name))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


class Agent:
    """The peers' part of the agent of *me*, whose server answers *rows*, one after the other."""

    def __init__(self, house: House, me: str = "pg2", rows: Any = (), patience: float = 5.0, files: Any = ()) -> None:
        self.house, self.me, self.rows, self.said = house, me, list(rows), list[str]()
        self.files = files or house.files(me)
        self.data = house.directory / f"{me}.data"
        self.data.mkdir(exist_ok=True)
        self.parts = [self.part(house.cluster, patience)]
        (decision,) = self.parts[0].tick(0)
        assert decision.text == f"listens on {AT[me]} port {house.cluster.options.peer_port}"

    def part(self, cluster: Cluster, patience: float = 5.0) -> PeerPart:
        here = here_of(self.house.cluster, self.me, links=Links(self._open, lambda: None), data=str(self.data))
        verbs = {"evidence": peer_part.answering(partial(peer_evidence.answer, here))}
        return PeerPart(cluster, lambda: [AT[self.me]], verbs, self.files, self.said.append, patience)

    def _open(self, name: str) -> Any:
        if not self.rows:
            raise Unreachable(f"connect to {name}: no such file")
        return ScriptedServer(name, [("AS in_recovery", [self.rows.pop(0)])])

    def described(self, cluster: Cluster) -> None:
        """Take up another description, as loop.py does."""
        now = self.part(cluster)
        now.take_over(self.parts[-1])
        self.parts[-1].close()
        self.parts.append(now)
        now.tick(0)

    def hears(self, wanted: str) -> None:
        end = time.monotonic() + 20
        while not any(wanted in line for line in self.said):
            assert time.monotonic() < end, f"{wanted} was not said, but {self.said}"
            time.sleep(0.01)

    def close(self) -> None:
        self.parts[-1].close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents have time to answer, however busy this machine is."""
    monkeypatch.setattr(peer_answers, "HEAD_START", 30.0)
    monkeypatch.setattr(peer_answers, "LIMIT", 30.0)


@pytest.fixture
def agent(house: House) -> Iterator[Agent]:
    with closing(Agent(house)) as found:
        yield found


# What is answered.


@pytest.mark.skipif(not VERSIONS, reason="PostgreSQL's programs are not installed here")
@pytest.mark.usefixtures("patient")
def test_two_agents_and_real_servers_say_what_sessions_say(house: House, common_path: Path) -> None:
    if AS:
        import shutil

        shutil.chown(common_path, "postgres", "postgres")
    pair = Pair(common_path, VERSIONS[-1].parent)
    called = {"pg1": "a", "pg2": "b"}

    def links(me: str) -> Links:
        def open_(name: str) -> Any:
            assert name == me, "no session on another node is needed"
            given = pair.login(called[name], "pgherd_agent", "repmgr")
            return PsycopgServer(name, open_connection(name, given))

        return Links(open_, lambda: None, peers=house.peers(me))

    parts = [
        PeerPart(
            house.cluster,
            lambda me=me: [AT[me]],  # type: ignore[misc]
            {"evidence": peer_part.answering(partial(evidence, me, links(me)))},
            house.files(me),
        )
        for me in called
    ]
    try:
        pair.begin()
        for part in parts:
            part.tick(0)
        for me, other in (("pg1", "pg2"), ("pg2", "pg1")):
            answers = Answers([other], links(me))
            answers.wait([other], 20.0)
            found, wanted = answers.survey().states[other], pair.agent(called[other])
            still = {
                "write_lsn": None,
                "receive_lsn": None,
                "replay_lsn": None,
                "name": "",
                "senders": {},
                "flushed": {},
            }
            assert replace(found, **still) == replace(wanted, **still)
            assert (found.name, found.in_recovery) == (other, other == "pg2")
            assert set(found.senders) == set(wanted.senders)
    finally:
        for part in parts:
            part.close()
        pair.end()


def decided(house: House, opens: bool = False) -> tuple[Any, list[str]]:
    """What pg1, a primary that was stopped, may start as, and on whom it has opened a session."""
    asked: list[str] = []

    def open_(name: str) -> Any:
        asked.append(name)
        if opens and name != "w1":
            return ScriptedServer(name, [("AS in_recovery", [FOLLOWS])])
        raise Unreachable(f"connect to {name}: no route to host")

    links = Links(open_, lambda: None, peers=house.peers())
    return start._decide(house.cluster, "pg1", WAS_PRIMARY, links)[0], asked


@pytest.mark.usefixtures("patient")
def test_a_start_rests_on_what_agents_say(house: House) -> None:
    with closing(Agent(house, "pg2", [FOLLOWS])), closing(Agent(house, "pg3", [FOLLOWS])):
        decision, asked = decided(house)
    assert (decision.done, asked) == (START, ["w1"]), decision.why


def test_an_agents_word_is_no_more_than_its_servers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is sealed, or on a newer timeline, says so by either way."""
    newer = row(has_upstream=True, pointed_at=AT["pg2"], timeline=2)
    with closing(Agent(house, "pg2", [FOLLOWS])), closing(Agent(house, "pg3", [newer])):
        assert decided(house)[0].done == STANDBY
    monkeypatch.setattr(start, "PATIENCE", 0.5)
    with closing(Agent(house, "pg2", [row()] * 99)), closing(Agent(house, "pg3", [row()] * 99)):
        decision = decided(house)[0]
    assert (decision.done, decision.provisional) == (STANDBY, True)


def silent(house: House) -> Iterator[None]:
    """An agent that hangs: the kernel takes connections, and nobody answers."""
    port = house.cluster.options.peer_port
    with socket.create_server((AT["pg2"], port)), socket.create_server((AT["pg3"], port)):
        yield


def nobody(house: House) -> Iterator[None]:
    """No agent, or one of a release before."""
    yield


def another_release(house: House) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        agents = [Agent(house, name, [FOLLOWS]) for name in ("pg2", "pg3")]
        patch.setattr(peer_answers, "QUESTION", "0123456789abcdef")
        for one in agents:
            one.parts[0]._verbs["evidence"] = peer_part.answering(
                lambda asked: {"node": "pg2", "row": "{}"} if asked["question"] == QUESTION else {"refused": "unknown"}
            )
        yield
        for one in agents:
            one.close()


def without_a_server(house: House) -> Iterator[None]:
    with closing(Agent(house, "pg2")), closing(Agent(house, "pg3")):
        yield


@pytest.mark.usefixtures("patient")
def test_a_node_says_what_its_directory_holds(house: House, tmp_path: Path) -> None:
    """With a server, without one, and before there is anything at all."""
    with closing(Agent(house, "pg2", [FOLLOWS])) as one, closing(Agent(house, "pg3")) as two:
        for agent, entries in ((one, ["PG_VERSION"]), (two, [])):
            for entry in entries:
                (agent.data / entry).write_text("17\n")
        said = {name: peer_evidence.of_peer(house.peers(), name, 30.0) for name in ("pg2", "pg3")}
    assert {name: (item.directory.kind, bool(item.state)) for name, item in said.items()} == {
        "pg2": ("broken", True),
        "pg3": ("none", False),
    }
    assert said["pg2"].state == parse_state("pg2", FOLLOWS)
    mine = DirectoryState("none")
    assert peer_evidence.verdict(house.cluster, "pg1", mine, said).done == REFUSE
    assert peer_evidence.verdict(house.cluster, "pg1", mine, {**said, "pg2": said["pg3"]}).done == INITIALIZE


@pytest.mark.parametrize(
    "answer",
    [
        {"node": "pg3", "data": {"kind": "none"}},
        {"data": {"kind": "none"}},
        {"node": "pg2"},
        {"node": "pg2", "row": json.dumps(FOLLOWS)},  # of a release before
        {"node": "pg2", "data": {"kind": "what"}},
        {"node": "pg2", "data": {"kind": "none"}, "row": "[]"},
    ],
    ids=str,
)
def test_what_says_nothing_of_the_directory_is_no_evidence(house: House, agent: Agent, answer: dict[str, Any]) -> None:
    agent.parts[0]._verbs["evidence"] = peer_part.answering(lambda _asked: answer)
    with pytest.raises(ProtocolError):
        peer_evidence.of_peer(house.peers(), "pg2", 30.0)


def whose_name_is_anothers(house: House) -> Iterator[None]:
    """pg3's certificate at pg2's address."""
    with closing(Agent(house, "pg2", [FOLLOWS], files=house.files("pg3"))):
        yield


def without_a_certificate(house: House) -> Iterator[None]:
    """Here: the key is gone."""
    with closing(Agent(house, "pg2", [])), pytest.MonkeyPatch.context() as patch:
        patch.setattr(House, "peers", lambda self: Peers(self.cluster, "/nothing", "/nothing", "/nothing"))
        yield


@pytest.mark.parametrize(
    "agents",
    [silent, nobody, another_release, without_a_server, whose_name_is_anothers, without_a_certificate],
    ids=lambda case: case.__name__,
)
def test_where_an_agent_does_not_answer_its_server_is_asked(house: House, agents: Any) -> None:
    with contextmanager(agents)(house):
        began = time.monotonic()
        decision, asked = decided(house, opens=True)
    assert (decision.done, sorted(asked)) == (START, ["pg2", "pg3", "w1"]), decision.why
    assert time.monotonic() - began < 10


def test_a_late_answer_counts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_answers, "HEAD_START", 0.0)

    def open_(name: str) -> Any:
        raise Unreachable("connect: refused")

    with closing(Agent(house, "pg2", [FOLLOWS])):
        answers = Answers(["pg2"], Links(open_, lambda: None, peers=house.peers()))
        end = time.monotonic() + 20
        while "pg2" not in answers.survey().states:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert answers.survey().silent == {}


@pytest.mark.parametrize(
    "answer",
    [
        {"node": "pg3", "row": json.dumps(FOLLOWS)},
        {"node": "pg2"},
        {"node": "pg2", "row": "no JSON"},
        {"node": "pg2", "row": "[]"},
        {"node": "pg2", "row": json.dumps({"in_recovery": True})},
        {"row": json.dumps(FOLLOWS)},
    ],
    ids=str,
)
def test_what_is_no_answer_is_none(house: House, agent: Agent, answer: dict[str, Any]) -> None:
    agent.parts[0]._verbs["evidence"] = peer_part.answering(lambda _asked: answer)
    with pytest.raises(ProtocolError):
        of_peer(house.peers(), "pg2")


# Who is refused, each with a sentence in the journal.


def raw(house: House, files: tuple[str, ...] = ()) -> ssl.SSLSocket:
    """A connection to pg2's port as the host has it whose *files* these are; without any it shows no certificate."""
    context = ssl.create_default_context(cafile=files[2] if files else house.files("pg1")[2])
    if files:
        context.load_cert_chain(*files[:2])
    plain = socket.create_connection((AT["pg2"], house.cluster.options.peer_port), 20)
    return context.wrap_socket(plain, server_hostname=AT["pg2"])


def said_to(connection: ssl.SSLSocket, words: bytes) -> bytes:
    """What comes back; nothing where it is hung up on."""
    found = b""
    try:
        connection.sendall(words)
        while part := connection.recv(65536):
            found += part
    except OSError:
        return b""
    return found


ASK = json.dumps(ASKED).encode() + b"\n"


def test_who_shows_no_certificate(house: House, agent: Agent) -> None:
    with raw(house) as connection:
        assert said_to(connection, ASK) == b""
    agent.hears("is refused: it shows no certificate")


def test_a_certificate_of_another_authority(house: House, agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    crt, key, _ca = House(tmp_path / "other").files("pg1")
    with raw(house, (crt, key, house.files("pg3")[2])) as connection:
        assert said_to(connection, ASK) == b""
    agent.hears("its certificate is not accepted: ")


def test_one_that_has_ended(house: House, agent: Agent) -> None:
    with raw(house, house.signed("pg1", (-20, -1))) as connection:
        assert said_to(connection, ASK) == b""
    agent.hears("its certificate is not accepted: certificate has expired")


def test_one_that_is_for_servers_alone(house: House, agent: Agent) -> None:
    with raw(house, house.signed("pg1", use=ExtendedKeyUsageOID.SERVER_AUTH)) as connection:
        assert said_to(connection, ASK) == b""
    agent.hears("its certificate is not accepted: ")


@pytest.mark.parametrize(
    ("name", "names", "words", "why"),
    [
        ("pg9", ["pg9", "127.0.0.19"], ASKED, "its certificate is for 127.0.0.19, pg9, and that is no member of demo"),
        ("pg9", ["pg1", "127.0.0.19"], ASKED, "that is no member of demo"),  # a name in the inventory is no address
        ("pg1", [AT["pg1"], AT["pg3"]], ASKED, "its certificate is for pg1, pg3 at once"),
        ("w1", [], ASKED, "w1 is a witness host, and evidence is for postgres hosts"),
        ("pool1", [], ASKED, "pool1 is a pgpool host, and evidence is for postgres hosts"),
        ("backup1", [], ASKED, "backup1 is a barman host, and evidence is for postgres hosts"),
        ("pg1", [], {"verb": "stop"}, "there is no 'stop' to ask for"),
        ("pg1", [], {}, "there is no '' to ask for"),
        ("pg1", [], {"verb": "evidence", "question": "x"}, "evidence: asked for what this release does not know."),
        ("pg1", [], ASKED, "evidence: connect to pg2: no such file"),
    ],
)
def test_who_may_not_ask(
    house: House, agent: Agent, name: str, names: list[str], words: dict[str, Any], why: str
) -> None:
    with raw(house, house.files(name, *names)) as connection:
        answer = json.loads(said_to(connection, json.dumps(words).encode() + b"\n"))
    assert why in answer["refused"]
    agent.hears(f" is refused: {answer['refused']}")


def test_refusals_are_counted_by_reason(house: House, agent: Agent) -> None:
    nobody = {"certificate": 0, "request": 0, "member": 0, "right": 0, "busy": 0, "failed": 0}
    assert agent.parts[0].view() == nobody
    for name, names, words in (
        ("pg9", ["pg9", "127.0.0.19"], ASK),
        ("pool1", [], ASK),
        ("backup1", [], ASK),
        ("pg1", [], ASK),
        ("pg3", [], b"x" * 9000),
    ):
        with raw(house, house.files(name, *names)) as connection:
            said_to(connection, words)
    with raw(house) as connection:
        said_to(connection, ASK)
    agent.hears("it shows no certificate")
    agent.described(house.cluster)  # another part goes on counting
    assert agent.parts[-1].view() == {**nobody, "certificate": 1, "request": 1, "member": 1, "right": 2, "failed": 1}


@pytest.mark.parametrize(
    "words", [b"\x00\xff\n", b"[]\n", b"[" * 4000 + b"\n", b'{"verb": ["evidence"]}\n', b'{"verb": 1}\n']
)
def test_what_is_no_request(house: House, agent: Agent, words: bytes) -> None:
    with raw(house, house.files("pg1")) as connection:
        assert b"to ask for" in said_to(connection, words)
    agent.hears("peer: pg1 is refused: there is no ")


@pytest.mark.parametrize("words", [b"x" * 9000, ASK + b"more", ASK + ASK], ids=["huge", "more", "two"])
def test_what_is_more_than_a_request(house: House, agent: Agent, words: bytes) -> None:
    with raw(house, house.files("pg1")) as connection:
        assert said_to(connection, words) == b""
    agent.hears("is refused: it says more than one line of a request may have")


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 100])
def test_what_is_no_tls(house: House, agent: Agent, words: bytes) -> None:
    with socket.create_connection((AT["pg2"], house.cluster.options.peer_port), 20) as plain:
        plain.sendall(words)
        agent.hears("127.0.0.1 is refused: it does not speak TLS as is wanted here: ")


def test_who_is_slow(house: House) -> None:
    with closing(Agent(house, patience=0.3)) as agent:
        with socket.create_connection((AT["pg2"], house.cluster.options.peer_port), 20) as plain:
            assert plain.recv(1) == b""
        agent.hears("127.0.0.1 is refused: it has not asked for anything within 0.3 s")
        agent.said.clear()
        agent.parts[0]._say = peer_part.Quiet(agent.said.append)
        with raw(house, house.files("pg1")) as connection:
            assert said_to(connection, b'{"verb": ') == b""
        agent.hears("has not asked for anything")


def test_slow_ones_hold_up_nobody(house: House) -> None:
    with closing(Agent(house, rows=[FOLLOWS])):
        port = house.cluster.options.peer_port
        idle = [socket.create_connection((AT["pg2"], port), 20) for _one in range(40)]
        half = [raw(house, house.files("pg3")) for _one in range(4)]
        assert of_peer(house.peers(), "pg2").name == "pg2"
        for connection in (*idle, *half):
            connection.close()


def test_a_member_has_only_so_many_answered_at_once(house: House, agent: Agent) -> None:
    over, files = threading.Event(), house.files("pg1")
    agent.parts[0]._verbs["evidence"] = peer_part.answering(lambda _asked: {"over": over.wait(60)})
    held = [raw(house, files) for _one in range(peer_part.EACH)]
    for connection in held:
        connection.sendall(ASK)
    end = time.monotonic() + 20
    while agent.parts[0]._served["pg1"] < peer_part.EACH:
        assert time.monotonic() < end
        time.sleep(0.01)
    with raw(house, files) as connection:
        assert b"of its requests are being answered" in said_to(connection, ASK)
    agent.hears(f"peer: pg1 is refused: {peer_part.EACH} of its requests are being answered")
    # Another's places are its own.
    with raw(house, house.files("pg3")) as connection:
        connection.sendall(ASK)
        over.set()
        assert json.loads(connection.recv(1000)) == {"over": True}
    for connection in held:
        assert json.loads(connection.recv(1000)) == {"over": True}
        connection.close()
    while agent.parts[0]._served["pg1"]:
        assert time.monotonic() < end
        time.sleep(0.01)


# What changes while it runs.


def test_a_member_that_was_removed_is_refused_at_once(house: House, agent: Agent) -> None:
    agent.rows += [FOLLOWS]
    files = house.files("pg3")
    early = raw(house, files)  # let in while it was one
    agent.described(described(house.cluster.options.peer_port, "pg3"))
    with early:
        assert b"that is no member of demo" in said_to(early, ASK)
    with raw(house, files) as connection:
        assert b"that is no member of demo" in said_to(connection, ASK)
    assert of_peer(house.peers(), "pg2").name == "pg2"


def test_a_new_member_is_let_in(house: House, agent: Agent) -> None:
    port, files = house.cluster.options.peer_port, house.files("pg3")
    agent.rows += [FOLLOWS]
    agent.described(described(port, "pg3"))
    agent.described(house.cluster)
    assert of_peer(Peers(house.cluster, *files), "pg2").name == "pg2"
    assert agent.parts[-1].port == port


def test_another_port(house: House, agent: Agent) -> None:
    before, other = house.cluster, described(free())
    agent.rows += [FOLLOWS]
    agent.described(other)
    assert of_peer(Peers(other, *house.files("pg1")), "pg2").name == "pg2"
    with pytest.raises(OSError, match="refused"):
        of_peer(Peers(before, *house.files("pg1")), "pg2")


def test_renewed_certificates_are_taken_up(house: House, agent: Agent, tmp_path: Path) -> None:
    agent.rows += [FOLLOWS, FOLLOWS]
    peers = house.peers()
    assert of_peer(peers, "pg2").name == "pg2"
    (tmp_path / "new").mkdir()
    new = House(tmp_path / "new")
    for name in ("pg1", "pg2"):
        house.put(name, *new.store.host(name, (name, AT[name]), new.ca), new.ca[0])
    with pytest.raises(OSError, match="certificate verify failed"):
        of_peer(peers, "pg2")
    agent.parts[0].tick(5)
    assert of_peer(peers, "pg2").name == "pg2"


def test_one_that_does_not_serve_leaves_the_last(house: House, agent: Agent) -> None:
    agent.rows += [FOLLOWS]
    peers = house.peers()
    Path(agent.files[2]).unlink()
    with pytest.raises(PgherdError, match=r"read the certificate .*pg2\.ca: No such file"):
        agent.parts[0].tick(5)
    assert of_peer(peers, "pg2").name == "pg2"


def test_lines_about_clients_fill_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    quiet = peer_part.Quiet(said.append)
    for n in range(100):
        quiet("the same")
        quiet(f"another {n}")
    assert (len(said), said[0]) == (peer_part.MOST, "the same")
    monkeypatch.setattr(peer_part, "QUIET", 0.0)
    quiet("the same")
    assert said[peer_part.MOST :] == [f"peer: {200 - peer_part.MOST} more were refused before", "the same"]


# What is done for others.

GO_ON = {"verb": "switchover", "node": "pg2", "arguments": {"primary": "pg1"}}


class Switching(Agent):
    """That has a verb done, which waits for a word after its first step."""

    def __init__(self, house: House) -> None:
        self.let, self.journal, self.asked = threading.Event(), list[str](), list[dict[str, Any]]()
        does = dict.fromkeys(("switchover", "promote", "rejoin"), self._does)
        verbs = Verbs("pg2", does, {"postgres": 17}, self.journal.append)
        self.commands = CommandPart({}, str(house.directory / "command"), self.journal.append, verbs)
        super().__init__(house)

    def part(self, cluster: Cluster, patience: float = 5.0) -> PeerPart:
        verbs = dict.fromkeys(("switchover", "promote", "rejoin"), peer_part.conversing(cluster, self.commands))
        return PeerPart(cluster, lambda: [AT[self.me]], verbs, self.files, self.said.append, patience)

    def _does(self, say: Callable[[str], None], asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(dict(asked))
        say("one")
        assert self.let.wait(60)
        say("two")
        if asked.get("primary") == "pg3":
            raise PgherdError("pg3 does not stop. See its log.")
        return {}

    def close(self) -> None:
        self.let.set()
        self.commands.close()
        super().close()


@pytest.fixture
def switching(house: House) -> Iterator[Switching]:
    with closing(Switching(house)) as found:
        yield found


def asking(house: House, said: Callable[[str], None], me: str = "pg1", to: str = "pg2") -> Asking:
    return Asking(to, partial(house.peers(me).connect, "pg2", 20.0), said, {})


def test_a_switchover_is_done_by_the_other_nodes_agent_and_followed_live(house: House, switching: Switching) -> None:
    told: list[tuple[str, bool]] = []

    def said(line: str) -> None:
        told.append((line, switching.let.is_set()))
        switching.let.set()

    asking(house, said).switchover(primary="pg1")
    assert told == [("one", False), ("two", True)]
    assert switching.asked == [{"primary": "pg1"}]
    assert switching.said == ["peer: pg1 asks for switchover"]
    assert switching.journal == ["command: one", "command: two"]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("promote", {"primary": "pg1", "accept_loss": True}),
        ("promote", {"primary": "", "accept_loss": False}),
        ("rejoin", {"target": "pg3"}),
    ],
)
def test_so_are_a_promotion_and_a_rejoin(
    house: House, switching: Switching, verb: str, arguments: dict[str, Any]
) -> None:
    told: list[tuple[str, bool]] = []

    def said(line: str) -> None:
        told.append((line, switching.let.is_set()))
        switching.let.set()

    getattr(asking(house, said), verb)(**arguments)
    assert told == [("one", False), ("two", True)]
    assert switching.asked == [arguments]
    assert switching.said == [f"peer: pg1 asks for {verb}"]


@pytest.mark.parametrize("verb", ["promote", "rejoin"])
@pytest.mark.parametrize("me", ["w1", "pool1", "backup1"])
def test_only_data_nodes_ask_for_them(house: House, switching: Switching, verb: str, me: str) -> None:
    arguments = {"promote": {"primary": "pg1", "accept_loss": False}, "rejoin": {"target": "pg1"}}[verb]
    with pytest.raises(PgherdError, match=f"{me} is a .* host, and {verb} is for postgres hosts"):
        getattr(asking(house, lambda _line: None, me), verb)(**arguments)
    assert switching.asked == []


def test_why_it_failed_is_told(house: House, switching: Switching) -> None:
    switching.let.set()
    with pytest.raises(PgherdError, match=r"pg3 does not stop\. See its log\."):
        asking(house, lambda _line: None).switchover(primary="pg3")


def test_who_asked_may_go(house: House, switching: Switching) -> None:
    with raw(house, house.files("pg1")) as connection:
        connection.sendall(json.dumps(GO_ON).encode() + b"\n")
        assert json.loads(connection.recv(1000)) == {"ready": "pg2"}
        connection.sendall(b'{"go": true}\n')
        assert json.loads(connection.recv(1000)) == {"said": "one"}
    switching.let.set()
    end = time.monotonic() + 20
    while "command: two" not in switching.journal:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("me", "to", "primary", "why"),
    [
        ("pool1", "pg2", "pg1", "pool1 is a pgpool host, and switchover is for postgres hosts"),
        ("w1", "pg2", "pg1", "w1 is a witness host, and switchover is for postgres hosts"),
        ("backup1", "pg2", "pg1", "backup1 is a barman host, and switchover is for postgres hosts"),
        ("pg1", "pg3", "pg1", "switchover on pg3: the agent that was asked is that of pg2"),
        ("pg1", "pg2", "w1", "switchover: it names no data node as the primary"),
        ("pg1", "pg2", "pg9", "switchover: it names no data node as the primary"),
    ],
)
def test_what_is_refused_begins_nothing(
    house: House, switching: Switching, me: str, to: str, primary: str, why: str
) -> None:
    with pytest.raises(PgherdError, match=why):
        asking(house, lambda _line: None, me, to).switchover(primary=primary)
    assert switching.asked == []


@pytest.mark.parametrize("arguments", [None, [], {}, {"primary": ["pg1"]}, {"primary": "pg1", "force": True}])
def test_what_is_no_switchover(house: House, switching: Switching, arguments: Any) -> None:
    with raw(house, house.files("pg1")) as connection:
        answer = said_to(connection, json.dumps({**GO_ON, "arguments": arguments}).encode() + b"\n")
    assert b"it is asked for with primary, and nothing else" in answer or b"it names no data node" in answer
    assert switching.asked == []


def test_one_that_is_removed_while_it_waits_begins_nothing(house: House, switching: Switching) -> None:
    """What is asked for while the parts are being replaced waits for the new ones, and for their word."""
    switching.commands.pause()
    with raw(house, house.files("pg3")) as connection:
        connection.sendall(json.dumps(GO_ON).encode() + b"\n")
        switching.hears("peer: pg3 asks for switchover")
        switching.described(described(house.cluster.options.peer_port, "pg3"))
        switching.commands.resume()
        assert b"that is no member of demo" in said_to(connection, b'{"go": true}\n')
    assert switching.asked == []


@pytest.mark.parametrize(
    ("agent_of", "why"),
    [
        ("", "Connection refused"),
        ("pg3", "IP address mismatch"),
        # Who refuses hangs up after its alert, and who writes just then sees only that.
        ("elsewhere", "(unknown ca|reset by peer|Broken pipe|EOF occurred)"),
    ],
)
def test_where_the_agent_cannot_be_asked_nothing_is_begun(
    house: House, tmp_path: Path, agent_of: str, why: str
) -> None:
    """Nobody is there; somebody else is; it does not believe who signed ours."""
    files = house.files("pg3") if agent_of == "pg3" else house.files("pg2")
    if agent_of == "elsewhere":
        (tmp_path / "other").mkdir()
        Path(files[2]).write_text(House(tmp_path / "other").ca[0])
    agents = [Agent(house, files=files)] if agent_of else []
    try:
        with pytest.raises(PgherdError, match=rf"(?i)its agent cannot be asked from here: .*{why}.* Run it on pg2\."):
            asking(house, lambda _line: None).switchover(primary="pg1")
    finally:
        for one in agents:
            one.close()
