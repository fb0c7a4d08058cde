# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What process 1 does about one of its services: by the clock, and by what ended how."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from signal import SIGINT, SIGKILL, SIGQUIT, SIGTERM

import pytest
from pgherd.places.pod.child import Child, _ladder
from pgherd.places.pod.program import ALWAYS, NEVER, ON_FAILURE, WINDOW, Program

GUARD, MAIN = ("/guard",), ("/main",)


class World:
    """A child with programs that only seem to run."""

    def __init__(self, program: Program, missing: Sequence[str] = ()) -> None:
        self.started: list[str] = []
        self.sent: list[signal.Signals] = []
        self.said: list[str] = []
        self.missing = missing
        self.child = Child(
            "x", program, self.spawn, lambda _pid, number: self.sent.append(number), self.said.append, lambda: 7.9
        )

    def spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        if argv[0] in self.missing:
            raise FileNotFoundError(2, "No such file or directory")
        self.started.append(argv[0])
        return len(self.started)


def up(program: Program) -> World:
    """One that runs since 0.0."""
    world = World(program)
    world.child.start(0.0)
    for _each in program.before:
        world.child.ended(0, 0.0)
    world.child.tick(0.0)
    assert world.child.state == "running"
    return world


def test_what_comes_before_comes_first_each_time() -> None:
    world = World(Program(MAIN, before=(GUARD, ("/more",)), pause=1.0))
    child = world.child
    child.start(0.0)
    child.tick(0.0)
    assert (world.started, child.state, child.process) == (["/guard"], "starting", 0)
    child.ended(0, 0.1)
    child.ended(0, 0.2)
    assert (world.started, child.state, child.process) == (["/guard", "/more", "/main"], "starting", 3)
    child.tick(0.3)
    assert (child.state, child.since) == ("running", 7.0)
    child.ended(-9, 1.0)
    assert (child.state, child.process, child.since) == ("starting", 0, None)
    child.tick(1.5)
    assert len(world.started) == 3
    child.tick(2.0)
    assert world.started[3:] == ["/guard"]


@pytest.mark.parametrize(("code", "why"), [(3, "ended with exit code 3"), (-6, "was killed by SIGABRT")])
def test_nothing_starts_after_a_refusal(code: int, why: str) -> None:
    world = World(Program(MAIN, before=(GUARD,), again=NEVER))
    world.child.start(0.0)
    world.child.ended(code, 0.1)
    world.child.tick(99.0)
    assert (world.started, world.child.state, world.child.failures) == (["/guard"], "failed", 1)
    assert world.child.why == f"what has to come before it {why}"


@pytest.mark.parametrize(
    ("again", "code", "state"),
    [
        (ON_FAILURE, 0, "stopped"),
        (ON_FAILURE, 1, "starting"),
        (ON_FAILURE, -9, "starting"),
        (ALWAYS, 0, "starting"),
        (ALWAYS, 1, "starting"),
        (NEVER, 0, "stopped"),
        (NEVER, 1, "failed"),
    ],
)
def test_one_that_ends_by_itself(again: str, code: int, state: str) -> None:
    world = up(Program(MAIN, again=again))
    world.child.ended(code, 1.0)
    assert world.child.state == state


def test_it_is_not_ready_before_it_says_so() -> None:
    ready: list[int] = []
    world = World(Program(MAIN, ready=lambda pid: pid in ready))
    world.child.start(0.0)
    world.child.tick(500.0)
    assert world.child.state == "starting"
    ready.append(1)
    world.child.tick(501.0)
    assert world.child.state == "running"


def test_what_is_done_once_is_never_up() -> None:
    world = World(Program(MAIN, again=NEVER, once=True))
    world.child.start(0.0)
    world.child.tick(9.0)
    assert world.child.state == "starting"
    world.child.ended(0, 10.0)
    assert world.child.state == "stopped"


def test_one_that_fails_again_and_again_is_given_up() -> None:
    world = World(Program(MAIN, pause=1.0, burst=3))
    child = world.child
    child.start(0.0)
    for at in (0.0, 1.0, 2.0):
        child.tick(at)
        child.ended(1, at)
    child.tick(10.0)
    assert (child.state, len(world.started)) == ("failed", 3)
    child.stop(11.0)
    assert child.state == "failed"
    child.start(12.0)
    assert (child.state, len(world.started)) == ("starting", 4), "failures of before do not count"
    child.ended(1, 12.0)
    assert child.state == "starting"


