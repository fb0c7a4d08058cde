# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What stands before each start of PostgreSQL: the file as a host has it, as a process, at a real socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import guard_client, node_part
from pgherd.agent.command_part import CommandPart, ask
from pgherd.data import rejoin_marker
from pgherd.errors import Conflict
from pgherd.inventory import versions
from pgherd.model import COMMAND
from pgherd.nodes import evidence, guard, start
from pgherd.nodes.guard import words
from pgherd.nodes.verdict import STANDBY, START, StartVerdict
from pgherd.places.host.files import base, postgres
from pgherd.places.host.files.facts import HostFacts
from pgherd.places.pod import programs
from pgherd.ports.services import POSTGRES, STOPPED
from states import cluster
from test_root import SECRETS, Secrets
from users import MINE, OTHER, ROOT

THREE = cluster(3)
DATA = "/srv/pg"
WORDS = words("pg1", DATA)
LINE = "guard: pg1 starts as it is: no other primary is possible: pg2 can acknowledge commits, and knows none"
GOOD = f"{LINE}\n0\n".encode()
# The exit code of the guard that stands in here, and what it says with its options.
FULL = 7
SHORT = "1.25"
OLD = json.dumps({"as_standby": False, "why": "no other primary is possible", "provisional": False})
Answer = Callable[[socket.socket, threading.Event], None]


class Host:
    """The file as it is on a host, with the paths that it knows below *directory*."""

    def __init__(self, directory: Path) -> None:
        self.file, self.full, self.permit = directory / "guard", directory / "pgherd", directory / "permit"
        self.socket = directory / "run/command"
        self.socket.parent.mkdir()
        self.full.write_text(f'#!/bin/sh\necho "$*" as $(id -u) $(id -g) $(id -G) >&2\nexit {FULL}\n')
        self.full.chmod(0o755)
        text = base.guard().content
        for constant, value in (("COMMAND", self.full), ("PERMIT", self.permit)):
            text, found = re.subn(rf'^{constant} = ".*"$', f'{constant} = "{value}"', text, flags=re.MULTILINE)
            assert found == 1
        text, found = re.subn(r"^(PATIENCE, LONGEST = )10\.0", rf"\g<1>{SHORT}", text, flags=re.MULTILINE)
        assert found == 1
        self.file.write_text(text)

    def start(self, *given: str, **how: Any) -> tuple[int, str]:
        """What a start that is guarded so ends with, and says."""
        argv = [sys.executable, "-I", "-S", str(self.file), str(self.socket), *(given or WORDS)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, **how)
        assert done.stdout == ""
        return done.returncode, done.stderr

    @contextmanager
    def agent(self, answer: Answer) -> Iterator[list[bytes]]:
        """Somebody at the socket; gives what was asked."""
        over, asked = threading.Event(), []

        def serve() -> None:
            with suppress(OSError):
                connection, _address = listening.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    answer(connection, over)

        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.socket))
            listening.listen()
            server = threading.Thread(target=serve)
            server.start()
            try:
                yield asked
            finally:
                over.set()
                with suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)
                server.join()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def sends(data: bytes) -> Answer:
    return lambda connection, _over: connection.sendall(data)


def goes_on(data: bytes, pause: float) -> Answer:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        while not over.wait(pause):
            connection.sendall(data)

    return answer


def stands_in(said: str, given: tuple[str, ...] = WORDS) -> bool:
    """Whether that is the guard's word, called with the same options and rights as the client."""
    mine = f"{os.getuid()} {os.getgid()} "
    return said.startswith(f"guard {' '.join(given)} as {mine}") and LINE not in said


def test_an_agent_that_says_so_has_it_start(host: Host) -> None:
    with host.agent(sends(GOOD)) as asked:
        assert host.start() == (0, f"{LINE}\n")
    assert [json.loads(one) for one in asked] == [{"command": "guard", "arguments": {"words": list(WORDS)}}]


