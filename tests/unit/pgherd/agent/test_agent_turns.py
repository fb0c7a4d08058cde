# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A running agent takes up a changed description: never in the middle of what goes by the one before. See docs/safety.md."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.agent import loop, verbs
from pgherd.agent.command_part import CommandPart, ask
from pgherd.agent.command_socket import CommandSocket
from pgherd.agent.http import HttpPart, as_json
from pgherd.agent.loop import Agent
from pgherd.agent.node_part import NodePart
from pgherd.agent.part import Decision, Part
from pgherd.agent.seen import NodeSeen
from pgherd.agent.verbs import Verbs
from pgherd.description import DescriptionWatch, digest
from pgherd.errors import PgherdError
from pgherd.model import Cluster, Node
from pgherd.observe.node_state import Survey
from pgherd.options import Options
from pgherd.ports.links import Links
from pgherd.render.conf_cluster import text
from world import CLUSTER

OTHER = replace(CLUSTER, sync_standbys=2)


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.01)


class Silent:
    """No node answers."""

    def ask(self, _query: str, _limit: float) -> tuple[dict[str, Any], dict[str, str]]:
        return {}, {}

    def close(self) -> None:
        pass


class Looker:
    """A part that counts its looks, which last until *free*."""

    name = "looker"
    interval = 0.01

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.looks, self.inside, self.closed = cluster, 0, False, False
        self.free = threading.Event()
        self.free.set()

    def tick(self, now: float) -> Sequence[Decision]:
        self.inside = True
        self.free.wait(10)
        self.inside = False
        self.looks += 1
        return ()

    def close(self) -> None:
        assert not self.inside, "it is closed between two looks"
        self.closed = True


