# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The first primary among pods is killed after each step of its beginning, and started again: the same end, and never a second
cluster. The steps are counted, not listed: each change of a file, of the record or of a server is one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd.agent import first_part
from pgherd.agent.first_part import FirstPart
from pgherd.agent.seen import NodeSeen
from pgherd.data import clone, datadir, incarnation, rejoin_marker
from pgherd.errors import Conflict
from pgherd.nodes import guard, start
from pgherd.nodes.beginning import WAIT, decide
from pgherd.nodes.directory_state import DirectoryState, look
from pgherd.nodes.evidence import NOTHING, Evidence
from pgherd.nodes.verdict import REFUSE, START
from pgherd.observe.node_state import NodeState, Survey
from pgherd.options import Options
from pgherd.ports.here import Here
from pgherd.ports.initialization import Initialization
from pgherd.ports.run import Result
from pgherd.ports.services import RUNNING, STOPPED
from pods import FileRecord
from states import cluster

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
AS = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's programs are not installed here")


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def really(argv: list[str]) -> Result:
    done = subprocess.run(argv, capture_output=True, text=True, input="", check=False, **AS)  # type: ignore[call-overload]
    return Result(tuple(argv), done.returncode, done.stdout, done.stderr)


@dataclass
class World:
    """A claim and a record, and which step of those that change them the process does not survive. *made*: how often initdb has
    come to its end; *started*: which data a server was started on, and by which evidence."""

    base: Path
    template: Path
    me: str = "pg1"
    dies: int = -1
    steps: list[str] = field(default_factory=list)
    made: int = 0
    started: list[tuple[str, Evidence]] = field(default_factory=list)
    running: bool = False

    @property
    def record(self) -> FileRecord:
        return FileRecord(self.base / "record")

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.dies:
            raise Killed(name)

    def begin(self, by: str) -> Initialization:
        found = self.record.begin(by)
        self.step("the record names it")
        return found

    def end(self, by: str, system_id: str) -> Initialization:
        found = self.record.end(by, system_id)
        self.step("the record has the identifier")
        return found

    def adopt(self, by: str, system_id: str) -> Initialization:
        found = self.record.adopt(by, system_id)
        self.step("the record is adopted")
        return found

    def grow(self) -> Initialization:
        found = self.record.grow()
        self.step("the record has grown")
        return found

    def read(self) -> Initialization:
        return self.record.read()

    def run(self, argv: list[str], **_: Any) -> Result:
        """The programs, but that initdb is what it has made once, with an identifier of its own."""
        if not argv[0].endswith("/initdb"):
            return really(argv)
        (data,) = (Path(word.partition("=")[2]) for word in argv if word.startswith("--pgdata="))
        subprocess.run(
            ["cp", "-a", f"{self.template}/base", f"{self.template}/PG_VERSION", "-t", self._new(data)], check=True
        )
        self.step("initdb is half done")
        shutil.rmtree(data)
        subprocess.run(["cp", "-a", str(self.template), str(data)], check=True)
        self.made += 1
        with (data / "global/pg_control").open("r+b") as control:
            # Its first eight bytes are the identifier; a sum that does not fit is a warning of pg_controldata.
            control.write((7_000_000_000_000_000_000 + self.made).to_bytes(8, "little"))
        self.step("initdb is done")
        return Result(tuple(argv), 0)

    @staticmethod
    def _new(data: Path) -> Path:
        data.mkdir()
        if AS:
            shutil.chown(data, "postgres", "postgres")
        return data

    def state(self, _service: str) -> str:
        return RUNNING if self.running else STOPPED

    def ask(self, name: str, _asked: Any, _limit: float) -> dict[str, Any]:
        """The others: no server, no data."""
        return {"node": name, "down": "none", "data": DirectoryState("none").as_json()}

    def here(self) -> Here:
        assert PROGRAMS is not None
        options = Options.of({"data_directory": f"{self.base}/main", "locale": "C"})
        links = SimpleNamespace(peers=self)
        here = here_of(
            cluster(3, witness=True, options=options),
            self.me,
            links,
            self,
            self,
            lambda _: None,
            int(PROGRAMS.parent.name),
        )
        return replace(here, record=self)  # type: ignore[arg-type]

    def system_id(self) -> str:
        here = self.here()
        return datadir.local(here.layout, here.runner).system_id


