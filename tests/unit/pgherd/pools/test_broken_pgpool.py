# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A pgpool without its sockets is restarted, once, and only when it still serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from pgherd.pools.broken_pgpool import AGAIN, LASTING, STARTING, BrokenPgpoolWatch


class World:
    """The pgpool as it is, and how often its restart was asked for."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.socket.touch()
        self.serves = True
        self.restarts = 0
        self.denied = False
        self.watch = BrokenPgpoolWatch(str(socket), 9999, self.restart, lambda port: self.serves and port == 9999)
        self.watch.look(-1.0)

    def restart(self) -> None:
        self.restarts += 1
        if self.denied:
            raise PermissionError(13, "Permission denied")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / ".s.PGSQL.9898")


def test_one_that_has_its_socket_is_left_alone(world: World) -> None:
    assert [world.watch.look(float(at)) for at in range(100)] == [""] * 100


def test_one_that_does_not_serve_is_left_alone(world: World) -> None:
    world.socket.unlink()
    world.serves = False
    assert [world.watch.look(float(at)) for at in range(100)] == [""] * 100


def test_a_moment_without_is_no_wreck(world: World) -> None:
    world.socket.unlink()
    assert world.watch.look(0.0) == ""
    assert world.watch.look(LASTING - 0.1) == ""
    world.socket.touch()
    assert world.watch.look(LASTING) == ""
    world.socket.unlink()
    assert world.watch.look(LASTING + 0.5) == ""


def test_it_is_asked_for_once_and_again_when_nothing_came_of_it(world: World) -> None:
    world.socket.unlink()
    said = [world.watch.look(at / 2) for at in range(int(2 * (LASTING + AGAIN)) + 1)]
    assert world.restarts == 2
    assert [line for line in said if line] == [
        f"restart: pgpool serves, but {world.socket} has been gone for {lasting:.0f} s"
        for lasting in (LASTING, LASTING + AGAIN)
    ]


@pytest.mark.parametrize(("what", "stale"), [("a clean start", False), ("a socket was left behind", True)])
def test_one_that_starts_has_more_time(world: World, what: str, stale: bool) -> None:
    """It serves its clients before it looks for the primary, and makes this socket after that."""
    if not stale:
        world.socket.unlink()
    world.serves = False
    world.watch.look(0.0)
    world.serves = True
    if stale:
        world.socket.unlink()
    looks = [world.watch.look(1.0 + at) for at in range(int(STARTING))]
    assert looks == [""] * int(STARTING), what
    assert world.watch.look(1.0 + STARTING) != ""


def test_an_agent_that_starts_beside_a_wreck_finds_it(tmp_path: Path) -> None:
    asked: list[str] = []
    watch = BrokenPgpoolWatch(str(tmp_path / "gone"), 9999, lambda: asked.append("restart"), lambda _port: True)
    for at in range(int(STARTING) + 1):
        watch.look(float(at))
    assert asked == ["restart"]


def test_a_restart_that_cannot_be_asked_for_is_said(world: World) -> None:
    world.socket.unlink()
    world.denied = True
    world.watch.look(0.0)
    assert world.watch.look(LASTING).endswith("; failed: [Errno 13] Permission denied")