@pytest.mark.parametrize("code", [0, FULL], ids=["it may start", "it must not"])
def test_a_stop_meanwhile_waits_for_its_word(host: Host, code: int) -> None:
    """What systemd sends to stop a unit that is starting is no failure of the guard's, and no leave to start either."""
    again, go = host.full.with_name("again"), host.full.with_name("go")
    program = (
        f"#!{sys.executable}\nimport pathlib, sys, time\npathlib.Path({str(again)!r}).touch()\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\nsys.exit({code})\n"
    )
    host.full.write_text(program)
    for reached in (host.agent(lambda _connection, over: over.wait(20)), nullcontext()):
        with reached as asked:
            for path in (again, go):
                path.unlink(missing_ok=True)
            argv = [sys.executable, "-I", "-S", str(host.file), str(host.socket), *WORDS]
            with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as started:
                deadline = time.monotonic() + 20
                while not (asked or again.exists()):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                started.send_signal(signal.SIGINT)
                go.touch()
                assert started.wait(20) == code


def test_an_answer_may_come_in_pieces(host: Host) -> None:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        for part in (GOOD[:9], GOOD[9:-1], GOOD[-1:]):
            connection.sendall(part)
            over.wait(0.02)

    with host.agent(answer):
        assert host.start() == (0, f"{LINE}\n")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sends(b"1\n"), id="it cannot tell"),
        pytest.param(sends(b"guard: Start pg1: expected other data\n1\n"), id="it refuses"),
        pytest.param(sends(b"guard: pg1 starts as a standby: pg2 is primary (timeline 2)\n0\n"), id="as a standby"),
        pytest.param(sends(f"{OLD}\n0\n".encode()), id="an agent of the release before"),
        pytest.param(sends(b""), id="an agent that does not know the question"),
        pytest.param(sends(GOOD.replace(b"pg1", b"pg2", 1)), id="of another node"),
        pytest.param(sends(GOOD[:-2] + b"3\n"), id="another code"),
        pytest.param(sends(GOOD[:-1]), id="the code breaks off"),
        pytest.param(sends(GOOD[:-2]), id="no code"),
        pytest.param(sends(GOOD[:40]), id="the line breaks off"),
        pytest.param(sends(b"0\n"), id="the code alone"),
        pytest.param(sends(b"more\n" + GOOD), id="more before it"),
        pytest.param(sends(GOOD + b"more"), id="more after it"),
        pytest.param(sends(GOOD.replace(b"pg2", b"\x1b[2J")), id="what a terminal would obey"),
        pytest.param(sends(GOOD.replace(b"pg2", b"\xff")), id="no text"),
        pytest.param(sends(b"\0" * 70000), id="much that is nothing"),
        pytest.param(lambda _connection, over: over.wait(), id="it hangs"),
        pytest.param(goes_on(b"x", 0.01), id="it never ends"),
        pytest.param(goes_on(b"x" * 65536, 0), id="it never ends, and is quick"),
    ],
)
def test_whatever_else_it_says_is_the_guards(host: Host, answer: Answer) -> None:
    began = time.monotonic()
    with host.agent(answer) as asked:
        code, said = host.start()
        assert time.monotonic() - began < 10, "an agent that hangs is not waited for"
    assert (code, len(asked)) == (FULL, 1)
    assert stands_in(said), said


def test_it_does_not_read_for_ever(host: Host) -> None:
    host.file.write_text(host.file.read_text().replace(SHORT, "60.0"))
    began = time.monotonic()
    with host.agent(goes_on(b"x" * 65536, 0)):
        assert host.start()[0] == FULL
        assert time.monotonic() - began < 20


def test_no_agent(host: Host) -> None:
    code, said = host.start()
    assert (code, stands_in(said)) == (FULL, True), said
    with socket.socket(socket.AF_UNIX) as left:  # by an agent that was killed
        left.bind(str(host.socket))
    assert host.start() == (code, said)
    host.socket.unlink()
    host.socket.write_text("no socket")
    assert host.start() == (code, said)
    host.socket.unlink()
    host.socket.parent.rmdir()
    assert host.start() == (code, said)


