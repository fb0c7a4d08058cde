# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a person has done by a node's agent: the conversation over a real socket, with good ends and bad ones."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import asking, node_part, verbs
from pgherd.agent.asking import Asking, ask, who
from pgherd.agent.command_part import CommandPart
from pgherd.agent.node_part import NodePart
from pgherd.agent.seen import NodeSeen
from pgherd.agent.verbs import Verbs
from pgherd.agent.work import Work
from pgherd.data import rejoin_marker
from pgherd.data.outside import InTheWay
from pgherd.errors import Conflict, PgherdError
from pgherd.nodes.rejoin import Rejoin
from pgherd.observe.node_state import NodeState
from pgherd.ports import lines
from pgherd.promotion import change
from states import cluster, primary, standby, streaming, survey
from users import MINE, OTHER, ROOT, Users

# What an agent of another release did not foresee ends its thread, and stands in the journal.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
THREE = cluster(3)
Say = Callable[[str], None]


class Agent:
    """An agent's socket that hands over when it is let."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "command")
        self.let, self.begun, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.asked: list[Mapping[str, Any]] = []
        self.journal: list[str] = []
        about = {"postgres": 17}
        known = {"switchover": self.switchover, "refused": self.refused, "broken": self.broken, "chatty": self.chatty}
        self.part = CommandPart({}, self.path, self.journal.append, Verbs("pg2", known, about, self.journal.append))

    def switchover(self, say: Say, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(asked)
        say("one")
        self.begun.set()
        assert self.let.wait(10)
        say("two")
        self.ended.set()
        return {"way": "quick"}

    def refused(self, say: Say, _asked: Mapping[str, Any]) -> Mapping[str, Any]:
        say("considering")
        raise Conflict("promote pg2", "a safe promotion", "too few", "Bring them back.")

    def broken(self, _say: Say, _asked: Mapping[str, Any]) -> Mapping[str, Any]:
        raise RuntimeError("an unforeseen one")

    def chatty(self, say: Say, _asked: Mapping[str, Any]) -> Mapping[str, Any]:
        for _line in range(1000):
            say("x" * 1000)
        self.ended.set()
        return {}

    def ask(self, verb: str, said: Say = lambda _line: None, **arguments: Any) -> Mapping[str, Any] | None:
        return ask(verb, "pg2", arguments, said, self.path)

    @contextmanager
    def connected(self, *words: Mapping[str, Any]) -> Iterator[Any]:
        """A client that has said *words*; gives what it can read lines of."""
        with socket.socket(socket.AF_UNIX) as client, client.makefile("r") as lines:
            client.settimeout(10)
            client.connect(self.path)
            for one in words:
                client.sendall(json.dumps(one).encode() + b"\n")
            yield lines


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.let.set()
    made.part.close()


def test_each_step_is_told_when_it_is_done(agent: Agent) -> None:
    told: list[tuple[str, bool]] = []

    def said(line: str) -> None:
        told.append((line, agent.ended.is_set()))
        agent.let.set()

    assert agent.ask("switchover", said, primary="pg1") == {"way": "quick"}
    assert told[0] == ("one", False)
    assert [line for line, _ended in told] == ["one", "two"]
    assert agent.asked == [{"primary": "pg1"}]
    assert agent.journal == ["command: one", "command: two"]


def test_it_says_who_it_is(agent: Agent, tmp_path: Path) -> None:
    assert who(agent.path) == {"node": "pg2", "postgres": 17}
    assert who(str(tmp_path / "none")) == {}


@pytest.mark.parametrize("verb", ["switchover", "refused"])
def test_one_at_a_time(agent: Agent, verb: str) -> None:
    first = threading.Thread(target=agent.ask, args=("switchover",))
    first.start()
    assert agent.begun.wait(10)
    with pytest.raises(
        PgherdError,
        match=f"{verb} on pg2: its agent is at work: switchover. Wait for that to end.*stop the agent on this node",
    ):
        agent.ask(verb)
    agent.let.set()
    first.join(10)
    assert agent.ask("switchover") == {"way": "quick"}
    assert len(agent.asked) == 2


@pytest.mark.parametrize(
    ("verb", "why", "said"),
    [
        ("refused", "promote pg2: wanted a safe promotion, found too few. Bring them back.", ["considering"]),
        ("broken", "unforeseen: RuntimeError: an unforeseen one", []),
    ],
)
def test_why_it_failed_is_told_and_the_next_is_done(agent: Agent, verb: str, why: str, said: list[str]) -> None:
    lines: list[str] = []
    with pytest.raises(PgherdError) as failed:
        agent.ask(verb, lines.append)
    assert (str(failed.value), lines) == (why, said)
    assert agent.journal == [*(f"command: {line}" for line in said), f"command: {verb} failed: {why}"]
    agent.let.set()
    assert agent.ask("switchover") == {"way": "quick"}


def test_who_asked_may_go_and_it_goes_on(agent: Agent) -> None:
    with agent.connected({"verb": "switchover", "node": "pg2"}, {"go": True}):
        assert agent.begun.wait(10)
    agent.let.set()
    assert agent.ended.wait(10)


def test_that_it_goes_on_alone_is_in_the_journal(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "BEAT", 0.05)
    gone = threading.Event()
    agent.part._verbs._say = lambda line: gone.set() if "whoever asked for switchover has gone" in line else None  # type: ignore[union-attr]
    with agent.connected({"verb": "switchover", "node": "pg2"}, {"go": True}):
        assert agent.begun.wait(10)
    assert gone.wait(10)
    assert not agent.ended.is_set()


def test_who_reads_nothing_holds_nothing_up(agent: Agent) -> None:
    with agent.connected({"verb": "chatty", "node": "pg2"}, {"go": True}):
        assert agent.ended.wait(10)
        agent.let.set()
        assert agent.ask("switchover") == {"way": "quick"}


@pytest.mark.parametrize("more", [(), ({"go": False},), ({"come": True},), ([],)])
def test_nothing_begins_before_go(agent: Agent, more: tuple[Any, ...]) -> None:
    """Whoever hung up may have begun it itself."""
    with agent.connected({"verb": "switchover", "node": "pg2"}, *more) as lines:
        assert json.loads(lines.readline()) == {"ready": "pg2"}
    agent.let.set()
    deadline = threading.Event()
    for _try in range(100):
        with suppress(PgherdError):
            assert agent.ask("switchover", lambda _line: None, number=2) == {"way": "quick"}
            break
        deadline.wait(0.05)
    assert agent.asked == [{"number": 2}]


def test_an_agent_of_another_node_does_nothing(agent: Agent) -> None:
    with pytest.raises(PgherdError, match="switchover on pg3: the agent that was asked is that of pg2"):
        ask("switchover", "pg3", {}, lambda _line: None, agent.path)
    assert agent.asked == []


def test_there_is_a_sign_of_life_while_nothing_is_done(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "BEAT", 0.05)
    with agent.connected({"verb": "switchover", "node": "pg2"}, {"go": True}) as lines:
        told = [json.loads(lines.readline()) for _line in range(4)]
        assert told == [{"ready": "pg2"}, {"said": "one"}, {"goes_on": True}, {"goes_on": True}]


def test_a_stop_of_the_agent_says_what_it_cuts_off_and_begins_nothing(agent: Agent) -> None:
    verbs_ = agent.part._verbs
    assert verbs_ is not None
    first = threading.Thread(target=agent.ask, args=("switchover",))
    first.start()
    assert agent.begun.wait(10)
    agent.part.close()
    words = "command: switchover is cut off, since the agent ends; its locks end too. See pgherd status"
    assert agent.journal == ["command: one", words]
    agent.let.set()
    first.join(10)
    assert verbs_._take("switchover", "pg2") == "switchover on pg2: its agent is being stopped. Ask again."


# What stands at the socket, line by line; None hangs up, "wait" says nothing for ever.
READY = '{"ready": "pg2"}'
# Plain data that no reader of it can take in.
DEEP = '{"ready": ' + "[" * 100000 + "]" * 100000 + "}"


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """An agent that says what a test has it say; gives its socket."""
    path, over, threads = str(tmp_path / "strange"), threading.Event(), []

    def begin(*said: str | None) -> str:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            with listener, listener.accept()[0] as connection, suppress(OSError):
                connection.recv(1000)
                for line in said:
                    if line is None:
                        return
                    if line == "wait":
                        over.wait(10)
                        return
                    connection.sendall(line.encode() + b"\n")
                    if line == READY:
                        connection.recv(1000)

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        return path

    yield begin
    over.set()
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize(
    "said",
    [
        (None,),
        ("wait",),
        ('{"unknown": "switchover"}',),
        ("1",),
        ("nonsense",),
        ("[]",),
        ('{"said": "x"}',),
        ("x" * 100,),
        ('{"ready": "pg3"}',),
        (DEEP,),
    ],
    ids=[
        "hung up",
        "hangs",
        "does not know it",
        "a code",
        "nonsense",
        "a list",
        "not ready",
        "too much",
        "another",
        "deep",
    ],
)
def test_where_no_agent_begins_it_is_done_here(
    strange: Callable[..., str], monkeypatch: pytest.MonkeyPatch, said: tuple[str | None, ...]
) -> None:
    monkeypatch.setattr(asking, "READY", 0.3)
    if said != (DEEP,):
        monkeypatch.setattr(lines, "LONGEST", 99)
    done: list[Mapping[str, Any]] = []
    own = {"switchover": lambda **asked: done.append(asked)}
    Asking("pg2", strange(*said), print, own).switchover("pg1")
    assert done == [{"primary": "pg1"}]


@pytest.mark.parametrize("how", ["no agent", "a release before"])
def test_an_agent_that_never_heard_of_it(tmp_path: Path, how: str) -> None:
    path, done = str(tmp_path / "command"), []
    part = CommandPart({}, path, print) if how == "a release before" else None
    own = {"promote": lambda **asked: done.append(asked), "rejoin": lambda **asked: done.append(asked)}
    asked = Asking("pg2", path, print, own)
    asked.promote("pg1", accept_loss=True)
    asked.rejoin("pg1")
    assert done == [{"primary": "pg1", "accept_loss": True}, {"target": "pg1"}]
    if part:
        part.close()


@pytest.mark.parametrize(
    "said",
    [
        (None,),
        ("wait",),
        ("nonsense",),
        ('{"said": "one"}', None),
        ("[]",),
        ('{"done": 5}',),
        ('{"done": null}',),
        (DEEP,),
    ],
    ids=["hung up", "hangs", "nonsense", "half-way", "a list", "a number", "nothing", "deep"],
)
def test_what_has_begun_is_never_done_a_second_time(
    strange: Callable[..., str], monkeypatch: pytest.MonkeyPatch, said: tuple[str | None, ...]
) -> None:
    monkeypatch.setattr(asking, "SILENT", 0.3)
    with pytest.raises(PgherdError, match=r"switchover on pg2: its agent was at it, .*It may go on"):
        Asking("pg2", strange(READY, *said), print, {}).switchover("pg1")


def test_what_an_agent_says_has_an_end(strange: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST", 1000)
    with pytest.raises(PgherdError, match="is not heard any more: it says more than it may"):
        Asking("pg2", strange(READY, *['{"goes_on": true}'] * 100), print, {}).switchover("pg1")


@pytest.mark.parametrize("said", ['{"node": "pg2", "postgres": "abc"}', '{"node": 1, "postgres": 17}', "{}", "5", DEEP])
def test_an_agent_that_does_not_say_who_it_is_is_none(strange: Callable[..., str], said: str) -> None:
    assert who(strange(said)) == {}


def test_who_may_not_ask_is_told_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: str) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asking, "_connected", refused)
    with pytest.raises(PgherdError, match=r"ask the agent on this host, at /x: Permission denied\. Run it as root"):
        who("/x")


def test_what_goes_wrong_where_it_is_shown_is_not_the_agents(agent: Agent) -> None:
    """A pipe, say, whose reader has gone."""

    def said(_line: str) -> None:
        raise BrokenPipeError

    agent.let.set()
    with pytest.raises(BrokenPipeError):
        agent.ask("switchover", said)
    assert agent.ended.wait(10)


def test_a_sign_of_life_is_no_step(strange: Callable[..., str]) -> None:
    told: list[str] = []
    path = strange(READY, '{"goes_on": true}', '{"said": "one"}', '{"goes_on": true}', '{"done": {"way": "slow"}}')
    assert ask("switchover", "pg2", {}, told.append, path) == {"way": "slow"}
    assert told == ["one"]


def test_ctrl_c_says_that_it_goes_on(agent: Agent) -> None:
    told: list[str] = []

    def said(line: str) -> None:
        told.append(line)
        if line == "one":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.ask("switchover", said)
    assert told == ["one", "switchover on pg2 goes on: its agent does it, and its log says how it ends."]
    agent.let.set()
    assert agent.ended.wait(10)


def test_what_an_agent_says_does_nothing_to_a_terminal(strange: Callable[..., str]) -> None:
    told: list[str] = []
    path = strange(READY, json.dumps({"said": "\x1b[2Jone\ntwo"}), json.dumps({"failed": "\x07why"}))
    with pytest.raises(PgherdError) as failed:
        ask("switchover", "pg2", {}, told.append, path)
    assert (told, str(failed.value)) == (["?[2Jone two"], "?why")


@pytest.mark.skipif(not ROOT, reason="who asks has to be root")
def test_root_asks_with_the_rights_of_who_owns_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns it could have put a link there to a socket that root alone may use."""
    tmp_path.chmod(0o755)
    users = Users(tmp_path)
    users.trust(monkeypatch)
    roots = users.roots / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(roots))
        listener.listen()
        listener.settimeout(0.5)
        os.chmod(roots, 0o600)
        (users.theirs / "command").symlink_to(roots)
        assert ask("switchover", "pg2", {}, print, str(users.theirs / "command")) is None
        with pytest.raises(TimeoutError):
            listener.accept()
    assert os.geteuid() == MINE != OTHER