class Host:
    """An agent with a node's part, a command socket and one that looks; and its description."""

    def __init__(self, directory: Path, unasked: bool = True) -> None:
        self.path, self.where = directory / "cluster.json", str(directory / "command")
        self.said: list[str] = []
        self.made: list[tuple[CommandPart, NodePart, Looker]] = []
        self.fails = ""
        self.going, self.began = threading.Event(), threading.Event()
        self.put(CLUSTER)
        self.watch = DescriptionWatch(str(self.path), self.said.append)
        self.listener: CommandSocket[CommandPart] = CommandSocket(self.where)
        self.agent = Agent(self.build(CLUSTER), self.said.append, watch=self.watch, build=self.build, unasked=unasked)
        self.thread = threading.Thread(target=self.agent.run, daemon=True)
        self.thread.start()

    def build(self, cluster: Cluster) -> list[Part]:
        if self.fails:
            raise PgherdError(self.fails)
        links = Links(lambda _name: pytest.fail("nobody is asked"), lambda: None)
        node = NodePart(here_of(cluster, "pg1", links, say=self.said.append), Silent())
        node.tick = lambda _now: ()  # type: ignore[method-assign]
        command = CommandPart(
            {"count": self.command(cluster), "promote": self.promote(cluster)},
            self.listener,
            self.said.append,
            Verbs("pg1", {"switchover": self.switchover(cluster)}, {}, self.said.append),
        )
        self.made.append((command, node, Looker(cluster)))
        return [*self.made[-1]]

    def command(self, cluster: Cluster) -> Callable[[Callable[[str], None], Mapping[str, Any]], int]:
        def count(say: Callable[[str], None], _asked: Mapping[str, Any]) -> int:
            say(str(cluster.sync_standbys))
            return 0

        return count

    def promote(self, cluster: Cluster) -> Callable[[Callable[[str], None], Mapping[str, Any]], int]:
        def run(say: Callable[[str], None], _asked: Mapping[str, Any]) -> int:
            self.began.set()
            self.going.wait(10)
            say(f"by {cluster.sync_standbys}")
            return 0

        return run

    def switchover(self, cluster: Cluster) -> Callable[[Callable[[str], None], Mapping[str, Any]], Mapping[str, Any]]:
        def run(say: Callable[[str], None], _asked: Mapping[str, Any]) -> Mapping[str, Any]:
            self.promote(cluster)(say, {})
            return {}

        return run

    def ask_and_go(self) -> None:
        """Ask for a switchover, and be gone when it has begun."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as stream:
            connection.connect(self.where)
            stream.write('{"verb": "switchover"}\n')
            stream.flush()
            assert json.loads(stream.readline()) == {"ready": "pg1"}
            stream.write('{"go": true}\n')
            stream.flush()
            assert self.began.wait(5)

    def put(self, cluster: Cluster) -> str:
        new = self.path.with_suffix(".new")
        new.write_text(text(cluster))
        os.replace(new, self.path)
        return digest(text(cluster).encode())

    @property
    def now(self) -> tuple[CommandPart, NodePart, Looker]:
        return self.made[-1]

    def counts(self) -> str:
        """By which W a command counts now."""
        lines: list[str] = []
        assert ask("count", {}, lines.append, self.where) == 0
        return lines[0]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Host]:
    monkeypatch.setattr(loop, "LOOK", 0.02)
    monkeypatch.setattr(loop, "PATIENCE", 0.1)
    made = Host(tmp_path, getattr(request, "param", True))
    yield made
    made.agent.stop()
    made.going.set()
    made.thread.join(5)
    assert not made.thread.is_alive()


def test_all_parts_go_by_it_and_the_ones_before_are_closed(host: Host) -> None:
    until(lambda: host.now[2].looks)
    before, was = host.now, host.watch.told.digest
    before[1]._view = NodeSeen(1.0, "pg1", Survey({}, {}))
    before[1]._tracker.confirmed["pg2"], before[1]._system_id = (1, 7), "8"
    assert host.counts() == "1"
    wanted = host.put(OTHER)
    until(lambda: host.watch.told.digest == wanted)
    assert wanted != was
    assert host.now != before
    assert host.now[2].cluster == OTHER
    until(lambda: before[2].closed)
    until(lambda: host.now[2].looks > 2)
    looks = before[2].looks
    time.sleep(0.05)
    assert before[2].looks == looks, "the one before looks no more"
    assert host.counts() == "2"
    # What it had seen is shown until it looks again; whoever probes it sees no gap.
    assert host.now[1].view() == before[1].view()
    assert host.now[1].confirmed() == {"pg2": (1, 7)}
    assert host.now[1]._system_id == "8"


UNDER_WAY = ["a promotion that repmgrd asked for", "a switchover whose asker has gone", "work", "a fence", "a look"]


@pytest.mark.parametrize("what", UNDER_WAY)
def test_what_is_under_way_goes_by_the_one_before_to_its_end(
    host: Host, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest is the word that a stage may end: it must not be given while anything counts by the one before."""
    command, node, looker = host.now
    ended, lines, release = threading.Event(), [], threading.Event()  # type: ignore[var-annotated]

    def asks() -> None:
        ask("promote", {}, lines.append, host.where)
        ended.set()

    if what.startswith("a promotion"):
        threading.Thread(target=asks, daemon=True).start()
        assert host.began.wait(5)
        waits = "promote"
    elif what.startswith("a switchover"):
        monkeypatch.setattr(verbs, "BEAT", 0.01)
        host.ask_and_go()
        until(lambda: not host.listener._running)  # nobody is talked with any more
        waits = "switchover"
    elif what == "work":
        node._work.begin("elect", lambda: release.wait(10))
        waits = "elect"
    elif what == "a fence":
        node._primary.fencing._doing = "shut"
        waits = "shut"
    else:
        looker.free.clear()
        until(lambda: looker.inside)
        waits = "a look of looker"
    was, wanted = host.watch.told.digest, host.put(OTHER)
    until(lambda: host.watch.told.waits == waits)
    looks = looker.looks
    time.sleep(0.1)
    assert host.watch.told.digest == was != wanted
    assert host.now == (command, node, looker)
    if what != "a look":
        until(lambda: looker.looks > looks)  # the looks go on meanwhile
        assert host.counts() == "1", "and so does what is asked for"

    release.set()
    host.going.set()
    looker.free.set()
    node._primary.fencing._doing = ""
    until(lambda: host.watch.told.digest == wanted)
    if what.startswith("a promotion"):
        assert ended.wait(5)
        assert lines == ["by 1"]
    assert host.counts() == "2"