def test_an_agent_that_lets_nobody_in(host: Host) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(str(host.socket))
        listening.listen(0)
        waiting.connect(str(host.socket))
        code, said = host.start()
    assert (code, stands_in(said)) == (FULL, True), said


def test_a_permit_is_not_the_clients_to_take(host: Host) -> None:
    host.permit.touch()
    with host.agent(sends(GOOD)) as asked:
        code, said = host.start()
    assert (code, stands_in(said), asked, host.permit.exists()) == (FULL, True, [], True), said
    assert guard_client.PERMIT == evidence.PATH


@pytest.mark.parametrize("strange", ['/srv/"pg"', "/srv/p\\g", "/srv/p\ng"])
def test_what_cannot_be_asked_is_the_guards(host: Host, strange: str) -> None:
    given = words("pg1", strange)
    with host.agent(sends(GOOD)) as asked:
        code, said = host.start(*given)
    assert (code, stands_in(said, given), asked) == (FULL, True, []), said


class Agent:
    """The running agent of pg1, whose decision is *decided*; the guard itself would find the same."""

    def __init__(self, host: Host, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decided: StartVerdict | Conflict = StartVerdict(START, "pg1 is a standby")
        self.asked = 0
        self.data, self.mark = directory / "data", directory / "mark"
        self.data.mkdir()
        monkeypatch.setattr(rejoin_marker, "MARK", str(self.mark))
        monkeypatch.setattr(start, "decide", self._decide)
        stopped = SimpleNamespace(state=lambda _service: STOPPED)
        here = here_of(THREE, "pg1", services=stopped, data=str(self.data))
        self.parts = node_part.parts(here, str(host.socket))
        self.words = words("pg1", str(self.data))

    def _decide(self, _here: Any, _known: Any) -> StartVerdict:
        self.asked += 1
        if isinstance(self.decided, Conflict):
            raise self.decided
        return self.decided


@pytest.fixture
def agent(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    made = Agent(host, tmp_path, monkeypatch)
    yield made
    for part in made.parts:
        part.close()


def test_the_agent_answers_in_the_guards_words(host: Host, agent: Agent) -> None:
    assert host.start(*agent.words) == (0, "guard: pg1 starts as it is: pg1 is a standby\n")
    assert agent.asked == 1
    assert list(agent.data.iterdir()) == []


def as_a_standby(agent: Agent) -> None:
    agent.decided = StartVerdict(STANDBY, "pg2 is primary (timeline 2)")


def another_cluster(agent: Agent) -> None:
    agent.decided = Conflict("Start pg1", "data of the cluster that pg2 holds", "others")


def half_a_clone(agent: Agent) -> None:
    agent.mark.write_text("clone from pg2\n")


def anothers_number(agent: Agent) -> None:
    (agent.data / "postmaster.pid").write_text(f"{os.getpid()}\n{agent.data}\n")


def other_data(agent: Agent) -> None:
    agent.words = words("pg1", "/srv/other")


def other_version(agent: Agent) -> None:
    # As units of a release before have it.
    agent.words = ("--host", "pg1", "--postgres", "16", "--data", str(agent.data))


def other_description(agent: Agent) -> None:
    agent.words = ("--host", "pg1", "--cluster", "/etc/other.json", *agent.words[2:])


@pytest.mark.parametrize(
    ("case", "asked"),
    [
        (as_a_standby, 1),
        (another_cluster, 1),
        (half_a_clone, 0),
        (anothers_number, 0),
        (other_data, 0),
        (other_version, 0),
        (other_description, 0),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_what_is_to_be_refused_or_written_is_the_guards(
    host: Host, agent: Agent, case: Callable[[Agent], None], asked: int
) -> None:
    case(agent)
    before = {path: path.read_bytes() for path in agent.data.iterdir()}
    code, said = host.start(*agent.words)
    assert (code, stands_in(said, agent.words), agent.asked) == (FULL, True, asked), said
    assert ask("guard", {"words": agent.words}, lambda _line: None, str(host.socket)) == 1
    assert {path: path.read_bytes() for path in agent.data.iterdir()} == before, "the agent writes nothing for it"


def test_what_is_refused_is_said_until_a_start_is_allowed(host: Host, agent: Agent) -> None:
    (node,) = [part for part in agent.parts if isinstance(part, node_part.NodePart)]

    def said() -> str:
        node.tick(time.monotonic())
        seen = node.view()
        assert seen is not None
        return seen.words

    another_cluster(agent)
    host.start(*agent.words)
    assert said() == str(agent.decided)
    agent.decided = StartVerdict(START, "pg1 is a standby")
    host.start(*agent.words)
    assert said() == ""


def test_a_guard_of_the_release_before_finds_out_by_itself(host: Host, agent: Agent) -> None:
    lines: list[str] = []
    assert ask("guard", {}, lines.append, str(host.socket)) == 1
    assert (lines, agent.asked) == ([], 0)


def test_its_words_are_the_guards() -> None:
    for as_standby in (False, True):
        said = guard.sentence("pg1", StartVerdict(STANDBY if as_standby else START, "why"))
        assert said.startswith("guard: pg1 starts as it is: ") != as_standby


def test_two_at_once(host: Host) -> None:
    part = CommandPart({"guard": lambda say, _asked: say(LINE) or 0}, str(host.socket), lambda _line: None)
    found: list[tuple[int, str]] = []
    both = [threading.Thread(target=lambda: found.append(host.start())) for _one in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    part.close()
    assert found == [(0, f"{LINE}\n")] * 2


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
@pytest.mark.parametrize("planted", [False, True], ids=["its agent", "a link to root's socket"])
def test_as_root_it_goes_where_the_agents_user_may_go(common_path: Path, planted: bool) -> None:
    host, seen = Host(common_path), []
    theirs, roots = host.socket.parent, common_path / "roots"
    roots.mkdir(mode=0o700)
    os.chown(theirs, OTHER, OTHER)
    theirs.chmod(0o700)
    if planted:
        host.socket.symlink_to(roots / "command")
        host.socket = roots / "command"

    def answer(connection: socket.socket, _over: threading.Event) -> None:
        _pid, *who = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        seen.append(who)
        connection.sendall(GOOD)

    with host.agent(answer):
        os.chown(host.socket, OTHER, OTHER)
        host.socket = theirs / "command"
        code, said = host.start(extra_groups=[4])
    if planted:
        assert (code, seen) == (FULL, [])
        assert said == f"guard {' '.join(WORDS)} as {MINE} {os.getgid()} {os.getgid()} 4\n"
    else:
        assert (code, seen) == (0, [[OTHER, OTHER]])


def test_it_costs_next_to_nothing_to_start(host: Host, tmp_path: Path) -> None:
    """Counted and not timed: what it has loaded when it has asked."""

    def loaded(text: str) -> set[str]:
        file = tmp_path / "counted"
        file.write_text(text)
        argv = [sys.executable, "-I", "-S", "-X", "importtime", str(file), str(host.socket), *WORDS]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)) - {"package"}

    with host.agent(sends(GOOD)):
        found = loaded(host.file.read_text())
    assert "_socket" in found
    assert found - loaded("import os") <= {"_socket", "time"}


def test_units_and_pods_find_it() -> None:
    (mine,) = (one for one in base.files(THREE, "pg1", HostFacts(17), Secrets(SECRETS)) if one.path == base.GUARD)
    assert (mine.content.splitlines()[0], mine.owner, mine.mode) == ("#!/usr/bin/python3 -IS", "root", "0755")
    assert guard_client.COMMAND == COMMAND
    asked = f"ExecStartPre={base.GUARD} /run/pgherd-agent/command {' '.join(WORDS)}\n"
    assert asked in postgres.unit_text("pg1", DATA)
    ((python, isolated, bare, place, _socket, *given),) = programs.of(versions.asked(THREE, 17), "pg1")[POSTGRES].before
    assert (python, isolated, bare, place) == (sys.executable, "-I", "-S", guard_client.__file__)
    assert tuple(given) == words("pg1", "/var/lib/postgresql/17/main")