def test_what_is_asked_for_waits_its_turn_among_the_agents_own_work() -> None:
    work, let, order = Work(print), threading.Event(), []
    work.begin("examine", lambda: let.wait(10) and order.append("examine"))
    threading.Timer(0.2, let.set).start()
    with work.taken("rejoin", "bring pg2 back", 10.0, {"rejoin": 0.0}):
        order.append("rejoin")
        assert work.name == "rejoin"
        work.begin("start", lambda: order.append("start"))
    assert (order, work.name) == (["examine", "rejoin"], "")
    assert work.since("rejoin", work.ended["rejoin"]) == 0.0


@pytest.mark.parametrize(("at_work", "patience"), [("rejoin", 10.0), ("examine", 0.1)])
def test_and_is_refused_where_that_takes_long_or_changes_what_is_to_be_done(at_work: str, patience: float) -> None:
    work, let = Work(print), threading.Event()
    work.begin(at_work, lambda: let.wait(10))
    words = f"bring pg2 back: {at_work} is running already.*Where it does not end, stop the agent on this node"
    with pytest.raises(Conflict, match=words), work.taken("rejoin", "bring pg2 back", patience, {"rejoin": 0.0}):
        raise AssertionError
    assert work.name == at_work
    let.set()


def test_what_is_in_the_way_is_shown_like_the_agents_own() -> None:
    work = Work(print)
    with pytest.raises(InTheWay), work.taken("rejoin", "bring pg2 back", 0.0):
        raise InTheWay("Clone into /main", "room", "none")
    assert work.refused == "Clone into /main: wanted room, found none."
    with work.taken("rejoin", "bring pg2 back", 0.0):
        pass
    assert work.refused == ""