def test_what_is_asked_for_between_two_descriptions_goes_by_the_newer_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun by the one before once it has been seen that nothing is under way."""
    build, asked, answers = host.build, [], []  # type: ignore[var-annotated]

    def slowly(cluster: Cluster) -> list[Part]:
        asked.append(threading.Thread(target=lambda: answers.append(host.counts())))
        asked[0].start()
        time.sleep(0.2)
        return build(cluster)

    monkeypatch.setattr(host.agent, "_build", slowly)
    wanted = host.put(OTHER)
    until(lambda: host.watch.told.digest == wanted)
    asked[0].join(5)
    assert answers == ["2"]


@pytest.mark.parametrize("host", [False], indirect=True)
def test_where_it_is_told_it_goes_by_it_then_and_not_before(host: Host) -> None:
    """The site playbook writes it before nodes are cloned, which may take hours: who is electable is not to change meanwhile."""
    until(lambda: not host.agent._asked)  # it has started
    was, wanted = host.watch.told.digest, host.put(OTHER)
    time.sleep(0.1)
    assert host.watch.told.digest == was
    # It is told while something is under way, and goes by it when that has ended without being told again.
    host.now[1]._primary.fencing._doing = "shut"
    host.agent.reread()
    until(lambda: host.watch.told.waits)
    host.now[1]._primary.fencing._doing = ""
    until(lambda: host.watch.told.digest == wanted)
    was = host.watch.told.digest
    wanted = host.put(CLUSTER)
    time.sleep(0.1)
    assert host.watch.told.digest == was
    host.agent.reread()
    until(lambda: host.watch.told.digest == wanted)


def test_one_that_was_written_during_its_start_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell it then: it is only told once it has said that it runs."""
    monkeypatch.setattr(loop, "LOOK", 0.02)
    path, newer = tmp_path / "cluster.json", tmp_path / "newer"
    path.write_text(text(CLUSTER))
    newer.write_text(text(OTHER))
    said: list[str] = []
    watch = DescriptionWatch(str(path), said.append)
    agent = Agent([], said.append, watch=watch)
    os.replace(newer, path)
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    until(lambda: watch.told.digest == digest(text(OTHER).encode()), 5.0)
    agent.stop()
    thread.join(5)


def test_parts_that_cannot_be_made_leave_the_ones_before(host: Host) -> None:
    before, was = host.now, host.watch.told.digest
    host.fails = "it has no host called pg1."
    wanted = host.put(OTHER)
    until(lambda: host.watch.told.refused == wanted)
    assert host.watch.told.digest == was
    looks = before[2].looks
    until(lambda: before[2].looks > looks)
    assert host.counts() == "1"
    assert [line for line in host.said if "no host" in line] == [
        f"description: goes by {was} still: it has no host called pg1."
    ]
    host.fails = ""
    time.sleep(0.1)
    assert host.watch.told.refused == wanted, "it is not tried again and again"
    host.agent.reread()
    until(lambda: host.watch.told.digest == wanted)
    wanted = host.put(replace(OTHER, port=5433))
    until(lambda: host.watch.told.digest == wanted)


def test_of_two_that_are_written_while_the_first_is_taken_the_second_counts(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, newest = host.build, replace(CLUSTER, sync_standbys=3)

    def overtaken(cluster: Cluster) -> list[Part]:
        made = build(cluster)
        if cluster == OTHER:
            host.put(newest)
        return made

    monkeypatch.setattr(host.agent, "_build", overtaken)
    host.put(OTHER)
    until(lambda: host.watch.told.digest == digest(text(newest).encode()))
    assert not [line for line in host.said if digest(text(OTHER).encode()) in line and "now" in line]
    assert host.counts() == "3"


def test_a_fence_keeps_its_session(host: Host) -> None:
    """Now may be a bad time for a new one."""
    server = object()
    host.now[1]._primary.fencing._server = server  # type: ignore[assignment]
    before, wanted = host.now, host.put(OTHER)
    until(lambda: host.watch.told.digest == wanted)
    assert host.now[1]._primary.fencing._server is server
    assert before[1]._primary.fencing._server is None
    host.now[1]._primary.fencing._server = None


def test_a_port_goes_on_answering_on_the_addresses_that_are_left() -> None:
    def part(what: str, *where: str, port: int = 0) -> HttpPart:
        return HttpPart(lambda: where, port, {"/": lambda _query: as_json(what)}, secure=False)

    def answer(address: str, port: int) -> str:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read()))

    first = part("first", "127.0.0.1", "127.0.0.2")
    first.tick(0.0)
    ports = first.door.ports
    second = part("second", "127.0.0.2", "127.0.0.3")
    second.take_over(first)
    first.close()
    assert answer("127.0.0.2", ports["127.0.0.2"]) == "second"
    second.tick(0.0)
    assert set(second.door.ports) == {"127.0.0.2", "127.0.0.3"}
    assert second.door.ports["127.0.0.2"] == ports["127.0.0.2"]
    with pytest.raises(OSError, match="refused"):
        answer("127.0.0.1", ports["127.0.0.1"])
    third = part("third", "127.0.0.2", port=1)
    third.take_over(second)
    second.close()
    assert not second.door.ports, "another port is another socket"
    third.close()