def test_failures_far_apart_do_not_count_together() -> None:
    world = World(Program(MAIN, pause=WINDOW, burst=2))
    world.child.start(0.0)
    for number in range(5):
        world.child.tick(number * WINDOW)
        world.child.ended(1, number * WINDOW)
        assert world.child.state == "starting"


def test_a_stop_goes_from_signal_to_signal() -> None:
    world = up(Program(MAIN, stops=((SIGINT, 10.0), (SIGQUIT, 5.0))))
    child = world.child
    child.stop(100.0)
    assert (child.state, world.sent) == ("stopping", [SIGINT])
    child.stop(101.0)
    child.tick(109.9)
    assert world.sent == [SIGINT], "to be asked again changes nothing"
    child.tick(110.0)
    child.tick(115.0)
    child.tick(116.0)
    assert world.sent == [SIGINT, SIGQUIT, SIGKILL]
    child.ended(-9, 116.0)
    child.tick(200.0)
    assert (child.state, len(world.started)) == ("stopped", 1)


def test_one_that_is_wanted_again_while_it_stops_starts_after_that() -> None:
    world = up(Program(MAIN))
    world.child.stop(1.0)
    world.child.start(1.1)
    assert world.child.state == "stopping"
    world.child.ended(0, 2.0)
    assert (world.child.state, len(world.started)) == ("starting", 2)


def test_a_stop_before_it_is_up_ends_what_comes_before() -> None:
    world = World(Program(MAIN, before=(GUARD,)))
    world.child.start(0.0)
    world.child.stop(0.1)
    assert world.sent == [SIGTERM]
    world.child.ended(-15, 0.2)
    assert (world.started, world.child.state) == (["/guard"], "stopped")


def test_a_stop_while_it_waits_to_start_again() -> None:
    world = up(Program(MAIN))
    world.child.ended(1, 1.0)
    world.child.stop(1.1)
    world.child.tick(99.0)
    assert (world.child.state, len(world.started)) == ("stopped", 1)


def test_only_what_runs_is_reloaded() -> None:
    world = World(Program(MAIN, before=(GUARD,)))
    world.child.reload()
    world.child.start(0.0)
    world.child.reload()
    assert world.sent == []
    world.child.ended(0, 0.0)
    world.child.reload()
    assert world.sent == [signal.SIGHUP]


def test_a_program_that_is_not_there() -> None:
    world = World(Program(MAIN, again=NEVER), missing=["/main"])
    world.child.start(0.0)
    assert (world.child.state, world.child.why) == ("failed", "/main: No such file or directory")


@pytest.mark.parametrize(
    ("by", "times"),
    [
        (None, [0.0, 3600.0, 3605.0]),
        (5000.0, [0.0, 3600.0, 3605.0]),
        (60.0, [0.0, 55.0, 60.0]),
        (4.0, [0.0, 3.0, 4.0]),
        (0.0, [0.0, 0.0, 0.0]),
        (-1.0, [0.0, 0.0, 0.0]),
    ],
)
def test_the_whole_has_a_limit(by: float | None, times: list[float]) -> None:
    found = _ladder(((SIGINT, 3600.0), (SIGQUIT, 5.0)), 0.0, by)
    assert [at for at, _signal in found] == times
    assert [number for _at, number in found] == [SIGINT, SIGQUIT, SIGKILL]


@pytest.mark.parametrize(
    ("by", "sent"),
    [
        (None, [(0.0, [SIGINT])]),
        # The pod ends: sessions may end by themselves for two seconds, or for an eighth of what there is.
        (24.0, [(0.0, [SIGTERM]), (1.9, [SIGTERM]), (2.0, [SIGTERM, SIGINT]), (18.9, [SIGTERM, SIGINT])]),
        (8.0, [(0.0, [SIGTERM]), (1.0, [SIGTERM, SIGINT]), (8.0, [SIGTERM, SIGINT, SIGQUIT, SIGKILL])]),
    ],
)
def test_who_has_sessions_is_asked_first_where_all_ends(
    by: float | None, sent: list[tuple[float, list[signal.Signals]]]
) -> None:
    world = up(Program(MAIN, stops=((SIGINT, 3600.0), (SIGQUIT, 5.0)), asked=2.0))
    world.child.stop(0.0, by)
    for now, so_far in sent:
        world.child.tick(now)
        assert world.sent == so_far, now