PRIMARY, STREAMS = primary("pg1"), streaming("pg2")
LATER, BEFORE = float("inf"), 0.0


def seen(*states: NodeState, at: float = LATER, real: str = "pg1") -> NodeSeen:
    return NodeSeen(at, "pg2", survey(*states), real)


def a_part(look: NodeSeen | None, links: Any = None) -> NodePart:
    """The part of the node pg2 that has *look*."""
    node = NodePart(here_of(THREE, "pg2", links), SimpleNamespace())  # type: ignore[arg-type]
    node._view = look
    return node


@pytest.fixture
def came_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What pg2 was brought back below."""
    found: list[str] = []
    monkeypatch.setattr(rejoin_marker, "MARK", str(tmp_path / "note"))
    monkeypatch.setattr(node_part, "PATIENCE", 0.2)
    monkeypatch.setattr(Rejoin, "run", lambda _self, target: found.append(target) or "rewind")
    return found


def bring_back(node: NodePart, target: str = "pg1") -> Any:
    return node_part.asked_for(here_of(THREE, "pg2"), node)["rejoin"](print, {"target": target})["way"]


@pytest.mark.parametrize(
    ("look", "note", "way"),
    [
        (seen(PRIMARY), "", "rewind"),
        (seen(PRIMARY, standby("pg2")), "", "rewind"),
        (seen(PRIMARY, primary("pg2")), "", "rewind"),
        (seen(PRIMARY, STREAMS), "stopped to come back below pg1", "rewind"),
        (seen(PRIMARY, STREAMS), "", "none"),
        (seen(PRIMARY, streaming("pg3"), streaming("pg2", follows="pg3")), "", "none"),
        (seen(PRIMARY, standby("pg3"), streaming("pg2", follows="pg3")), "", "rewind"),
    ],
    ids=[
        "is down",
        "does not stream",
        "a former primary",
        "half-way",
        "is back",
        "in a cascade",
        "astray in a cascade",
    ],
)
def test_a_node_that_streams_below_the_primary_already_is_left_alone(
    came_back: list[str], look: NodeSeen, note: str, way: str
) -> None:
    if note:
        Path(rejoin_marker.MARK).write_text(note, encoding="utf-8")
    assert bring_back(a_part(look)) == way
    assert came_back == ([] if way == "none" else ["pg1"])


def test_no_node_is_brought_back_below_itself(came_back: list[str]) -> None:
    """A primary would be stopped for it."""
    with pytest.raises(Conflict, match="pg2 itself"):
        bring_back(a_part(NodeSeen(LATER, "pg2", survey(primary("pg2")), "pg2")), "pg2")
    assert came_back == []


@pytest.mark.parametrize(
    ("look", "found"),
    [
        (seen(primary("pg3", 2), real="pg3"), "pg3"),
        (seen(primary("pg2", 2), real="pg2"), "pg2"),
        (seen(real=""), "none that is seen"),
        (seen(PRIMARY, at=BEFORE), "no look at the nodes"),
        (None, "no look at the nodes"),
    ],
    ids=["another is primary", "it was promoted itself", "nobody is", "an old look", "no look"],
)
def test_nothing_comes_back_by_what_was_so_before(came_back: list[str], look: NodeSeen | None, found: str) -> None:
    node = a_part(look)
    with pytest.raises(Conflict, match=f"bring pg2 back below pg1: wanted pg1 as the primary, found {found}"):
        bring_back(node)
    assert (came_back, node._work.name) == ([], "")


@pytest.mark.parametrize("at_work", ["switchover", "start", "elect", "follow"])
def test_what_says_anew_what_a_node_is_is_not_waited_for(
    came_back: list[str], monkeypatch: pytest.MonkeyPatch, at_work: str
) -> None:
    monkeypatch.setattr(node_part, "PATIENCE", 10.0)
    node, let = a_part(seen(PRIMARY)), threading.Event()
    node._work.begin(at_work, lambda: let.wait(10))
    with pytest.raises(Conflict, match=f"bring pg2 back below pg1: {at_work} is running already"):
        bring_back(node)
    let.set()
    assert came_back == []


@pytest.mark.parametrize("at_work", ["rejoin", "demote"])
@pytest.mark.parametrize(("after", "way"), [(seen(PRIMARY, STREAMS), "none"), (seen(PRIMARY), "rewind")])
def test_what_brings_it_back_is_waited_for(came_back: list[str], at_work: str, after: NodeSeen, way: str) -> None:
    """Longer than for other work: what the playbook wants is happening."""
    node, let = a_part(seen(PRIMARY)), threading.Event()

    def job() -> None:
        assert let.wait(10)
        node._view = after

    node._work.begin(at_work, job)
    threading.Timer(0.5, let.set).start()
    assert bring_back(node) == way
    assert came_back == ([] if way == "none" else ["pg1"])


@pytest.mark.parametrize(
    ("verb", "asked", "at_work", "done"),
    [
        ("switchover", {"primary": "pg1"}, "", ("switchover", {"primary": "pg1"})),
        (
            "promote",
            {"primary": "pg1", "accept_loss": False},
            "elect",
            ("promote", {"primary": "pg1", "accept_loss": False}),
        ),
        ("rejoin", {"target": "pg1"}, "rejoin", ("rejoin", {"target": "pg1"})),
    ],
)
def test_what_a_data_node_does(
    monkeypatch: pytest.MonkeyPatch, verb: str, asked: dict[str, Any], at_work: str, done: tuple[str, Any]
) -> None:
    """A switchover is beside the agent's own work: a new primary may have to give way while the old one is waited for."""
    told, found = [], []
    links: Any = SimpleNamespace()
    node = a_part(seen(PRIMARY), links)

    class Executor:
        def __init__(self, *given: Any) -> None:
            assert given[:3] == (THREE, "pg2", links)
            self.say = given[3]

        def switchover(self, **asked: Any) -> None:
            found.append(("switchover", asked, node._work.name))
            self.say("done")

        def promote(self, **asked: Any) -> None:
            found.append(("promote", asked, node._work.name))
            self.say("done")

    def run(self: Rejoin, target: str) -> str:
        found.append(("rejoin", {"target": target}, node._work.name))
        self._say("done")
        return "rewind"

    monkeypatch.setattr(change, "ChangeExecutor", Executor)
    monkeypatch.setattr(Rejoin, "run", run)
    answer = node_part.asked_for(here_of(THREE, "pg2", links), node)[verb](told.append, asked)
    assert found == [(*done, at_work)]
    assert told == ["done"]
    assert answer == ({"way": "rewind"} if verb == "rejoin" else {})
    assert node._work.name == ""