class Process:
    """An agent as its unit runs it, beside a node whose server does not run."""

    def __init__(self, directory: Path, place: str) -> None:
        self.path, self.unasked = directory / "cluster.json", place == "pod"
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
            self.port, tls = free.getsockname()[1], other.getsockname()[1]
        options = Options(agent_plain_listen=("127.0.0.1",), agent_plain_port=self.port, agent_port=tls)
        nodes = tuple(replace(node, address="127.0.0.1", place=place) for node in CLUSTER.data_nodes[:2])
        self.cluster = Cluster("demo", nodes, options=options, port=1)
        self.put(text(self.cluster))
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "notify"))
        self.notified.settimeout(20)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(directory / "notify"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PGHERD_PLACE": place,
        }
        # An agent is not root's. One that is acts as others for moments, as a whole, and then reads no file of ours.
        code = "import os; os.getresuid = lambda: (1, 1, 1)\n"
        code += f"from pgherd.places.{place} import agent; agent.COMMANDS = {str(directory / 'command')!r}"
        words = ["-c", f"{code}; raise SystemExit(agent.main({str(self.path)!r}, 'pg1', 17))"]
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, *words], env=environment, stderr=log)

    def put(self, content: str) -> str:
        """Change the description, and have it gone by."""
        new = self.path.with_suffix(".new")
        new.write_text(content)
        os.replace(new, self.path)
        if hasattr(self, "process") and not self.unasked:
            self.process.send_signal(signal.SIGHUP)
        return digest(content.encode())

    def status(self, wanted: str) -> None:
        """Wait for a word to the service manager that has *wanted* in it."""
        end, said = time.monotonic() + 30, ""
        while wanted not in said:
            assert time.monotonic() < end, f"{wanted} was not said; last: {said}; {self.log.read_text()}"
            said = self.notified.recv(4096).decode()

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@pytest.fixture(params=["host", "pod"])
def process(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Process]:
    made = Process(tmp_path, request.param)
    yield made
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(20) == 0, made.log.read_text()


def test_a_real_agent_goes_by_it_as_the_same_process(process: Process) -> None:
    was = digest(text(process.cluster).encode())
    process.status(f"STATUS=goes by description {was}")
    until(lambda: "listens on 127.0.0.1" in process.log.read_text())
    assert json.loads(process.get("/live"))["description"] == {
        "digest": was,
        "schema": 1,
        "refused": False,
        "waits": "",
    }
    assert "pgherd_nodes_configured 2.0" in process.get("/metrics")
    pid = process.process.pid

    more = replace(process.cluster, nodes=(*process.cluster.nodes, Node("pg9", 9, "postgres", "127.0.0.1", "pg1")))
    now = process.put(text(more))
    process.status(f"STATUS=goes by description {now}")
    assert json.loads(process.get("/live"))["description"]["digest"] == now
    metrics = process.get("/metrics")
    assert f'pgherd_description_info{{digest="{now}",schema="1"}} 1.0' in metrics
    assert "pgherd_description_refused 0.0" in metrics
    assert "pgherd_nodes_configured 3.0" in metrics

    # Without this host, and broken: what is there before stays, and that is said.
    broken = process.put(text(replace(more, nodes=more.nodes[1:])))
    process.status(f"STATUS=goes by description {now}; refuses {broken}")
    broken = process.put("{")
    process.status(f"STATUS=goes by description {now}; refuses {broken}")
    assert "pgherd_description_refused 1.0" in process.get("/metrics")
    assert json.loads(process.get("/health"))["description"]["refused"] is True
    lines = [line for line in process.log.read_text().splitlines() if "still: " in line]
    assert len(lines) == 2
    assert "it has no host called pg1" in lines[0]
    assert "does not describe a cluster" in lines[1]

    process.put(text(process.cluster))
    process.status(f"STATUS=goes by description {was}")
    assert "pgherd_nodes_configured 2.0" in process.get("/metrics")
    assert process.process.poll() is None
    assert process.process.pid == pid