class Part(FirstPart):
    """Does what it does at once, and not beside its looks."""

    def _do(self, name: str, job: Callable[[], object]) -> None:
        self._doing = name
        self._run(name, job)


def lives(world: World) -> None:
    """A pod's process, until its server runs, it waits, or it is killed. Process 1 starts what has data at once, if the guard
    lets it."""
    here = world.here()
    if look(here).kind == "cluster":
        local = datadir.local(here.layout, here.runner)
        verdict = guard.decide(here.cluster, here.me, local, Survey(), start._of_the_record(here, local, NOTHING))
        # As a standby of nobody it would be new no longer.
        assert verdict.done in (START, REFUSE), verdict.why
        assert verdict.done == REFUSE or local.fresh or world.me == "w1"
    part = Part(here, world)  # type: ignore[arg-type]
    until = time.monotonic() + 60
    while not world.running and time.monotonic() < until:
        part._failed = float("-inf")
        part.tick(time.monotonic())
        if part.words:
            return


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        if AS:
            shutil.chown(base, "postgres", "postgres")
        argv = [f"{PROGRAMS}/initdb", f"--pgdata={base}/main", "--locale=C", "--username=postgres", "--no-sync"]
        really(argv).expect("make a template")
        # Who moves and reads them needs no more.
        for path in (Path(base) / "main").iterdir():
            if path.name not in ("PG_VERSION", "base", "global", "pg_wal"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (Path(base) / "main").glob("*/*"):
            if path.name != "pg_control":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield Path(base) / "main"


@pytest.fixture
def new(template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Makes a claim that is new."""
    if not AS:
        monkeypatch.setattr(clone, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)
    there: list[World] = []
    rename, written, clean = os.rename, incarnation._written, clone.Staging.clean

    def renamed(source: Any, target: Any, **more: Any) -> None:
        rename(source, target, **more)
        if there and str(source).startswith(f"{there[-1].base}/main/{clone.STAGE}/"):
            there[-1].step(f"{os.path.basename(source)} is moved up")

    def noted(note: Any) -> Any:
        found = written(note)
        there[-1].step("the note is written")
        return found

    def cleaned(self: clone.Staging) -> None:
        there[-1].step("it is not cleaned up")
        clean(self)

    def started(self: Any) -> None:
        world = there[-1]
        world.step("it is not started")
        world.started.append((world.system_id(), parts[-1].evidence))
        world.running = True

    parts: list[FirstPart] = []
    made = FirstPart.__init__
    monkeypatch.setattr(FirstPart, "__init__", lambda self, *given: (made(self, *given), parts.append(self))[0])
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(incarnation, "_written", noted)
    monkeypatch.setattr(clone.Staging, "clean", cleaned)
    monkeypatch.setattr(first_part.InstanceExecutor, "start", started)
    with tempfile.TemporaryDirectory(dir="/tmp") as base:

        def make(me: str = "pg1", dies: int = -1) -> World:
            place = Path(base) / str(len(there))
            place.mkdir()
            for path in (Path(base), place):
                path.chmod(0o755)
            if AS:
                shutil.chown(place, "postgres", "postgres")
            monkeypatch.setattr(incarnation, "FILE", f"{place}/note")
            monkeypatch.setattr(rejoin_marker, "MARK", f"{place}/mark")
            there.append(World(place, template, me, dies))
            return there[-1]

        yield make


def lose(world: World) -> None:
    """The claim is lost, and made anew."""
    for path in (world.base / "main", world.base / "note", world.base / incarnation.LINK):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)


def killed(world: World) -> None:
    with pytest.raises(Killed):
        lives(world)
    world.dies = -1


@pytest.mark.parametrize("lost", [False, True], ids=["the claim is kept", "the claim is lost"])
@pytest.mark.parametrize("me", ["pg1", "w1"])
def test_killed_after_each_step(new: Callable[..., World], me: str, lost: bool) -> None:
    whole = new(me)
    lives(whole)
    assert whole.running, "it begins from nothing"
    assert len(whole.steps) == (12 if me == "pg1" else 10)
    for dies in range(1, len(whole.steps) + 1):
        world = new(me, dies)
        killed(world)
        was, said = world.steps[-1], f"killed when {world.steps[-1]} ({dies})"
        assert was == whole.steps[dies - 1]
        before, made = world.read(), world.made
        if lost:
            lose(world)
            world.running, world.started = False, []
        whole_data = look(world.here()).kind == "cluster"
        lives(world)
        if lost and before.system_id:
            assert (world.running, world.made, world.read()) == (False, made, before), said
            continue
        assert world.running, said
        if me == "pg1":
            assert world.read() == Initialization("pg1", world.system_id()), said
            assert before.system_id in ("", world.system_id()), said
        assert [one for one, _evidence in world.started] == [world.system_id()], said
        assert world.started[0][1].new, said
        # What was whole is not made again.
        assert world.made == (made if whole_data else made + 1), said


def seen(*states: NodeState) -> NodeSeen:
    """A look of pg1, which is the primary."""
    return NodeSeen(0.0, "pg1", Survey({state.name: state for state in states}), "pg1")


def test_a_record_that_was_restored_from_before_the_copies_says_so_again(new: Callable[..., World]) -> None:
    """Until it does, whoever made the cluster would start as a primary without having asked those who have copies."""
    world, mine, restored = (
        new(),
        NodeState(False, 1, "7", name="pg1"),
        '{"by": "pg1", "system_id": "7", "grown": false}',
    )
    (world.base / "record").write_text(restored)
    looks = [
        seen(mine),
        seen(mine, NodeState(True, 1, "7", name="pg2", receiver="streaming", upstream="pg1")),
        seen(mine),
    ]
    part = Part(world.here(), world, lambda: looks[0])  # type: ignore[arg-type]
    assert (part.tick(0.0), part.unshared) == ([], True)
    looks.pop(0)
    (decision,) = part.tick(1.0)
    assert "the record says again that others were cloned" in decision.text
    assert (world.read(), part.unshared) == (Initialization("pg1", "7", True), False)
    looks.pop(0)
    assert (part.tick(2.0), part.unshared) == ([], False)
    # A look is enough for the fence, also while the record cannot be written.
    (world.base / "record").write_text(restored)
    looks.insert(0, seen(mine, NodeState(True, 1, "7", name="pg2")))
    world.steps, world.dies = [], 1
    with pytest.raises(Killed):
        part.tick(3.0)
    assert not part.unshared


def test_a_primary_that_is_killed_while_it_writes_the_record(new: Callable[..., World]) -> None:
    """The record was lost. Another node is promoted then, and whoever began to write it has lost its claim, and is alone."""
    mine = NodeState(False, 1, "7", name="pg1")
    for dies in range(1, 5):
        world = new("pg1", dies)
        part = Part(world.here(), world, lambda: seen(mine))  # type: ignore[arg-type]
        with suppress(Killed):
            part.tick(0.0)
        found = decide(world.here().cluster, "pg1", DirectoryState("none"), world.read(), {"pg2": None, "pg3": None})
        assert found.done == WAIT, f"{world.steps}: {found}"
        assert world.read() == Initialization("pg1", "7", True)


def test_data_that_nobody_noted_wait_and_say_so(new: Callable[..., World]) -> None:
    """Of a release before, which noted them when they were there: it was killed in between."""
    world = new()
    lives(world)
    world.running = False
    Path(incarnation.FILE).unlink()
    (world.base / "record").write_text('{"by": "pg1", "system_id": "", "grown": false}')
    part = Part(world.here(), world)  # type: ignore[arg-type]
    (decision,) = part.tick(0.0)
    assert "nobody knows whether these are the cluster's" in decision.text
    assert world.made == 1
    # Also where the guard has made a standby of it.
    world.running = True
    part = Part(world.here(), world)  # type: ignore[arg-type]
    (decision,) = part.tick(0.0)
    assert "remove the claim and the pod of pg1" in decision.text
    assert part.tick(1.0) == ()


def test_the_guard_refuses_what_the_record_does_not_know_yet(new: Callable[..., World]) -> None:
    """Process 1 may start what is there before the agent has said what it is."""
    world = new()
    lives(world)
    (world.base / "record").write_text('{"by": "pg1", "system_id": "", "grown": false}')
    here = world.here()
    local = datadir.local(here.layout, here.runner)
    verdict = guard.decide(here.cluster, here.me, local, Survey(), start._of_the_record(here, local, NOTHING))
    assert verdict.done == REFUSE
    assert isinstance(verdict.conflict, Conflict)
